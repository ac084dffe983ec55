"""Batches for training: random crops of images rescaled to S (Section 3.1).

What is random about a training crop is drawn from the seed, the epoch, the image and how many
images there are, and nothing else. So it is the same in any process, with any number of workers,
and after an interruption.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from torch import Tensor

from repro.data.images import ArrayImages, Images
from repro.data.rescale import rescale, rescaled_crop
from repro.data.split import Split
from repro.data.statistics import Statistics, shifts
from repro.data.whole import collated
from repro.data.workers import loaded
from repro.protocol.rescaling import OURS, Rescaling

MEMORY = 2**31
"""Bytes that rescaled training images may take, where all of them are kept."""


@dataclass(frozen=True)
class Draws:
    """What is random about one epoch, a row for each image."""

    order: NDArray[np.int64]
    """The order of the images, (N,)."""
    uniform: NDArray[np.float64]
    """(N, 4) in [0, 1): for S, the crop's top, its left, the flip."""
    normal: NDArray[np.float64]
    """(N, C) for the colour shift."""


def draws(seed: int, epoch: int, count: int, channels: int, series: int = 0) -> Draws:
    """What is random about an epoch.

    Args:
        seed: of the run.
        epoch: from 0.
        count: how many images there are.
        channels: of an image, each with a colour shift.
        series: another number gives other draws for the same seed and epoch.
    """
    # NumPy fills a seed up with zeros, so series 0 is what there was before there were several.
    random = np.random.default_rng([seed, epoch, series])
    order = random.permutation(count)
    return Draws(order, random.random((count, 4)), random.standard_normal((count, channels)))


class TrainingCrops:
    """One random crop of each image an epoch, from the image rescaled to its own S."""

    def __init__(
        self,
        split: Split,
        *,
        smin: int,
        smax: int,
        crop: int,
        mirror: bool,
        batch: int,
        seed: int,
        workers: int,
        colour: tuple[Statistics, float] | None,
        rescaling: Rescaling = OURS,
        own: Callable[[int], slice] = lambda total: slice(total),
        series: int = 0,
    ) -> None:
        """
        Args:
            split: the training images.
            smin: smallest S in pixels; S is drawn uniformly from the whole numbers up to `smax`.
            smax: largest S in pixels.
            crop: side of the crop in pixels.
            mirror: whether half of the crops are flipped.
            batch: crops in a batch; the last one of an epoch may be smaller.
            seed: of everything random.
            workers: processes that decode image files; 0: this one does.
            colour: the colours of the images and the standard deviation of the shift, or None.
            rescaling: how images come to S; by our own kernel.
            own: which rows of a batch of so many images this process makes.
            series: which of a seed's series of draws, see `draws`.
        """
        self.split, self.crop, self.batch, self.seed = split, crop, batch, seed
        self.workers, self.colour, self.own, self.series = workers, colour, own, series
        self.channels = split.images[0].shape[0]
        self.cut = Cut(split.images, smin, smax, crop, mirror, rescaling)

    def __len__(self) -> int:
        return -(-len(self.split.images) // self.batch)

    def images(self, step: int) -> int:
        """How many images batch `step` of an epoch has, in all processes."""
        return min(self.batch, len(self.split.images) - step * self.batch)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """This process's rows of the batches of an epoch, from batch `start` on.

        Yields:
            Crops, uint8 (B, C, crop, crop); colour shifts in grey levels, float32 (B, C); labels,
            int64 (B,); B may be 0 where a small batch has not a row for each process.

        Raises:
            RunError: an image cannot be decoded, or a worker was killed.
        """
        count = len(self.split.images)
        random = draws(self.seed, epoch, count, self.channels, self.series)
        shift = np.zeros((count, self.channels), dtype=np.float32)
        if self.colour is not None:
            shift = shifts(random.normal, *self.colour)
        firsts = range(start * self.batch, count, self.batch)
        batches = [random.order[first : first + self.batch] for first in firsts]
        parts = [batch[self.own(len(batch))] for batch in batches]
        wanted = ((part, random.uniform[part]) for part in parts if len(part))
        in_memory = isinstance(self.split.images, ArrayImages)
        made = loaded(self.cut, 0 if in_memory else self.workers, wanted, len(parts))
        none = torch.empty(0, self.channels, self.crop, self.crop, dtype=torch.uint8)
        for part in parts:
            crops = next(made) if len(part) else none
            labels = torch.as_tensor(self.split.labels[part])
            yield crops, torch.as_tensor(shift[part]), labels


class Cut:
    """Makes the crops of a batch from what was drawn for them; a worker holds one of these."""

    def __init__(
        self, images: Images, smin: int, smax: int, crop: int, mirror: bool, rescaling: Rescaling
    ) -> None:
        """See `TrainingCrops`."""
        self.images, self.smin, self.smax, self.crop = images, smin, smax, crop
        self.mirror, self.rescaling = mirror, rescaling

    def __call__(self, batch: tuple[NDArray[np.int64], NDArray[np.float64]]) -> Tensor:
        """Crops, uint8 (B, C, crop, crop), of the images (B,) by what was drawn for each, (B, 4).

        Raises:
            RunError: an image cannot be decoded.
        """
        indices, uniform = batch
        sides = self.smin + (uniform[:, 0] * (self.smax - self.smin + 1)).astype(int)
        flips = (self.mirror & (uniform[:, 3] < 0.5)).tolist()
        if isinstance(self.images, ArrayImages):
            crops = self._windows(self.images, indices, sides, uniform)
            crops[flips] = crops[flips].flip(-1)
            return crops
        found = []
        for index, side, random, flip in zip(indices, sides, uniform, flips, strict=True):
            image = self.images[int(index)]
            shape = self.rescaling.shape(image.shape[-2], image.shape[-1], int(side))
            top, left = self._places(random[None], shape)
            crop = rescaled_crop(image, shape, int(top[0]), int(left[0]), self.crop)
            found.append(crop.flip(-1) if flip else crop)
        return collated(found)

    def _places(
        self, uniform: NDArray[np.float64], shape: tuple[int, int]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """First rows and first columns (B,) of crops in images rescaled to `shape`."""
        top, left = uniform[:, 1:3].T
        height, width = shape
        rows, columns = top * (height - self.crop + 1), left * (width - self.crop + 1)
        return rows.astype(np.int64), columns.astype(np.int64)

    def _windows(
        self,
        images: ArrayImages,
        indices: NDArray[np.int64],
        sides: NDArray[np.int64],
        uniform: NDArray[np.float64],
    ) -> Tensor:
        """Crops of images in memory: those of one S in one step instead of one by one."""
        found = images.array.new_empty(len(indices), images.array.shape[1], self.crop, self.crop)
        for side in np.unique(sides).tolist():
            rows = np.flatnonzero(sides == side)
            if self._rescaled is None:
                array = rescale(images.take(indices[rows]).array, side, self.rescaling)
                chosen = np.arange(len(rows))
            else:
                array, chosen = self._rescaled, indices[rows]
            top, left = self._places(uniform[rows], (array.shape[-2], array.shape[-1]))
            windows = sliding_window_view(array.numpy(), (self.crop, self.crop), axis=(2, 3))
            found[rows] = torch.from_numpy(windows[chosen, :, top, left])
        return found

    @cached_property
    def _rescaled(self) -> Tensor | None:
        """All images in memory at a fixed S, where they fit there."""
        images = self.images
        if not isinstance(images, ArrayImages) or self.smin != self.smax:
            return None
        height, width = images.array.shape[-2:]
        shape = self.rescaling.shape(height, width, self.smin)
        if images.array.shape[:2].numel() * shape[0] * shape[1] > MEMORY:
            return None
        return images.rescaled(self.smin, self.rescaling).array


def normalise(
    images: Tensor,
    mean: Sequence[float] | Tensor,
    input_range: float,
    shift: Tensor | None = None,
) -> Tensor:
    """Grey levels (B, C, H, W) to the net's input, float32: minus the mean, plus the colour shift.

    Args:
        images: grey levels 0-255, on any device.
        mean: of each channel, in grey levels.
        input_range: what 255 grey levels become: 255 in the paper, or 1.
        shift: colour shifts in grey levels, (B, C).
    """
    offset = -torch.as_tensor(mean, dtype=torch.float32, device=images.device)[None, :]
    if shift is not None:
        offset = offset + shift
    values = images.to(torch.float32, copy=True)
    if values.is_contiguous(memory_format=torch.channels_last):
        # Row by row a short axis of channels is slow to broadcast along; whole rows are not.
        rows = values.permute(0, 2, 3, 1).flatten(2)
        rows += offset.repeat(1, images.shape[-1])[:, None, :]
    else:
        values += offset[:, :, None, None]
    return values if input_range == 255 else values.mul_(input_range / 255)
