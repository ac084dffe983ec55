"""What a run takes from the store's cache is of the images as they are now."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from repro.data import sources
from repro.store.runs import started
from tests.data.conftest import fill
from tests.test_run import run

WORDS = ["data=imagefolder", "data.cache_side=64", "test=[centre]", "recipe.batch=8"]


def grey(path: Path, level: int) -> None:
    """An image file of one size whatever its grey is."""
    Image.new("RGB", (9, 8), (level, level, level)).save(path, "BMP")


def means(runs: Path) -> set[float]:
    """The mean colours that are kept."""
    files = (runs / ".cache").glob("statistics-*.json")
    return {round(json.loads(file.read_text())["found"]["mean"][0]) for file in files}


def test_a_file_that_is_replaced_meets_no_old_mean(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, runs = fill(tmp_path / "data", train={"a": 0, "b": 0}), tmp_path / "runs"
    files = [root / "train" / kind / f"{n}.bmp" for kind in "ab" for n in range(10)]
    for file in files:
        grey(file, 100)
    words = [*WORDS, f"data.root={root}"]
    assert run(runs, *words) == 0
    assert means(runs) == {100}
    assert run(runs, *words, "seed=1") == 0
    caches = {"statistics": 1, "prescaled": 1}
    found = {kind: len(list((runs / ".cache").glob(f"{kind}-*"))) for kind in caches}
    assert found == caches, "both runs are of the same images"
    for file in files:
        grey(file, 200)
    sources._checked.cache_clear()
    assert run(runs, *words, "seed=2") == 0
    assert means(runs) == {100, 200}
    assert len(list((runs / ".cache").glob("prescaled-*"))) == 2
    names = {one.fingerprint for one in started(runs)}
    assert len(names) == 1, "names and sizes are what they were"
    assert run(runs, *words, "seed=2", "data.contents=true") == 0
    assert len({one.fingerprint for one in started(runs)}) == 2
    # A digit changes in what is kept.
    for path in (runs / ".cache").glob("statistics-*.json"):
        tree = json.loads(path.read_text())
        tree["found"]["mean"][0] += 1
        path.write_text(json.dumps(tree))
    capsys.readouterr()
    assert run(runs, *words, "seed=3") == 0
    assert capsys.readouterr().err.count("is damaged: it is made anew") == 1
    assert 200 in means(runs), "the one that was read"
