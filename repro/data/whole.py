"""Batches for testing (Section 3.2): whole images, of one shape or of several, and centre crops."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.utils.data import Dataset

from repro.data.images import ArrayImages, Images
from repro.data.rescale import rescale, rescaled_crop
from repro.data.split import Split
from repro.data.workers import loaded
from repro.errors import RunError
from repro.protocol.rescaling import OURS, Rescaling

WASTE = 0.2
"""Largest share of a batch of several shapes that lies outside of its images."""


class Whole(Dataset[Tensor | str]):
    """Images rescaled to one smallest side, and perhaps cropped at their centre or mirrored."""

    def __init__(
        self, images: Images, side: int, crop: int | None, mirror: bool, rescaling: Rescaling
    ) -> None:
        self.images, self.side, self.crop = images, side, crop
        self.mirror, self.rescaling = mirror, rescaling

    def __getitem__(self, index: int) -> Tensor | str:
        """uint8 (C, h, w); or why there is no image."""
        try:
            image = self.images[index]
        except RunError as error:
            return str(error)
        image = self._whole(image) if self.crop is None else self._centre(image, self.crop)
        return image.flip(-1) if self.mirror else image

    def _whole(self, image: Tensor) -> Tensor:
        return rescale(image, self.side, self.rescaling)

    def _centre(self, image: Tensor, crop: int) -> Tensor:
        shape = self.rescaling.shape(image.shape[-2], image.shape[-1], self.side)
        # The centre of the 5x5 grid too (a half rounds to the even number).
        top, left = (round((side - crop) / 2) for side in shape)
        if self.rescaling.kernel == OURS.kernel:
            return rescaled_crop(image, shape, top, left, crop)
        return self._whole(image)[:, top : top + crop, left : left + crop]


def collated(images: Sequence[Tensor | str]) -> Tensor | str:
    """Images (C, h, w) as one batch, zeros to the right of and below the smaller ones.

    It lies in memory row by row, (N, H, W, C). A string is why there is no image; it is passed on.
    """
    for image in images:
        if isinstance(image, str):
            return image
    rows = [image.permute(1, 2, 0) for image in images]  # type: ignore[union-attr]
    height, width = (max(row.shape[axis] for row in rows) for axis in (0, 1))
    batch = rows[0].new_zeros(len(rows), height, width, rows[0].shape[-1])
    for place, row in zip(batch, rows, strict=True):
        place[: row.shape[0], : row.shape[1]] = row
    return batch.permute(0, 3, 1, 2)


def _batches(
    whole: Whole, batches: list[list[int]], workers: int
) -> Iterator[tuple[Tensor, Tensor]]:
    workers = 0 if isinstance(whole.images, ArrayImages) else workers
    made = loaded(whole, workers, batches, len(batches), collated)
    for indices, images in zip(batches, made, strict=True):
        yield torch.tensor(indices), images


def shared(shapes: Sequence[tuple[int, int]], room: int, waste: float) -> list[list[int]]:
    """Which images share a batch: indices of images of equal or, with `waste`, of near shapes.

    Args:
        shapes: height and width of each image.
        room: most pixels of a batch, what lies outside of its images included; but one image at
            least.
        waste: largest share of a batch's pixels that may lie outside of its images.
    """
    order = sorted(range(len(shapes)), key=shapes.__getitem__)
    batches: list[list[int]] = []
    height = width = inside = 0
    for index in order:
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
    workers: int = 0,
    part: slice = slice(None),
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Whole, uncropped images for dense evaluation (Section 3.2), near shapes together.

    Args:
        split: the images; each comes exactly once.
        side: their smallest side in pixels.
        room: most pixels of a batch, but one image at least.
        waste: largest share of a batch that may lie outside of its images; 0: equal shapes only.
        mirror: mirror images instead.
        rescaling: how they come to that side.
        workers: processes that decode image files.
        part: of the batches, the ones to make.

    Yields:
        Indices, int64 (B,); images, uint8 (B, C, H, W), each in the upper left corner; their
        heights and widths, int64 (B, 2).

    Raises:
        RunError: an image cannot be decoded, or a worker was killed.
    """
    sizes = split.images.sizes().tolist()
    shapes = [rescaling.shape(height, width, side) for height, width in sizes]
    batches = shared(shapes, room, waste)[part]
    for indices, images in _batches(
        Whole(split.images, side, None, mirror, rescaling), batches, workers
    ):
        yield indices, images, torch.tensor([shapes[index] for index in indices.tolist()])


def centre_crops(
    split: Split,
    side: int,
    crop: int,
    batch: int,
    *,
    mirror: bool = False,
    rescaling: Rescaling = OURS,
    workers: int = 0,
    part: slice = slice(None),
) -> Iterator[tuple[Tensor, Tensor]]:
    """Centre crops of images rescaled to `side`: indices (B,) and uint8 (B, C, crop, crop).

    `part` says which of the batches to make.

    Raises:
        RunError: an image cannot be decoded, or a worker was killed.
    """
    indices = list(range(len(split.images)))
    batches = [indices[start : start + batch] for start in range(0, len(indices), batch)]
    yield from _batches(Whole(split.images, side, crop, mirror, rescaling), batches[part], workers)
