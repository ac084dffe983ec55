"""Dense evaluation of images of many shapes: against one at a time, one big batch, multi-crop."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from repro.benchmark.jpeg import photographs
from repro.benchmark.measure import Contest, Work
from repro.benchmark.training import config, network
from repro.config.schema import Config
from repro.data.inputs import Inputs
from repro.data.rescale import rescale
from repro.data.split import Split
from repro.model.dense import Dense
from repro.model.vgg import VGG
from repro.protocol.protocols import View
from repro.protocol.rescaling import OURS
from repro.protocol.scales import pixels
from repro.run.device import memory_format
from repro.run.views import EvaluationOptions, Prepare, compute

SCALES = (256, 384, 512)
"""Test scales Q, in the paper's pixels."""
MEAN = (110.0, 110.0, 110.0)
BATCH = 128
"""`test_batch` of a run: images of the crop's size that are in memory at once."""
SPREAD = 0.25
"""Of the logarithm of the ratio of an image's sides, where images are made up."""
CROPPED = 16
"""Multi-crop looks at each image 25 times: one in so many images is enough to time it."""


class Scaled:
    """Images of many shapes that are already rescaled, in memory."""

    def __init__(self, images: list[Tensor]) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        return self.images[index]

    def sizes(self) -> NDArray[np.int64]:
        """(N, 2): height and width of every image."""
        return np.array([image.shape[-2:] for image in self.images], dtype=np.int64)

    def subset(self, indices: NDArray[np.int64]) -> Scaled:
        """The images at `indices`."""
        return Scaled([self.images[index] for index in indices])


@cache
def _settings() -> Config:
    # Asked for with every batch that is timed.
    return config("D", "eighth", "cifar10")


def contests(folder: Path | None, count: int, device: torch.device) -> Iterator[Contest]:
    """D at an eighth of its size over whole images and their mirror images, for three Q.

    Args:
        folder: of images whose shapes are taken; None: as many shapes are made up.
        count: images.
        device: where.
    """
    settings = _settings()
    net = network(settings, device, memory_format(settings, device)).eval()
    for q in SCALES:
        side = pixels(q, settings.size.crop)
        images = from_folder(folder, count, side) if folder else made_up(count, side)
        shapes = {tuple(image.shape[-2:]) for image in images}
        yield Contest(
            f"dense evaluation, smallest side {side}, {len(images)} images of {len(shapes)} shapes",
            "images/s",
            {
                "this suite": ours(net, q, images),
                "a single shape, batches as large (the limit)": one_shape(net, images, BATCH),
                "a single shape, one big batch": one_shape(net, images, None),
                "equal shapes together": grouped(net, images, together=True),
                "one image at a time": grouped(net, images, together=False),
                "this suite, multi-crop": ours(net, q, images[::CROPPED], "grid"),
            },
        )


def from_folder(folder: Path, count: int, side: int) -> list[Tensor]:
    """Images of a folder, rescaled to the smallest side `side`: uint8 (3, h, w).

    Raises:
        RequestError: there are none.
    """
    files = photographs(folder, count).images
    return [rescale(files[index], side) for index in range(len(files))]


def made_up(count: int, side: int) -> list[Tensor]:
    """Noise in the shapes of photographs, upright and across: uint8 (3, h, w)."""
    random = np.random.default_rng(0)
    ratios = np.exp(SPREAD * random.standard_normal(count))
    shapes = [OURS.shape(1000, round(1000 * ratio), side) for ratio in ratios]
    return [torch.from_numpy(random.integers(256, size=(3, *s), dtype=np.uint8)) for s in shapes]


def ours(net: VGG, q: int, images: list[Tensor], kind: str = "dense") -> Work:
    """`repro.run.views` as a run uses it: the view and the mirrored view of a test set."""
    ids = tuple(map(str, range(len(images))))
    split = Split(Scaled(images), np.zeros(len(images), dtype=np.int64), ids)

    def work() -> float:
        for mirrored in (False, True):
            compute(
                net, View(kind, q, mirrored), split, prepared(net), EvaluationOptions(batch=BATCH)
            )
        return len(images)

    return work


def grouped(net: VGG, images: list[Tensor], *, together: bool) -> Work:
    """The dense net over images one by one, or over batches of images of equal shapes."""
    groups: dict[object, list[Tensor]] = {}
    for number, image in enumerate(images):
        groups.setdefault(image.shape if together else number, []).append(image)
    batches = [torch.stack(group) for group in groups.values()]

    def work() -> float:
        return sum(judge(net, batch) for batch in batches)

    return work


def one_shape(net: VGG, images: list[Tensor], room: int | None) -> Work:
    """The dense net over images of a single shape, as many and as large on average.

    Args:
        net: in evaluation mode.
        images: uint8 (3, h, w) each, of one smallest side.
        room: pixels of a batch in crops' sizes; None: all images in one batch.
    """
    side = min(images[0].shape[-2:])
    area = np.mean([image[0].numel() for image in images])
    shape = (side, round(area / side))
    alike = [functional.interpolate(image[None], shape, mode="bilinear") for image in images]
    count = len(images) if room is None else int(room * net.spec.crop**2 // area)
    batches = torch.split(torch.cat(alike), count)
    return lambda: sum(judge(net, batch) for batch in batches)


def prepared(net: VGG) -> Prepare:
    """From grey levels to the net's input on its device."""
    device = next(net.parameters()).device
    return Inputs(MEAN, 255, device, torch.float32, memory_format(_settings(), device))


@torch.inference_mode()
def judge(net: VGG, images: Tensor) -> int:
    """Posteriors of a batch of one shape and of its mirror images; how many images it has."""
    for batch in (images, images.flip(-1)):
        Dense(net).scores(prepared(net)(batch)).softmax(dim=1).cpu()
    return len(images)
