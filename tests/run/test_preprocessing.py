"""A published net by other people's ways of preprocessing, held against torchvision's own ways."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms import functional
from torchvision.transforms.functional import InterpolationMode

from repro.config.command import command
from repro.report.write import write
from repro.run import preprocessing
from repro.run.interruption import Interrupted
from tests.run.test_weights import CLASSES, InterruptedAfter, file, only, photos, theirs, words
from tests.weights import conftest as files

__all__ = ["file", "photos", "theirs"]
IMAGES = 14
Q = 384
SIDE = round(Q * files.CROP / 224)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, photos: Path, file: Path) -> Path:
    runs = tmp_path_factory.mktemp("ways") / "runs"
    assert command(words(photos, file, runs, "test=[centre]", "preprocessing_images=14")) == 0
    return runs


@pytest.fixture(scope="module")
def ranks(store: Path) -> dict[str, np.ndarray]:
    return dict(np.load(only(store) / f"preprocessing-{IMAGES}.npz"))


@pytest.fixture(scope="module")
def chosen(photos: Path) -> list[tuple[Path, int]]:
    """Every so many-th image, in the order of their ids, with its class."""
    every = sorted(photos.glob("val/*/*"))
    places = np.linspace(0, len(every) - 1, IMAGES).astype(int)
    return [(every[place], int(every[place].parent.name[-1])) for place in places]


def rank(scores: Tensor, label: int) -> int:
    return int((scores >= scores[label]).sum()) - 1


def resized(path: Path, kernel: InterpolationMode) -> Tensor:
    """As torchvision resizes a Pillow image: the larger side rounded down."""
    small = functional.resize(Image.open(path).convert("RGB"), SIDE, kernel)
    return files.torchvision_input(functional.pil_to_tensor(small)[None])


def dense(net: nn.Module, image: Tensor) -> Tensor:
    """The classifier slid over torchvision's maps, its scores averaged."""
    side = files.CROP // 32
    maps = net.features(image)
    rows, columns = (length - side + 1 for length in maps.shape[-2:])
    cells = [
        net.classifier(maps[..., row : row + side, column : column + side].flatten(1))
        for row in range(rows)
        for column in range(columns)
    ]
    return torch.cat(cells).mean(dim=0)


def test_torchvisions_way_is_torchvisions(
    ranks: dict[str, np.ndarray], chosen: list[tuple[Path, int]], theirs: nn.Module
) -> None:
    with torch.inference_mode():
        for place, (path, label) in enumerate(chosen):
            image = resized(path, InterpolationMode.BILINEAR)
            assert ranks["torchvision/dense"][place] == rank(dense(theirs, image), label)
            crop = functional.center_crop(image, [files.CROP, files.CROP])
            # On a crop the poolings round nothing: it is Pillow's kernel and the smaller side.
            assert ranks["torchvision/centre"][place] == rank(theirs(crop)[0], label)


def test_each_way_is_tried_once_and_they_differ(ranks: dict[str, np.ndarray]) -> None:
    assert "pool_down/centre" not in ranks
    ways = {key for key in ranks if "/" in key}
    assert len(ways) == 13
    assert all(len(ranks[key]) == IMAGES for key in ways)
    seen = {tuple(ranks[key]) for key in ways if key.endswith("dense")}
    assert len(seen) > 2


def test_the_report_says_how_far_they_move_the_error(
    store: Path, ranks: dict[str, np.ndarray], tmp_path: Path
) -> None:
    write([store], tmp_path / "report", archive=True)
    table = pd.read_csv(tmp_path / "report/tables/preprocessing.csv")
    assert len(table) == 14
    row = table[(table["view"] == "dense, Q=384") & (table["pooling"] == "rounds down")].iloc[0]
    ours, down = (ranks[f"{way}/dense"] >= 1 for way in ("ours", "pool_down"))
    assert row.error == pytest.approx(100 * down.mean(), abs=0.01)
    gap = 100 * (down.astype(float) - ours).mean()
    assert row.minus_ours == pytest.approx(gap, abs=0.01)
    assert row.low <= row.minus_ours <= row.high
    assert row.right_by_one_only == pytest.approx(100 * (ours != down).mean(), abs=0.01)
    write([tmp_path / "report"], tmp_path / "again")
    for name in ("comparison.md", "tables/preprocessing.csv"):
        first, second = ((tmp_path / n / name).read_bytes() for n in ("report", "again"))
        assert first == second
    commands = zipfile.ZipFile(tmp_path / "report/runs.zip").read("commands.txt")
    assert b"preprocessing_images=14" in commands


def test_it_is_resumed_and_mended(
    photos: Path,
    file: Path,
    tmp_path: Path,
    ranks: dict[str, np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    wanted = words(photos, file, tmp_path / "runs", "test=[centre]", "preprocessing_images=14")
    counted = InterruptedAfter(preprocessing.compute, 5)
    monkeypatch.setattr(preprocessing, "compute", counted)
    with pytest.raises(Interrupted):
        command(wanted)
    kept = only(tmp_path / "runs") / "preprocessing-14.npz"
    assert sum("/" in key for key in np.load(kept)) == 5
    assert command([*wanted, "dry_run=true"]) == 0
    assert "8 by other ways of preprocessing, on 14 images" in capsys.readouterr().out
    counted.left = 8
    assert command(wanted) == 0
    found = dict(np.load(kept))
    assert all(np.array_equal(found[key], ranks[key]) for key in ranks)
    # Finished: nothing is computed again, unless the file is damaged.
    counted.left = 0
    assert command(wanted) == 0
    kept.write_bytes(kept.read_bytes()[:-30])
    counted.left = 13
    assert command(wanted) == 0
    assert counted.left == 0
    assert all(np.array_equal(dict(np.load(kept))[key], ranks[key]) for key in ranks)


def test_more_images_than_there_are_are_all(photos: Path, file: Path, tmp_path: Path) -> None:
    wanted = words(photos, file, tmp_path / "runs", "test=[centre]", "preprocessing_images=999")
    assert command(wanted) == 0
    assert (only(tmp_path / "runs") / f"preprocessing-{4 * CLASSES}.npz").is_file()
    assert command([*wanted, "dry_run=true"]) == 0


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (["preprocessing_images=0"], "preprocessing_images=0: expected a number above zero"),
        (["weights=null", "preprocessing_images=3"], "is for nets that others trained"),
    ],
)
def test_what_is_wrong_is_a_line(
    changed: list[str],
    message: str,
    photos: Path,
    file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    kept = [word for word in words(photos, file, tmp_path / "runs") if "weights=" not in word]
    asked = changed if "weights=null" in changed else [f"weights={file}", *changed]
    assert command([*kept, *asked]) == 2
    shown = capsys.readouterr().err
    assert message in shown
    assert shown.count("\n") == 1
