"""A store from elsewhere is text that anyone may have written: none of it becomes a page's code."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml

from repro.config.schema import typed
from repro.report.page import LINK, plain
from repro.report.write import write
from repro.store import identity
from tests.report.conftest import MakeRun

IMAGE = "<img src=x onerror=alert(1)>"
SCRIPT = "x</td><script>alert(1)</script> [a](javascript:alert(1)) ![b](http://host/b.png) `"


class Page(HTMLParser):
    """What of a page could do something."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.scripts, self.pictures, self.links, self.attributes = [], [], [], set()
        self.inside = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.attributes |= found.keys()
        self.inside = tag == "script"
        self.pictures += [found.get("src")] * (tag == "img")
        self.links += [found.get("href")] * (tag == "a")

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.scripts.append(data)

    def handle_endtag(self, tag: str) -> None:
        self.inside = False


def changed(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    result = json.loads((folder / "result.json").read_text())
    change(result)
    (folder / "result.json").write_text(json.dumps(result))


def renamed(folder: Path, group: str, name: str) -> Path:
    """A run's folder as it would be had its group this name, all of its files agreeing."""
    tree = yaml.safe_load((folder / "config.yaml").read_text())
    tree[group]["name"] = name
    record = tree.pop("record")
    config = typed(tree)
    own = identity.identity(config, record["parents"], record["fingerprint"])
    to = folder.with_name(identity.name(config, own))
    shutil.copytree(folder, to)
    tree["record"] = record | {"identity": own}
    (to / "config.yaml").write_text(yaml.safe_dump(tree))
    changed(to, lambda result: result.update(name=to.name, identity=own))
    return to


def unfinished(folder: Path, to: str, reason: str) -> None:
    shutil.copytree(folder, folder.with_name(to))
    (folder.with_name(to) / "result.json").unlink()
    (folder.with_name(to) / "failed.json").write_text(json.dumps({"reason": reason}))


def test_nothing_of_a_store_becomes_code(
    tmp_path: Path, make_run: MakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "runs"
    good = runs / make_run("arch=A")
    refused = {
        "outcome is not": lambda result: result.update(outcome=IMAGE),
        "identity is not": lambda result: result.update(identity="=1+1"),
        "data.left_out is not": lambda result: result["data"].update(left_out=IMAGE),
        "environment.cpu is not": lambda result: result["environment"].update(cpu="=1+1"),
    }
    for seed, change in enumerate(refused.values(), start=1):
        changed(runs / make_run("arch=A", f"seed={seed}"), change)
    unfinished(good, "D-S256", SCRIPT)
    unfinished(good, "a` [b](javascript:c) `", "")
    renamed(good, "arch", f"x+{IMAGE}")
    renamed(good, "data", "=1+1")
    changed(good, lambda result: result["environment"].update(cpu=SCRIPT))
    changed(good, lambda result: result.update(reason=IMAGE))
    write([runs], tmp_path / "out")

    said = capsys.readouterr().err.splitlines()
    assert len(said) == 7
    assert all(line.startswith("left out: ") for line in said)
    assert all(any(words in line for line in said) for words in refused)
    page = Page((tmp_path / "out" / "comparison.html").read_text())
    assert len(page.scripts) == 1
    assert "const unfold" in page.scripts[0]
    assert all(str(source).startswith("data:image/png;base64,") for source in page.pictures)
    assert all(LINK.fullmatch(str(link)) for link in page.links)
    assert not any(name.startswith("on") for name in page.attributes)
    assert "alert(1)" in (tmp_path / "out" / "comparison.html").read_text(), "as text"
    for file in (tmp_path / "out").rglob("*.csv"):
        for row in csv.reader(file.open()):
            assert not [cell for cell in row if cell.startswith(("=", "@", "+=", "-="))], file


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("74.5 ± 0.7 [70.1; 78.9]", "74.5 ± 0.7 [70.1; 78.9]"),
        ("Linux x86_64 & others", "Linux x86_64 & others"),
        ("<b>", "&lt;b>"),
        ("&lt;", "&amp;lt;"),
        ("[a](b)", "[a]\\(b)"),
        ("a|`*b*`", "a\\|\\`\\*b\\*\\`"),
        ("\\`", "\\\\\\`"),
        ("__b__", "\\_\\_b\\_\\_"),
    ],
)
def test_text_is_shown_as_it_is(text: str, shown: str) -> None:
    assert plain(text) == shown
