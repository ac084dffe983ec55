"""The examples of docs/extending.md: each file is put where it says, and each command is run."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from repro.cli.command import command
from repro.data import datasets
from repro.store.runs import finished

PAGE = (Path(__file__).parents[1] / "docs" / "extending.md").read_text(encoding="utf-8")
FILE = re.compile(r"^`conf/(\w+/\w+\.yaml)`:\n\n```yaml\n(.*?)^```", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^```\npython -m repro\.run (.*?)\n```", re.MULTILINE)
ENTRY = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
FAST = ["recipe.epochs=1", "recipe.train_images=64", "data.holdout=0.02", "test=[centre]"]


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A folder of one's own with all files of the page."""
    for name, content in FILE.findall(PAGE):
        file = tmp_path / "own" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, encoding="utf-8")
    return tmp_path / "own"


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The images that the page's data sets are of, and the entry that reads the second one."""
    random = np.random.default_rng(0)
    for place in ("pets/train/cat/", "pets/train/dog/", "shapes/circle_", "shapes/square_"):
        for number in range(40):
            path = tmp_path / "data" / f"{place}{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(random.integers(0, 256, (30, 40, 3), dtype=np.uint8)).save(path)
    monkeypatch.chdir(tmp_path)
    known = dict(datasets.DATASETS)
    (entry,) = ENTRY.findall(PAGE)
    exec(entry, dict(vars(datasets)))
    for name in datasets.DATASETS.keys() - known.keys():
        monkeypatch.setitem(datasets.DATASETS, name, datasets.DATASETS.pop(name))


def test_the_page_has_examples() -> None:
    assert len(FILE.findall(PAGE)) == len(COMMAND.findall(PAGE)) >= 4


@pytest.mark.usefixtures("images")
@pytest.mark.parametrize("words", COMMAND.findall(PAGE))
def test_its_commands_run(own: Path, tmp_path: Path, words: str) -> None:
    store = tmp_path / "runs"
    said = [*shlex.split(words), *FAST, f"runs={store}", "progress=false"]
    assert command(["--config-dir", str(own), *said]) == 0
    found = finished(store)
    assert len(found) == (2 if "experiments=" in words else 1)
    for run in found:
        for word in shlex.split(words):
            group, name = word.split("=")
            assert group == "experiments" or getattr(run.config, group).name.startswith(name)
