"""Computing views: one net looks at a test set in one way (Section 3.2)."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from repro.data.loader import EvaluationBatches, evaluation_batches
from repro.data.rescale import ISOTROPIC, Rescaling
from repro.data.split import Split
from repro.errors import RunError
from repro.model.cost import receptive_field, score_map_side
from repro.model.dense import Dense
from repro.model.vgg import VGG
from repro.protocol.protocols import GRID, View
from repro.protocol.scales import pixels
from repro.run.device import computing_in
from repro.run.distributed import ALONE, World
from repro.run.memory import FitToMemory, at_once
from repro.store.views import Descriptors, Posteriors

Prepare = Callable[[Tensor], Tensor]
"""Takes grey levels (N, C, H, W) from the loader to the net's input, on its device."""


@dataclass(frozen=True)
class EvaluationOptions:
    """How a test is computed; `prepare`, `precision` and `rescaling` alone change its result."""

    prepare: Prepare
    batch: int = 128
    """Images of the crop's size at once, at most; of larger ones as many as fill no more memory."""
    precision: str = "float32"
    """The precision of products, where a view has none of its own."""
    workers: str | int = 0
    rescaling: Rescaling = ISOTROPIC
    world: World = ALONE
    kept: dict[Any, EvaluationBatches] | None = None
    """Batches that come again, whose workers wait for the next time; None: each comes once."""
    say: Callable[[str], None] = print
    check: Callable[[], None] = lambda: None
    """Called before each batch. What it raises in one process is raised in all."""


PIXELS = 14
"""Cells along each side of an image that is its own descriptor."""
Judge = Callable[[Tensor], Tensor]
"""Takes the net's input (N, C, H, W) to posteriors (N, classes), or to descriptors."""
CropScores = Callable[[Tensor, Sequence[tuple[int, int]]], Iterator[Tensor]]
"""Takes images and places (top, left) to the scores (N, classes) of each place's crops."""


def grid(height: int, width: int, crop: int) -> list[tuple[int, int]]:
    """(top, left) of the crops of a regular 5x5 grid; it holds torchvision's five crops."""
    ends = (height - crop, width - crop)
    rows, columns = (np.linspace(0, end, GRID).round().astype(int).tolist() for end in ends)
    return [(top, left) for top in rows for left in columns]


def _multi_crop(net: VGG, crop_scores: CropScores) -> Judge:
    """The mean of the soft-max posteriors of the crops of a 5x5 grid."""

    def judge(images: Tensor) -> Tensor:
        places = grid(images.shape[-2], images.shape[-1], net.spec.crop)
        found = (scores.softmax(dim=1) for scores in crop_scores(images, places))
        return _mean(found, len(places))

    return judge


def _windows(net: VGG, crop_scores: CropScores) -> Judge:
    """Crops at the positions of the dense score map, each padded with zeros (Sections 3.2, 4.3)."""
    crop, step = net.spec.crop, receptive_field(net.spec.layers)[1]

    def judge(images: Tensor) -> Tensor:
        rows, columns = (score_map_side(net.spec, side) for side in images.shape[-2:])
        # The last windows may hang over the image, where the dense net sees zeros.
        below = max(0, (rows - 1) * step + crop - images.shape[-2])
        right = max(0, (columns - 1) * step + crop - images.shape[-1])
        padded = functional.pad(images, (0, right, 0, below))
        places = [(row * step, column * step) for row in range(rows) for column in range(columns)]
        return _mean(crop_scores(padded, places), len(places)).softmax(dim=1)

    return judge


def _crop_scores(net: VGG, batch: int, say: Callable[[str], None]) -> CropScores:
    """A net's scores of crops, at most `batch` at once; `say` takes a line if these do not fit."""
    crop, scores = net.spec.crop, FitToMemory(net, say)

    def at(images: Tensor, places: Sequence[tuple[int, int]]) -> Iterator[Tensor]:
        count = max(1, batch // len(images))
        for first in range(0, len(places), count):
            some = places[first : first + count]
            crops = [images[..., top : top + crop, left : left + crop] for top, left in some]
            yield from torch.split(scores(torch.cat(crops)), len(images))

    return at


def _mean(parts: Iterator[Tensor], count: int) -> Tensor:
    """The mean of tensors that come one by one, so that they are not all in memory."""
    total = next(parts)
    for part in parts:
        total = total + part
    return total / count


def compute(net: VGG, view: View, split: Split, options: EvaluationOptions) -> Posteriors:
    """One view of a test set: posteriors of all images, by the view's kind.

    The net is in evaluation mode, on its device. Where scores are not finite all classes get the
    same posterior; a tie counts as an error. A RunError says that an image cannot be decoded, or
    does not fit into memory.
    """
    began = time.perf_counter()
    result = _looked(net, view, split, options)
    blank = ~result.isfinite().all(dim=1)
    result[blank] = 1 / result.shape[1]
    if blank.any():
        options.say(f"{view.name}: {int(blank.sum())} images have scores that are not finite")
    seconds = time.perf_counter() - began
    said = _coarse(net, view, options)
    return Posteriors(result.numpy(), split.labels, np.array(split.ids), seconds, said)


def describe_images(net: VGG, view: View, split: Split, options: EvaluationOptions) -> Descriptors:
    """As `compute`, of a view of descriptors: (N, D), averaged with those of the mirror images."""
    began = time.perf_counter()
    result = _looked(net, replace(view, mirrored=False), split, options)
    if view.mirrored:
        result = (result + _looked(net, view, split, options)) / 2
    if not result.isfinite().all():
        raise RunError(f"{view.name}: the net's activations are not finite")
    seconds = time.perf_counter() - began
    said = _coarse(net, view, options)
    return Descriptors(result.numpy(), split.labels, np.array(split.ids), seconds, said)


def _coarse(net: VGG, view: View, options: EvaluationOptions) -> str | None:
    """The precision to be recorded; what has no tf32 computes as in float32."""
    device, precision = next(net.parameters()).device, view.precision or options.precision
    there = device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
    return precision if precision == "tf32" and there else None


def _looked(net: VGG, view: View, split: Split, options: EvaluationOptions) -> Tensor:
    """What the view's judge says of each image, a row each."""
    options = replace(options, precision=view.precision or options.precision)
    judge = JUDGES[view.kind](net, _crop_scores(net, at_once(net, options.batch), options.say))
    sides = pixels(view.q, net.spec.crop), net.spec.crop if view.kind == "centre" else None
    notes = judged(net, judge, lambda *both: both, split, sides, options, mirror=view.mirrored)
    indices, rows = (torch.cat(parts) for parts in zip(*notes, strict=True))
    return rows[indices.argsort()]


def centre_error(net: VGG, split: Split, side: int, options: EvaluationOptions) -> float:
    """Top-1 error (%) on the centre crops of images rescaled to `side` pixels; a tie is an error.

    On the validation images this is the error that steers the learning rate.
    """
    net.eval()
    labels = torch.as_tensor(split.labels)

    def wrong(indices: Tensor, scores: Tensor) -> int:
        own = scores.gather(1, labels[indices][:, None])
        return int(((~(scores < own)).sum(dim=1) > 1).sum())

    counts = judged(net, net, wrong, split, (side, net.spec.crop), options)
    return 100 * sum(counts) / len(split.images)


T = TypeVar("T")


def judged(
    net: VGG,
    judge: Judge,
    note: Callable[[Tensor, Tensor], T],
    split: Split,
    sides: tuple[int, int | None],
    options: EvaluationOptions,
    mirror: bool = False,
) -> Iterator[T]:
    """Runs `judge` over a test set; yields `note(indices, scores)` of each batch, of all processes.

    `sides` are those of the rescaled image and of its centre crop; None: the judge sees all of it.
    """
    room = at_once(net, options.batch) * net.spec.crop**2
    key, kept = (id(split), *sides, mirror), {} if options.kept is None else options.kept
    if (batches := kept.get(key)) is None:
        batches = kept[key] = evaluation_batches(
            split,
            *sides,
            room,
            mirror=mirror,
            rescaling=options.rescaling,
            workers=options.workers,
            # Whole batches of the others, so that they round as they always do.
            part=slice(options.world.rank, None, options.world.size),
            again=options.kept is not None,
        )
    fitting = FitToMemory(lambda images: judge(options.prepare(images)), options.say)

    def own() -> list[T]:
        notes = []
        for indices, images in batches:
            options.check()
            notes.append(note(indices, fitting(images)))
        return notes

    untried = _no_trials() if sides[1] is None else nullcontext()
    with torch.inference_mode(), computing_in(options.precision), untried:
        return chain.from_iterable(options.world.all_gather(own))


@contextmanager
def _no_trials() -> Iterator[None]:
    """With `fast` cuDNN would try out its algorithms for each new shape of a whole image."""
    cudnn = torch.backends.cudnn
    before, cudnn.benchmark = cudnn.benchmark, False
    try:
        yield
    finally:
        cudnn.benchmark = before


JUDGES: dict[str, Callable[[VGG, CropScores], Judge]] = {
    # The soft-max of the class score map averaged over space.
    "dense": lambda net, _: lambda images: Dense(net).scores(images).softmax(dim=1),
    "grid": _multi_crop,
    "centre": lambda net, _: lambda images: net(images).softmax(dim=1),
    "windows": _windows,
    # The activations of the last hidden layer averaged over space, (N, D) (Appendix B).
    "descriptor": lambda net, _: Dense(net, hidden=True).scores,
    "pixels": lambda net, _: (
        lambda images: functional.adaptive_avg_pool2d(images, PIXELS).flatten(1)
    ),
}
