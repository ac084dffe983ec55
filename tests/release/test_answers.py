"""What a run's net says of image files is what testing found of the same files."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import repro.predict
from repro.release import answers
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
        return answers.class_names(finished_run(folder), str(root))

    root = tmp_path / "gone"
    assert names(class_names=["x\x1b[2J", "y", 3]) == ("x [2J", "y", "3")
    assert names(class_names=["too", "few"]) == ("0", "1", "2")
    assert names(class_names=None) == ("0", "1", "2")
    root = photographs
    assert names(class_names=None) == KINDS


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["good.png"], "run="),
        (["run=RUN", "good.png", "tset=centre"], "tset=centre"),
        (["run=RUN", "good.png", "bad.png"], "bad.png"),
        (["run=RUN", "good.png", "test=each_scale"], "single_scale"),
        (["run=RUN", "good.png", "top=0"], "top=0"),
        (["run=RUN", "good.png", "device=tpu"], "device=tpu"),
        (["run=nowhere", "good.png"], "nowhere"),
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
    words = [word.replace("RUN", str(trained)) for word in words]
    status, shown, error = way_in(repro.predict, *words)
    assert (status, shown, error.count("\n")) == (2, "", 1)
    assert said in error
