"""Training images that are kept decoded, against the files that they were made from."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from repro.data import prescaled as module
from repro.data.images import FileImages
from repro.data.loader import TrainingCrops
from repro.data.prescaled import prescaled
from repro.data.rescale import rescale
from repro.data.split import Split
from repro.errors import RunError

FEW_CORES = "ignore:This DataLoader will create:UserWarning"


@pytest.fixture(autouse=True)
def small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IMAGES", 3)


def kept(split: Split, side: int, cache: Path, **changes: Any) -> Split:
    usual: dict[str, Any] = {"workers": 0, "progress": False, "check": lambda: None}
    return prescaled(split, side, cache, "imagefolder-3-abc", **(usual | changes))


def files(cache: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in cache.glob("*/*")}


@pytest.mark.filterwarnings(FEW_CORES)
@pytest.mark.parametrize("workers", [0, 2])
def test_larger_images_are_rescaled_and_the_others_kept_as_they_are(
    photographs: Split, tmp_path: Path, workers: int
) -> None:
    images = kept(photographs, 22, tmp_path / "cache", workers=workers).images
    assert len(images) == 7
    sizes = images.sizes().tolist()
    for index, (height, width) in enumerate(photographs.images.sizes().tolist()):
        original = photographs.images[index]
        larger = min(height, width) > 22
        expected = rescale(original, 22) if larger else original
        assert torch.equal(images[index], expected)
        assert list(expected.shape[-2:]) == sizes[index]
    assert sizes[3] == [22, 34]
    part = images.subset(np.array([6, 3]))
    assert part.sizes().tolist() == [sizes[6], sizes[3]]
    assert torch.equal(part.subset(np.array([1]))[0], images[3])


@pytest.mark.filterwarnings(FEW_CORES)
@pytest.mark.parametrize("workers", [0, 2])
def test_crops_are_those_of_the_files_where_no_image_is_larger(
    photographs: Split, tmp_path: Path, workers: int
) -> None:
    def batches(split: Split) -> list[torch.Tensor]:
        how: dict[str, Any] = {"smin": 16, "smax": 20, "crop": 16, "mirror": True, "batch": 3}
        made = TrainingCrops(split, **how, seed=0, workers=workers, colour=None)
        return [tensor for batch in made.epoch(1) for tensor in batch]

    quick = batches(kept(photographs, 40, tmp_path / "cache"))
    for found, expected in zip(quick, batches(photographs), strict=True):
        assert torch.equal(found, expected)


class Stopped(Exception):
    pass


def stop() -> None:
    raise Stopped


def test_making_goes_on_where_it_was_stopped_and_is_done_once(
    photographs: Split, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    for done in (1, 2):
        with pytest.raises(Stopped):
            kept(photographs, 22, cache, check=stop)
        assert len(files(cache)) == done
    before = files(cache)
    kept(photographs, 22, cache)
    whole = files(cache)
    assert before.items() < whole.items()
    assert sorted(whole) == [f"{number:05d}.safetensors" for number in range(3)]
    kept(photographs, 22, cache, check=stop)
    assert files(cache) == whole


def test_another_side_other_images_or_other_data_are_another_cache(
    photographs: Split, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    variants: list[Callable[[], Split]] = [
        lambda: kept(photographs, 22, cache),
        lambda: kept(photographs, 23, cache),
        lambda: kept(photographs.spread(4), 22, cache),
        lambda: prescaled(
            photographs, 22, cache, "other", workers=0, progress=False, check=lambda: None
        ),
    ]
    for count, make in enumerate(variants, start=1):
        make()
        assert len(list(cache.iterdir())) == count


def test_an_image_that_does_not_decode_leaves_no_file(photographs: Split, tmp_path: Path) -> None:
    assert isinstance(photographs.images, FileImages)
    photographs.images.sizes()
    photographs.images.paths[4].write_text("no image")
    with pytest.raises(RunError, match=r"4\.png cannot be decoded"):
        kept(photographs, 22, tmp_path / "cache")
    assert "00001.safetensors" not in files(tmp_path / "cache")


@pytest.mark.parametrize(
    "harm",
    [
        lambda content: content[:50],
        lambda content: bytes(len(content)),
        lambda content: content[:-1] + bytes([content[-1] ^ 1]),
        lambda content: content[:-300] + bytes(300),
        lambda content: b"",
        None,
    ],
)
def test_a_file_that_was_damaged_is_made_anew_and_a_line_says_so(
    photographs: Split,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    harm: Callable[[bytes], bytes] | None,
) -> None:
    images = kept(photographs, 22, tmp_path / "cache").images
    path = next((tmp_path / "cache").glob("*/00001.safetensors"))
    whole = [images[index].clone() for index in range(7)]
    content = path.read_bytes()
    # Where it is open already, as amid an epoch, and by another process.
    for found, opened in (
        (images, True),
        (kept(photographs, 22, tmp_path / "cache").images, False),
    ):
        if opened and harm is not None and len(harm(content)) < len(content):
            # The system ends who looks at the part of an open file that is cut off.
            continue
        if not opened:
            module.OPEN.clear()
        if harm is None:
            path.unlink(missing_ok=True)
        else:
            path.write_bytes(harm(content))
        for index in (3, 4, 5, 0, 6):
            assert torch.equal(found[index], whole[index])
        assert found.sizes().tolist() == [list(image.shape[1:]) for image in whole]
        said = f"{path} is damaged: it is made anew\n"
        # A file that is gone is still there for who has it open.
        assert capsys.readouterr().err in (said, "" if harm is None else said)


class Usage(NamedTuple):
    total: int
    used: int
    free: int


def test_a_disk_without_room_is_found_before_work_begins(
    photographs: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = 3 * sum(
        rescale(photographs.images[n], min(22, *photographs.images[n].shape[-2:]))[0].numel()
        for n in range(7)
    )
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, needed - 1))
    with pytest.raises(RunError, match=r"data\.cache_side=22 needs .* GB are free"):
        kept(photographs, 22, tmp_path / "cache")
    assert not files(tmp_path / "cache")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, needed))
    kept(photographs, 22, tmp_path / "cache")
