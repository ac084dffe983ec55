"""What a run's net says of image files is what testing found of the same files."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import repro.predict
from repro.release import answers
from repro.release.classes import class_names
from repro.release.trained import finished_run, opened
from tests.release.conftest import KINDS, Command, photograph, stored

VIEWS = {
    "single_scale": ["dense-Q256", "dense-Q256-mirrored"],
    "centre": ["centre-Q256", "centre-Q256-mirrored"],
    "multi_crop": [f"grid-Q{q}{m}" for q in (224, 256, 288) for m in ("", "-mirrored")],
}


@pytest.mark.parametrize("protocol", VIEWS)
def test_an_image_of_the_test_set_has_its_stored_posteriors(
    protocol: str, trained: Path, photographs: Path
) -> None:
    mean, ids, _ = stored(trained, *VIEWS[protocol])
    # Not in their order, one twice, and other shapes beside them than in the test set.
    chosen = [11, 2, 7, 2]
    with opened(finished_run(trained), torch.device("cpu")) as net:
        paths = [photographs / ids[place] for place in chosen]
        found = answers.posteriors(net, paths, protocol)
    np.testing.assert_allclose(found.posteriors, mean[chosen], atol=1e-5)
    assert len(np.unique(mean[:, 0].round(4))) > 9, "the images must differ to the net"


def test_the_command_shows_the_best_classes_by_name(
    trained: Path, photographs: Path, way_in: Command
) -> None:
    mean, ids, _ = stored(trained, *VIEWS["single_scale"])
    images = [str(photographs / ids[place]) for place in (4, 0)]
    status, shown, error = way_in(repro.predict, f"run={trained}", "top=2", *images)
    assert (status, error) == (0, "")
    found = re.findall(r"^ +\d +([\d.]+)%  (.*)$", shown, re.MULTILINE)
    expected = [
        (f"{100 * mean[place, label]:.2f}", KINDS[label])
        for place in (4, 0)
        for label in np.argsort(-mean[place])[:2]
    ]
    assert found == expected
    assert all(image in shown for image in images)


def test_classes_are_named_by_the_record_else_the_folder_else_numbers(
    trained: Path, photographs: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(trained, tmp_path / "runs" / trained.name)
    ended = json.loads((folder / "result.json").read_text())
    del ended["digests"]
    assert ended["data"]["class_names"] == list(KINDS)

    def names(**changes: object) -> tuple[str, ...]:
        data = {key: value for key, value in (ended["data"] | changes).items() if value is not None}
        (folder / "result.json").write_text(json.dumps(ended | {"data": data}))
        return class_names(finished_run(folder), str(root))

    root = tmp_path / "gone"
    assert names(class_names=["x\x1b[2J", "y", 3]) == ("x [2J", "y", "3")
    assert names(class_names=["too", "few"]) == ("0", "1", "2")
    assert names(class_names=None) == ("0", "1", "2")
    root = photographs
    assert names(class_names=None) == KINDS


def test_the_words_of_ilsvrc_and_tiny_imagenet_stand_beside_their_numbers() -> None:
    from repro.config.schema import Data
    from repro.release.classes import _words

    numbers = [f"n{place:08d}" for place in range(1000)]
    words = _words(Data("imagenet", 3, True), numbers)
    assert (words[numbers[0]], words[numbers[281]]) == ("tench", "tabby")
    # Of a part of them it is not known which place each has.
    assert _words(Data("imagenet", 3, True), numbers[:100]) == {}
    assert _words(Data("imagenet", 3, True), ["cat"] * 1000) == {}


@pytest.mark.parametrize("shape", [(5, 300), (300, 5), (1, 1), (28, 28)])
@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_any_size_is_looked_at(
    shape: tuple[int, int], ending: str, trained: Path, way_in: Command, tmp_path: Path
) -> None:
    image = photograph(tmp_path / f"image.{ending}", *shape, seed=1)
    for protocol in ("single_scale", "multi_crop", "centre"):
        status, _, error = way_in(repro.predict, f"run={trained}", f"test={protocol}", str(image))
        assert (status, error) == (0, "")


def test_pictures_lie_beside_each_other_and_are_not_lost(
    trained: Path, photographs: Path, way_in: Command, tmp_path: Path
) -> None:
    image = photographs / "test" / KINDS[2] / "9.jpg"
    out = tmp_path / "heat"
    words = [f"run={trained}", f"out={out}", str(image), str(image)]
    status, shown, _ = way_in(repro.predict, *words)
    assert status == 0
    assert sorted(path.name for path in out.iterdir()) == ["01-9.png", "02-9.png"]
    for path in out.iterdir():
        assert str(path) in shown
        with Image.open(path) as picture:
            assert np.asarray(picture.convert("L")).std() > 10
    (out / "02-9.png").write_text("mine")
    (out / "01-9.png").unlink()
    status, _, error = way_in(repro.predict, *words)
    assert status == 2
    assert "02-9.png is there already" in error
    assert (out / "02-9.png").read_text() == "mine"
    assert not (out / "01-9.png").exists(), "refused before any work"
    assert way_in(repro.predict, *words, "overwrite=true")[0] == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["good.png"], "run= is missing"),
        (["run=RUN"], "no image is named"),
        (["run=RUN", "good.png", "none.png"], "none.png: expected the file of an image"),
        (["run=RUN", "good.png", "tset=centre"], "tset=centre: expected the file of an image, or"),
        (["run=RUN", "good.png", "bad.png"], "bad.png cannot be decoded"),
        (["run=RUN", "good.png", "cut.jpg"], "cut.jpg cannot be decoded"),
        (["run=RUN", "good.png", "test=each_scale"], "choose from single_scale, multi_scale"),
        (["run=RUN", "good.png", "top=0"], "top=0: expected a whole number"),
        (["run=RUN", "good.png", "top=²"], "expected a whole number"),
        (["run=RUN", "good.png", "device=tpu"], "device=tpu is not on this machine"),
        (["run=RUN", "good.png", "out=bad.png"], "is no folder that can be written to"),
        (["run=nowhere", "good.png"], "is no run"),
    ],
)
def test_a_wrong_request_is_one_line(
    words: list[str],
    said: str,
    trained: Path,
    way_in: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    photograph(tmp_path / "good.png", 40, 50, seed=1)
    (tmp_path / "bad.png").write_text("<svg/>")
    whole = photograph(tmp_path / "whole.jpg", 90, 90, seed=2).read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    words = [word.replace("RUN", str(trained)) for word in words]
    status, shown, error = way_in(repro.predict, *words)
    assert (status, shown, error.count("\n")) == (2, "", 1)
    assert said in error


def test_a_run_is_found_through_a_link(
    trained: Path, photographs: Path, way_in: Command, tmp_path: Path
) -> None:
    os.symlink(trained, tmp_path / "best")
    image = photographs / "test" / KINDS[0] / "8.png"
    status, shown, _ = way_in(repro.predict, f"run={tmp_path / 'best'}", str(image))
    assert status == 0
    assert trained.name in shown
