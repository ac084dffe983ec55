"""A store from elsewhere is text that anyone may have written: none of it becomes a page's code."""

import csv
import json
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml

from repro.config.values import typed
from repro.report.write import write
from repro.store import identity
from tests.report.conftest import MakeRun

IMAGE = "<img src=x onerror=alert(1)>"
SCRIPT = "x</td><script>alert(1)</script> [a](javascript:alert(1)) ![b](http://host/b.png) `"


class Page(HTMLParser):
    """What of a page could do something."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.scripts, self.attributes = 0, list[tuple[str, str]]()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        self.attributes += [(key, str(value)) for key, value in attrs]


def changed(folder: Path, **changes: Any) -> None:
    """Change a result; of its `data` and `environment` the keys that are named."""
    result = json.loads((folder / "result.json").read_text())
    for key, value in changes.items():
        result[key] = result[key] | value if isinstance(value, dict) else value
    (folder / "result.json").write_text(json.dumps(result))


def renamed(folder: Path, group: str, name: str) -> None:
    """A run's folder as it would be had its group this name, all of its files agreeing."""
    tree = yaml.safe_load((folder / "config.yaml").read_text())
    tree[group]["name"] = name
    record = tree.pop("record")
    config = typed(tree)
    own = identity.identity(config, record["parents"], record["fingerprint"])
    to = shutil.copytree(folder, folder.with_name(identity.name(config, own)))
    tree["record"] = record | {"identity": own}
    (to / "config.yaml").write_text(yaml.safe_dump(tree))
    changed(to, name=to.name, identity=own)


def test_nothing_of_a_store_becomes_code(
    tmp_path: Path, make_run: MakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "runs"
    good = runs / make_run("arch=A")
    refused: dict[str, dict[str, Any]] = {
        "outcome is not": {"outcome": IMAGE},
        "identity is not": {"identity": "=1+1"},
        "data.left_out is not": {"data": {"left_out": IMAGE}},
        "environment.cpu is not": {"environment": {"cpu": "=1+1"}},
    }
    for seed, change in enumerate(refused.values(), start=1):
        changed(runs / make_run("arch=A", f"seed={seed}"), **change)
    for name in ("D-S256", "a` [b](javascript:c) `"):
        shutil.copytree(good, runs / name)
        (runs / name / "result.json").unlink()
        (runs / name / "failed.json").write_text(json.dumps({"reason": SCRIPT}))
    renamed(good, "arch", f"x+{IMAGE}")
    renamed(good, "data", "=1+1")
    changed(good, environment={"cpu": SCRIPT}, reason=IMAGE)
    write([runs], tmp_path / "out")

    said = capsys.readouterr().err.splitlines()
    assert len(said) == 7
    assert all(line.startswith("left out: ") for line in said)
    assert all(any(words in line for line in said) for words in refused)
    page = Page((tmp_path / "out" / "comparison.html").read_text())
    assert page.scripts == 1, "its own"
    for key, value in page.attributes:
        assert not key.startswith("on")
        assert key != "src" or value.startswith("data:image/png;")
        assert key != "href" or value.startswith("#")
    for file in (tmp_path / "out").rglob("*.csv"):
        for row in csv.reader(file.open()):
            assert not [cell for cell in row if cell.startswith(("=", "@", "+=", "-="))], file
