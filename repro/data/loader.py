"""Batches for training: random crops of images rescaled to S (Section 3.1).

What is random about a training crop is drawn from the seed, the epoch, the image and how many
images there are, and nothing else. So it is the same in any process, with any number of workers,
and after an interruption.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from repro.data.colour import shifts
from repro.data.images import ArrayImages, Images
from repro.data.rescale import rescale, rescaled_crop
from repro.data.split import Split
from repro.data.statistics import Statistics
from repro.data.whole import collated
from repro.data.workers import loaded
from repro.errors import RunError
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


@dataclass(frozen=True)
class Crop:
    """One training crop to be made: which image, rescaled how, cut out where."""

    index: int
    side: int
    """S in pixels."""
    top: float
    """Where it begins, as a share in [0, 1) of the places that there are."""
    left: float
    flip: bool

    def place(self, shape: tuple[int, int], crop: int) -> tuple[int, int]:
        """First row and first column of the crop in the image rescaled to `shape`."""
        return int(self.top * (shape[0] - crop + 1)), int(self.left * (shape[1] - crop + 1))


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
        self.split, self.smin, self.smax, self.crop = split, smin, smax, crop
        self.mirror, self.batch, self.seed = mirror, batch, seed
        self.workers, self.colour, self.rescaling, self.own = workers, colour, rescaling, own
        self.series, self.channels = series, split.images[0].shape[0]

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
        shift = np.zeros((len(random.order), self.channels), dtype=np.float32)
        if self.colour is not None:
            shift = shifts(random.normal, *self.colour)
        firsts = range(start * self.batch, len(random.order), self.batch)
        whole = [random.order[first : first + self.batch] for first in firsts]
        parts = [batch[self.own(len(batch))] for batch in whole]
        drawn = ([self._drawn(i, random) for i in part] for part in parts if len(part))
        made = self._crops(drawn, len(parts))
        none = torch.empty(0, self.channels, self.crop, self.crop, dtype=torch.uint8)
        for part in parts:
            crops = next(made) if len(part) else none
            labels = torch.as_tensor(self.split.labels[part])
            yield crops, torch.as_tensor(shift[part]), labels

    def _drawn(self, index: int, random: Draws) -> Crop:
        scale, top, left, flip = random.uniform[index]
        side = self.smin + int(scale * (self.smax - self.smin + 1))
        return Crop(int(index), side, top, left, self.mirror and flip < 0.5)

    def _crops(self, batches: Iterable[list[Crop]], most: int) -> Iterator[Tensor]:
        if self._rescaled is not None:
            yield from map(self._windows, batches)
            return
        cut = Cut(self.split.images, self.crop, self.rescaling)
        workers = 0 if isinstance(self.split.images, ArrayImages) else self.workers
        yield from loaded(cut, workers, batches, most, collated)

    def _windows(self, batch: list[Crop]) -> Tensor:
        """Crops of images that are rescaled already, in one step instead of one by one."""
        assert self._rescaled is not None
        images = self._rescaled.array.numpy()
        shape = (images.shape[2], images.shape[3])
        top, left = np.transpose([drawn.place(shape, self.crop) for drawn in batch])
        windows = sliding_window_view(images, (self.crop, self.crop), axis=(2, 3))
        crops = windows[[drawn.index for drawn in batch], :, top, left]
        flip = [drawn.flip for drawn in batch]
        crops[flip] = crops[flip][..., ::-1]
        return torch.from_numpy(crops)

    @cached_property
    def _rescaled(self) -> ArrayImages | None:
        """All images at a fixed S, where they are in memory and fit there."""
        images = self.split.images
        if not isinstance(images, ArrayImages) or self.smin != self.smax:
            return None
        shape = images.array.shape[-2:]
        height, width = self.rescaling.shape(shape[0], shape[1], self.smin)
        if len(images) * self.channels * height * width > MEMORY:
            return None
        parts = torch.split(images.array, 1024)
        return ArrayImages(torch.cat([rescale(part, self.smin, self.rescaling) for part in parts]))


class Cut(Dataset[Tensor | str]):
    """Makes a crop from what was drawn for it; a worker holds one of these."""

    def __init__(self, images: Images, crop: int, rescaling: Rescaling = OURS) -> None:
        self.images, self.crop, self.rescaling = images, crop, rescaling

    def __getitem__(self, drawn: Crop) -> Tensor | str:
        """The crop, or why there is none, as a worker can pass it on."""
        try:
            return self.make(drawn)
        except RunError as error:
            return str(error)

    def make(self, drawn: Crop) -> Tensor:
        """The crop, uint8 (C, crop, crop)."""
        image = self.images[drawn.index]
        shape = self.rescaling.shape(image.shape[-2], image.shape[-1], drawn.side)
        top, left = drawn.place(shape, self.crop)
        crop = rescaled_crop(image, shape, top, left, self.crop)
        return crop.flip(-1) if drawn.flip else crop


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
