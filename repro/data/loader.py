"""Batches: random crops of images rescaled to S (Section 3.1), whole images and centre crops (3.2).

A training crop is drawn from the seed, the series, the epoch, the image and how many images there
are alone: it is the same in any process, with any number of workers, and after an interruption.
"""

import copy
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import count, groupby
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

from repro.data.cut import Cut
from repro.data.on_device import CutOnDevice, held
from repro.data.rescale import ISOTROPIC, Rescaling
from repro.data.split import Split
from repro.data.statistics import Statistics, shifts
from repro.data.workers import Loaded, processes
from repro.protocol.boxes import to_window

NOTHING: tuple[tuple[int, int], Iterator[Tensor]] = ((-1, -1), iter(()))


class Draws(NamedTuple):
    """The draws of an epoch, by image: `uniform` for S, top, left, flip; `normal` for colour."""

    order: NDArray[np.int64]
    uniform: NDArray[np.float64]
    normal: NDArray[np.float64]


@lru_cache(maxsize=2)
def draws(seed: int, epoch: int, images: int, channels: int, series: int = 0) -> Draws:
    """The random draws of an epoch, from 0; another `series` has others for the same seed."""
    # NumPy fills a seed up with zeros, so series 0 is what there was before there were several.
    random = np.random.default_rng([seed, epoch, series])
    order = random.permutation(images)
    return Draws(order, random.random((images, 4)), random.standard_normal((images, channels)))


@dataclass(kw_only=True)
class TrainingCrops:
    """One random crop of each image an epoch, from the image rescaled to its own S.

    S is drawn uniformly from the whole numbers from `smin` to `smax`, in pixels. With `mirror` half
    of the crops are flipped. `colour`: the images' colours and the shift's standard deviation.
    `own`: which rows of a batch of so many this process makes. `device`: see `on_device`.
    """

    split: Split = field(kw_only=False)
    smin: int
    smax: int
    crop: int
    mirror: bool
    batch: int
    seed: int
    workers: str | int
    colour: tuple[Statistics, float] | None
    rescaling: Rescaling = ISOTROPIC
    own: Callable[[int], slice] = slice
    series: int = 0
    device: torch.device | None = None
    _ahead: tuple[tuple[int, int], Iterator[Tensor]] = field(default=NOTHING, init=False)

    def __post_init__(self) -> None:
        images = self.split.images
        self.channels = images[0].shape[0]
        how = (self.smin, self.smax, self.crop, self.mirror, self.rescaling)
        self.cut: Callable[[Any], Any] = Cut(images, *how, self.split.boxes is not None)
        if self.device is not None:
            self.cut = CutOnDevice(held(images, self.device), *how)

    def __len__(self) -> int:
        return -(-len(self.split.images) // self.batch)

    def images(self, step: int) -> int:
        """How many images batch `step` of an epoch has, in all processes."""
        return min(self.batch, len(self.split.images) - step * self.batch)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """This process's rows of an epoch's batches from `start` on, by workers that work ahead.

        Crops, uint8 (B, C, crop, crop); colour shifts in grey levels, float32 (B, C); labels,
        int64 (B,); B may be 0 where a small batch has not a row for each process. Where images have
        boxes, labels are float32 (B, 5): the class, and one of its boxes (see `to_window`).
        """
        random, images = self._draws(epoch), len(self.split.images)
        shift = np.zeros((images, self.channels), dtype=np.float32)
        if self.colour is not None:
            shift = shifts(random.normal, *self.colour)
        (at, made), self._ahead = self._ahead, NOTHING
        if at != (epoch, start):
            made = self._made(epoch, start)
        none = torch.empty(0, self.channels, self.crop, self.crop, dtype=torch.uint8)
        # Which of several boxes: draws of their own, so that crops are those of classification.
        which = np.random.default_rng([self.seed, epoch, self.series, 1]).random(images)
        for rows in self._rows(epoch, start):
            crops: Any = next(made) if len(rows) else none
            labels = torch.as_tensor(self.split.labels[rows])
            if self.split.boxes is not None:
                crops, windows = crops if len(rows) else (none, np.empty((0, 5)))
                own = [(self.split.boxes[row], which[row]) for row in rows.tolist()]
                drawn = np.array([boxes[int(part * len(boxes))] for boxes, part in own])
                targets = to_window(drawn.reshape(-1, 4), windows)
                labels = torch.cat([labels[:, None], torch.as_tensor(targets)], dim=1).float()
            yield crops, torch.as_tensor(shift[rows]), labels
        self._ahead = (epoch + 1, 0), made

    def _draws(self, epoch: int) -> Draws:
        return draws(self.seed, epoch, len(self.split.images), self.channels, self.series)

    def _rows(self, epoch: int, start: int) -> Iterator[NDArray[np.int64]]:
        """The images that this process has of each batch of an epoch, from `start` on."""
        order = self._draws(epoch).order
        for first in range(start * self.batch, len(order), self.batch):
            batch = order[first : first + self.batch]
            yield batch[self.own(len(batch))]

    def _made(self, epoch: int, start: int) -> Iterator[Any]:
        """The crops of all batches from here on, epoch after epoch, by the same workers."""

        # Workers that a cycle of references holds are found late, and end slowly.
        own = copy.copy(self)

        def wanted() -> Iterator[tuple[NDArray[np.int64], NDArray[np.float64]]]:
            for later in count(epoch):
                uniform = own._draws(later).uniform
                every = own._rows(later, start if later == epoch else 0)
                yield from ((rows, uniform[rows]) for rows in every if len(rows))

        workers = processes(self.split.images, self.workers)
        return iter(Loaded(self.cut, workers, wanted(), len(self)))


def shared(shapes: Sequence[tuple[int, int]], room: int) -> list[list[int]]:
    """The batches of images of one shape, by index: each one image, or `room` pixels at most."""
    batches: list[list[int]] = []
    ordered = sorted(range(len(shapes)), key=shapes.__getitem__)
    for (height, width), group in groupby(ordered, shapes.__getitem__):
        indices, most = list(group), max(1, room // (height * width))
        batches += [indices[first : first + most] for first in range(0, len(indices), most)]
    return batches


def evaluation_batches(
    split: Split,
    side: int,
    crop: int | None,
    room: int,
    *,
    mirror: bool = False,
    rescaling: Rescaling = ISOTROPIC,
    workers: str | int = 0,
    part: slice = slice(None),
    again: bool = False,
) -> "EvaluationBatches":
    """Images rescaled to `side`, each once: indices, int64 (B,), and uint8 (B, C, H, W).

    They are crops at the centre, or for dense evaluation (Section 3.2) whole, those of equal shapes
    together. A batch has at most `room` pixels; `part` says which of the batches are made; `again`
    keeps the workers for the next time.
    """
    if crop is None:
        shapes = [rescaling.shape(high, wide, side) for high, wide in split.images.sizes().tolist()]
    else:
        shapes = [(crop, crop)] * len(split.ids)
    cut = Cut(split.images, side, side, crop, mirror, rescaling)
    batches = shared(shapes, room)[part]
    wanted = [(np.array(indices), None) for indices in batches]
    made = Loaded(cut, processes(split.images, workers), wanted, len(wanted), again)
    return EvaluationBatches(batches, made)


@dataclass(frozen=True)
class EvaluationBatches:
    """The batches of `evaluation_batches`, each time that it is gone through."""

    indices: Sequence[Sequence[int]]
    made: Loaded

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for indices, batch in zip(self.indices, self.made, strict=True):
            yield torch.tensor(indices), batch


def crops_picture(
    split: Split, scales: Sequence[tuple[int, int]], crop: int, rescaling: Rescaling = ISOTROPIC
) -> bytes:
    """A PNG of crops of the same ten images, a row for each (smallest, largest) S in pixels."""
    random, few = np.random.default_rng(0), split.spread(10).images
    indices, rows = np.arange(len(few)), []
    for smin, smax in scales:
        cut = Cut(few, smin, smax, crop, False, rescaling)
        crops = cut((indices, random.random((len(few), 4))))
        # White pixels between them.
        rows.append(torch.cat([*functional.pad(crops, (1, 1, 1, 1), value=255)], dim=2))
    grid, buffer = torch.cat(rows, dim=1), io.BytesIO()
    Image.fromarray(grid.expand(3, -1, -1).permute(1, 2, 0).numpy()).save(buffer, "PNG")
    return buffer.getvalue()
