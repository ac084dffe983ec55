"""Batches for testing (Section 3.2): whole images, of one shape or of several, and centre crops."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from repro.data.images import Images
from repro.data.rescale import rescale, rescaled_crop
from repro.data.split import Split
from repro.data.workers import loaded, processes
from repro.protocol.rescaling import OURS, Rescaling

WASTE = 0.2
"""Largest share of a batch of several shapes that lies outside of its images."""


def collated(images: Sequence[Tensor]) -> Tensor:
    """Images (C, h, w) as one batch, zeros to the right of and below the smaller ones.

    It lies in memory row by row, (N, H, W, C).
    """
    rows = [image.permute(1, 2, 0) for image in images]
    height, width = (max(row.shape[axis] for row in rows) for axis in (0, 1))
    batch = rows[0].new_zeros(len(rows), height, width, rows[0].shape[-1])
    for place, row in zip(batch, rows, strict=True):
        place[: row.shape[0], : row.shape[1]] = row
    return batch.permute(0, 3, 1, 2)


def _rescaled(
    images: Images,
    side: int,
    crop: int | None,
    mirror: bool,
    rescaling: Rescaling,
    batch: Sequence[int],
) -> Tensor:
    """A batch rescaled to one smallest side, and perhaps cropped at the centre or mirrored."""
    found = []
    for index in batch:
        image = images[index]
        shape = rescaling.shape(image.shape[-2], image.shape[-1], side)
        if crop is None:
            image = rescale(image, side, rescaling)
        else:
            # The centre of the 5x5 grid too (a half rounds to the even number).
            top, left = (round((length - crop) / 2) for length in shape)
            if rescaling.kernel == OURS.kernel:
                image = rescaled_crop(image, shape, top, left, crop)
            else:
                image = rescale(image, side, rescaling)[:, top : top + crop, left : left + crop]
        found.append(image.flip(-1) if mirror else image)
    return collated(found)


def _batches(
    images: Images, batches: list[list[int]], workers: str | int, *how: Any
) -> Iterator[tuple[Tensor, Tensor]]:
    make = partial(_rescaled, images, *how)
    made = loaded(make, processes(images, workers), batches, len(batches))
    for indices, batch in zip(batches, made, strict=True):
        yield torch.tensor(indices), batch


def shared(shapes: Sequence[tuple[int, int]], room: int, waste: float) -> list[list[int]]:
    """Which images share a batch: indices of images of equal or, with `waste`, of near shapes.

    A batch has one image at least, else no more than `room` pixels, of which no larger share than
    `waste` lies outside of its images.
    """
    batches: list[list[int]] = []
    height = width = inside = 0
    for index in sorted(range(len(shapes)), key=shapes.__getitem__):
        own = shapes[index]
        higher, wider = max(height, own[0]), max(width, own[1])
        pixels = (len(batches[-1]) + 1) * higher * wider if batches else 0
        if not batches or pixels > room or pixels - inside - own[0] * own[1] > waste * pixels:
            batches.append([])
            higher, wider, inside = *own, 0
        batches[-1].append(index)
        height, width, inside = higher, wider, inside + own[0] * own[1]
    return batches


def whole_images(
    split: Split,
    side: int,
    room: int,
    *,
    waste: float = 0,
    mirror: bool = False,
    rescaling: Rescaling = OURS,
    workers: str | int = 0,
    part: slice = slice(None),
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Whole, uncropped images for dense evaluation (Section 3.2), each once, near shapes together.

    Their smallest side is `side` pixels; for `room` and `waste` see `shared`. `part` says which of
    the batches are made: indices, int64 (B,); images, uint8 (B, C, H, W), each in the upper left
    corner; their heights and widths, int64 (B, 2).
    """
    sizes = split.images.sizes().tolist()
    shapes = [rescaling.shape(height, width, side) for height, width in sizes]
    batches = shared(shapes, room, waste)[part]
    how = (side, None, mirror, rescaling)
    for indices, images in _batches(split.images, batches, workers, *how):
        yield indices, images, torch.tensor([shapes[index] for index in indices.tolist()])


def centre_crops(
    split: Split,
    side: int,
    crop: int,
    batch: int,
    *,
    mirror: bool = False,
    rescaling: Rescaling = OURS,
    workers: str | int = 0,
    part: slice = slice(None),
) -> Iterator[tuple[Tensor, Tensor]]:
    """Centre crops of images rescaled to `side`: indices (B,) and uint8 (B, C, crop, crop).

    `part` says which of the batches are made.
    """
    indices = list(range(len(split.images)))
    batches = [indices[start : start + batch] for start in range(0, len(indices), batch)]
    yield from _batches(split.images, batches[part], workers, side, crop, mirror, rescaling)
