"""Batches for training: what they must hold, whatever the data."""

import multiprocessing
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from repro.data.cut import Cut
from repro.data.images import ArrayImages, FileImages
from repro.data.loader import TrainingCrops, draws, evaluation_batches
from repro.data.rescale import ISOTROPIC, rescale
from repro.data.split import Split
from repro.errors import RunError
from repro.run.distributed import World
from tests.data.conftest import arrays, save

Batch = tuple[Tensor, Tensor, Tensor]

ROOM = 2 * 16 * 25
"""Pixels of two of the photographs at S=16."""
FEW_CORES = "ignore:This DataLoader will create:UserWarning"


def crops(split: Split, **changes: Any) -> TrainingCrops:
    usual: dict[str, Any] = {"smin": 16, "smax": 16, "crop": 16, "mirror": False, "batch": 3}
    usual |= {"seed": 0, "workers": 0, "colour": None}
    return TrainingCrops(split, **(usual | changes))


def same(left: list[Batch], right: list[Batch]) -> bool:
    pairs = [pair for a, b in zip(left, right, strict=True) for pair in zip(a, b, strict=True)]
    return all(torch.equal(a, b) for a, b in pairs)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 20), st.integers(1, 8), st.integers(0, 3), st.integers(0, 3), st.data())
def test_each_image_comes_once_an_epoch_and_resuming_gives_the_tail(
    count: int, batch: int, seed: int, epoch: int, more: st.DataObject
) -> None:
    made = crops(arrays(count), smax=20, batch=batch, seed=seed, mirror=True)
    batches = list(made.epoch(epoch))
    assert len(batches) == len(made) == -(-count // batch)
    assert sorted(torch.cat([labels for _, _, labels in batches]).tolist()) == list(range(count))
    assert all(len(labels) == batch for _, _, labels in batches[:-1])
    start = more.draw(st.integers(0, len(made)))
    again = crops(arrays(count), smax=20, batch=batch, seed=seed, mirror=True)
    assert same(list(again.epoch(epoch, start)), batches[start:])


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 20), st.integers(1, 8), st.integers(1, 5))
def test_the_rows_of_all_processes_are_the_batches(count: int, batch: int, size: int) -> None:
    def made(world: World) -> list[Batch]:
        split = arrays(count)
        return list(crops(split, smax=20, batch=batch, mirror=True, own=world.rows).epoch(2))

    parts = [made(World(rank, size)) for rank in range(size)]
    joined = [
        tuple(torch.cat(tensors) for tensors in zip(*rows, strict=True))
        for rows in zip(*parts, strict=True)
    ]
    assert same(joined, made(World()))


@pytest.mark.parametrize("size", [1, 2, 3, 9])
def test_the_batches_of_all_processes_are_the_test_set(photographs: Split, size: int) -> None:
    parts = [slice(rank, None, size) for rank in range(size)]
    for whole, *own in (
        [list(evaluation_batches(photographs, 16, *how, part=p)) for p in (slice(None), *parts)]
        for how in ((None, ROOM), (16, 2 * 16**2))
    ):
        got = sorted(chain.from_iterable(own), key=lambda batch: batch[0].tolist())
        expected = sorted(whole, key=lambda batch: batch[0].tolist())
        for batch, other in zip(got, expected, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(batch, other, strict=True))


def windows(image: Tensor, sides: range, crop: int, mirror: bool) -> set[bytes]:
    found = set()
    for side in sides:
        big = rescale(image, side)
        for y in range(big.shape[1] - crop + 1):
            for x in range(big.shape[2] - crop + 1):
                window = big[:, y : y + crop, x : x + crop]
                found.add(window.numpy().tobytes())
                if mirror:
                    found.add(window.flip(-1).contiguous().numpy().tobytes())
    return found


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize(("smin", "smax"), [(18, 18), (16, 19)])
def test_a_crop_is_a_window_of_its_rescaled_image(mirror: bool, smin: int, smax: int) -> None:
    split = arrays(5, channels=3)
    sides = range(smin, smax + 1)
    allowed = [windows(split.images[n], sides, 16, mirror) for n in range(5)]
    plain = [windows(split.images[n], sides, 16, False) for n in range(5)]
    mirrored = 0
    for epoch in range(6):
        for images, shift, labels in crops(split, smin=smin, smax=smax, mirror=mirror).epoch(epoch):
            assert images.dtype == torch.uint8
            assert images.shape[1:] == (3, 16, 16)
            assert shift.dtype == torch.float32
            assert not shift.any()
            assert labels.dtype == torch.int64
            for image, label in zip(images, labels.tolist(), strict=True):
                assert image.numpy().tobytes() in allowed[label]
                mirrored += image.numpy().tobytes() not in plain[label]
    assert (5 < mirrored < 25) if mirror else mirrored == 0


def test_every_place_is_drawn_as_often() -> None:
    random = draws(1, 0, 4000, 1)
    # A ramp along the longer side: a crop's corner tells where it was cut.
    ramp = torch.arange(14, dtype=torch.uint8).repeat(10, 1)[None]
    for image in (ramp, ramp.mT):
        cut = Cut(ArrayImages(image[None]), 10, 10, 10, False, ISOTROPIC)
        places = np.bincount(cut((np.zeros(4000, dtype=np.int64), random.uniform))[:, 0, 0, 0])
        assert len(places) == 5
        assert np.abs(places - 800).max() < 4 * 800**0.5


@pytest.mark.filterwarnings(FEW_CORES)
def test_workers_change_nothing(photographs: Split) -> None:
    alone = crops(photographs, smax=20, mirror=True)
    helped = crops(photographs, smax=20, mirror=True, workers=2)
    seen = []
    for epoch, start in ((0, 0), (1, 0), (2, 1), (2, 0)):
        assert same(list(alone.epoch(epoch, start)), list(helped.epoch(epoch, start)))
        seen.append({child.pid for child in multiprocessing.active_children()})
    assert seen[0] == seen[1] != seen[2], "they persist over the epochs"
    whole = [evaluation_batches(photographs, 16, None, ROOM, workers=n) for n in (0, 2)]
    for left, right in zip(*whole, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


@pytest.mark.filterwarnings(FEW_CORES)
@pytest.mark.parametrize("workers", [0, 2])
def test_batches_before_an_image_that_does_not_decode_are_given(
    photographs: Split, workers: int
) -> None:
    made = crops(photographs, batch=2, workers=workers)
    whole = list(made.epoch(0))
    assert isinstance(photographs.images, FileImages)
    bad = photographs.images.path(int(whole[2][2][0]))
    bad.write_text("no image")
    batches = made.epoch(0)
    assert same([next(batches), next(batches)], whole[:2])
    with pytest.raises(RunError, match=f"{bad} cannot be decoded") as caught:
        next(batches)
    assert "\n" not in str(caught.value)
    assert not multiprocessing.active_children(), "they end with what they work for"


@pytest.mark.parametrize("smin", [16, 20])
def test_crops_of_images_in_memory_are_those_of_their_files(tmp_path: Path, smin: int) -> None:
    paths = [save(tmp_path / f"{n}.png", 18, 25, seed=n) for n in range(9)]
    files = Split(FileImages(paths, 3), np.arange(9), [path.name for path in paths])
    one, other = (
        crops(split, smin=smin, smax=20, mirror=True) for split in (files, files.in_memory())
    )
    assert same(list(one.epoch(0)), list(other.epoch(0)))
