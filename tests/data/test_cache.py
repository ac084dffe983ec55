"""Facts and pixels that are kept, against what they were made from."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from repro.data.cache import cached, keep, recall
from repro.data.images import FileImages
from repro.data.loader import TrainingCrops
from repro.data.rescale import rescale
from repro.data.split import Split
from repro.errors import RunError

FEW_CORES = "ignore:This DataLoader will create:UserWarning"


def kept(split: Split, side: int, cache: Path, key: str = "a", **changes: Any) -> Split:
    usual: dict[str, Any] = {"workers": 0, "progress": False, "check": lambda: None}
    return cached(split, side, cache, key, **(usual | changes))


def files(cache: Path) -> list[Path]:
    return sorted(path for path in cache.iterdir() if path.name.startswith("pixels-"))


@pytest.mark.parametrize("fact", [[], {"a": [1.5, None]}])
def test_a_fact_is_recalled_and_a_damaged_one_is_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], fact: Any
) -> None:
    path = tmp_path / "cache" / "fact.json"
    assert recall(path) is None
    keep(path, fact)
    assert recall(path) == fact
    assert capsys.readouterr().err == ""
    content = path.read_bytes()
    for harm in (b"", content[:-3], b"[]", b"\xff", content.replace(b'sha256": "', b'sha256": "0')):
        path.write_bytes(harm)
        assert recall(path) is None
        assert f"{path} is damaged" in capsys.readouterr().err


@pytest.mark.filterwarnings(FEW_CORES)
@pytest.mark.parametrize("workers", [0, 2])
def test_larger_images_are_rescaled_and_the_others_kept_as_they_are(
    photographs: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    monkeypatch.setattr("repro.data.cache.AT_ONCE", 3)
    images = kept(photographs, 22, tmp_path, workers=workers).images
    assert len(images) == 7
    sizes = images.sizes().tolist()
    for index in range(7):
        original = photographs.images[index]
        expected = rescale(original, min(22, *original.shape[-2:]))
        assert torch.equal(images[index], expected)
        assert list(expected.shape[-2:]) == sizes[index]
    part = images.take(np.array([6, 3])).take(np.array([1]))
    assert part.sizes().tolist() == [sizes[3]]
    assert torch.equal(part[0], images[3])


@pytest.mark.filterwarnings(FEW_CORES)
@pytest.mark.parametrize("workers", [0, 2])
def test_crops_are_those_of_the_files_where_no_image_is_larger(
    photographs: Split, tmp_path: Path, workers: int
) -> None:
    def batches(split: Split) -> list[torch.Tensor]:
        how: dict[str, Any] = {"smin": 16, "smax": 20, "crop": 16, "mirror": True, "batch": 3}
        made = TrainingCrops(split, **how, seed=0, workers=workers, colour=None)
        return [tensor for batch in made.epoch(1) for tensor in batch]

    quick = batches(kept(photographs, 40, tmp_path))
    for found, expected in zip(quick, batches(photographs), strict=True):
        assert torch.equal(found, expected)


class Stopped(Exception):
    pass


def stop() -> None:
    raise Stopped


def test_it_is_there_whole_or_not_at_all_and_made_once(photographs: Split, tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        kept(photographs, 22, tmp_path, check=stop)
    assert not files(tmp_path)
    kept(photographs, 22, tmp_path)
    (path,) = files(tmp_path)
    made = path.stat().st_mtime_ns
    kept(photographs, 22, tmp_path, check=stop)
    assert path.stat().st_mtime_ns == made


def test_another_side_other_images_or_other_data_are_another_file(
    photographs: Split, tmp_path: Path
) -> None:
    for count, (split, side, key) in enumerate(
        [
            (photographs, 22, "a"),
            (photographs, 23, "a"),
            (photographs.spread(4), 22, "a"),
            (photographs, 22, "b"),
        ],
        start=1,
    ):
        kept(split, side, tmp_path, key)
        assert len(files(tmp_path)) == count


def test_an_image_that_does_not_decode_leaves_no_file(photographs: Split, tmp_path: Path) -> None:
    assert isinstance(photographs.images, FileImages)
    photographs.images.sizes()
    photographs.images.paths[4].write_text("no image")
    cache = tmp_path / "cache"
    with pytest.raises(RunError, match=r"4\.png cannot be decoded"):
        kept(photographs, 22, cache)
    assert not files(cache)


@pytest.mark.parametrize(
    "harm",
    [
        lambda content: content[:-1] + bytes([content[-1] ^ 1]),
        lambda content: bytes([content[0] ^ 1]) + content[1:],
        lambda content: b"",
    ],
)
def test_damage_is_said_and_changes_no_pixel(
    photographs: Split,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    harm: Callable[[bytes], bytes],
) -> None:
    images = kept(photographs, 22, tmp_path).images
    (path,) = files(tmp_path)
    whole = [images[index].clone() for index in range(7)]
    content = path.read_bytes()
    path.write_bytes(harm(content))
    for _ in range(2):
        found = kept(photographs, 22, tmp_path).images
        assert all(torch.equal(found[index], whole[index]) for index in range(7))
    assert capsys.readouterr().err.count(f"{path} is damaged") == 1
    assert path.read_bytes() == content


class Usage(NamedTuple):
    total: int
    used: int
    free: int


def test_a_disk_without_room_is_found_before_work_begins(
    photographs: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, 1000))
    cache = tmp_path / "cache"
    with pytest.raises(RunError, match=r"data\.cache_side=22 needs .* GB are free"):
        kept(photographs, 22, cache)
    assert not files(cache)
