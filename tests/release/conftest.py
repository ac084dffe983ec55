"""Runs for others to take: one that was really trained and tested, and nets made by hand."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from repro.config.command import command
from tests.conftest import only

KINDS = ("an <b>ant", "bee|wasp", "cat")
Made = Callable[..., Path]
Command = Callable[..., tuple[int, str, str]]


def photograph(path: Path, height: int, width: int, seed: int) -> Path:
    """A JPEG or PNG of soft blotches, a little of each class's own colour."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 256, (4, 5, 3), dtype=np.uint8))
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse.resize((width, height), Image.Resampling.BICUBIC).save(path)
    return path


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """train/CLASS/*.jpg and test/CLASS/*, of many shapes."""
    root = tmp_path_factory.mktemp("photographs")
    for label, kind in enumerate(KINDS):
        for n in range(14):
            name = f"{'train' if n < 8 else 'test'}/{kind}/{n}.{'png' if n % 3 else 'jpg'}"
            photograph(root / name, 40 + 7 * (n % 4), 44 + 9 * (n % 3), seed=100 * label + n)
    return root


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory, photographs: Path) -> Made:
    """A run at an eighth, trained for moments by its command: `made("arch=C", "init=he")`."""

    def make(*words: str) -> Path:
        runs = tmp_path_factory.mktemp("made") / "runs"
        light = ["size=eighth", "recipe=smoke", "recipe.batch=8", "recipe.learning_rate=0.0001"]
        light += ["recipe.train_images=null", "init=he", "threads=1", "device=cpu"]
        light += ["progress=false", "test=[centre]"]
        data = ["data=imagefolder", f"data.root={photographs}", "data.holdout=0.2", f"runs={runs}"]
        assert command([*light, *data, *words]) == 0
        return only(runs)

    return make


@pytest.fixture(scope="session")
def trained(made: Made) -> Path:
    """A run of A with views."""
    return made("arch=A", "test=[multi_scale,multi_crop]", "data.enlarge=48")


@pytest.fixture
def way_in(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """A command's status and what it prints: `way_in(repro.export, "run=...")`."""

    def call(module: object, *words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["repro", *words])
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            module.main()  # type: ignore[attr-defined]
        shown = capsys.readouterr()
        return left.value.code, shown.out, shown.err  # type: ignore[return-value]

    return call


def stored(folder: Path, *names: str) -> tuple[np.ndarray, list[str], np.ndarray]:
    """The mean of a run's stored views, by numpy alone: posteriors, ids, labels."""
    views = [np.load(folder / "views" / f"{name}.npz") for name in names]
    assert all(list(view["ids"]) == list(views[0]["ids"]) for view in views)
    mean = np.mean([view["posteriors"] for view in views], axis=0)
    return mean, list(views[0]["ids"]), views[0]["labels"]
