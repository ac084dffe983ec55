"""JPEG files to training crops, for each core: against torchvision's reference transforms."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

from repro.benchmark.measure import Contest, Work, one_thread
from repro.data.images import FileImages, decode
from repro.data.listing import ENDINGS
from repro.data.loader import TrainingCrops, normalise
from repro.data.prescaled import prescaled
from repro.data.split import Split
from repro.errors import RequestError
from repro.protocol.scales import PAPER_CROP

BATCH = 32
SCALES = ((256, 256), (256, 512))
"""Training scales S: fixed, and jittered."""
MEAN = (123.0, 117.0, 104.0)
"""Grey levels that are subtracted; which ones does not matter here."""


def photographs(folder: Path, count: int) -> Split:
    """Image files of a folder and of those below it, as evenly spread as can be.

    Raises:
        RequestError: there are none.
    """
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in ENDINGS)
    if not paths:
        raise RequestError(f"{folder} holds no image files: expected a folder of photographs")
    ids = tuple(str(path.relative_to(folder)) for path in paths)
    return Split(FileImages(paths, 3), np.zeros(len(paths), dtype=np.int64), ids).spread(count)


def contests(folder: Path, count: int) -> Iterator[Contest]:
    """Photographs to batches of normalised crops of 224 pixels, float32, on one thread.

    The rate is images a second of processor time: what one core gives, whoever else is at work.
    """
    split = photographs(folder, count)
    assert isinstance(split.images, FileImages)
    paths = split.images.paths
    with tempfile.TemporaryDirectory() as kept:
        how: dict[str, Any] = {"workers": 0, "progress": False, "check": lambda: None}
        cached = prescaled(split, max(max(SCALES)), Path(kept), "benchmark", **how)
        for smin, smax in SCALES:
            contestants: dict[str, Work] = {
                "this suite": ours(split, smin, smax),
                "torchvision's reference on PIL": reference(paths, smin, smax, tensors=False),
                "torchvision's reference on tensors": reference(paths, smin, smax, tensors=True),
                "decoding alone (the limit)": lambda: sum(len(decode(p, 3)) > 0 for p in paths),
                "this suite, data.cache_side=512": ours(cached, smin, smax),
            }
            scale = f"S={smin}" if smin == smax else f"S in [{smin};{smax}]"
            yield Contest(
                f"JPEG to training crops, {scale}",
                "images/s a core",
                {name: one_thread(work) for name, work in contestants.items()},
                per_core=True,
            )


def ours(split: Split, smin: int, smax: int) -> Work:
    """`repro.data.loader` as a run uses it; a new epoch each time."""
    crops = TrainingCrops(
        split,
        smin=smin,
        smax=smax,
        crop=PAPER_CROP,
        mirror=True,
        batch=BATCH,
        seed=0,
        workers=0,
        colour=None,
    )
    epochs = iter(range(10**9))

    def work() -> float:
        made = 0
        for images, _, _ in crops.epoch(next(epochs)):
            made += len(normalise(images, MEAN, 255))
        return made

    return work


def reference(paths: tuple[Path, ...], smin: int, smax: int, *, tensors: bool) -> Work:
    """The transforms of torchvision's reference training, with the paper's crop (Section 3.1).

    Args:
        paths: the photographs.
        smin: smallest S.
        smax: largest S; S is drawn for each photograph.
        tensors: whether images become tensors before they are rescaled, or after.
    """
    random = np.random.default_rng(0)
    cut: list[Callable[[Any], Any]] = [v2.RandomCrop(PAPER_CROP), v2.RandomHorizontalFlip()]
    mean = [value / 255 for value in MEAN]
    values = [v2.ToDtype(torch.float32, scale=True), v2.Normalize(mean, [1 / 255] * 3)]

    def one(path: Path) -> Tensor:
        side = int(random.integers(smin, smax, endpoint=True))
        resize = v2.Resize(side, antialias=True)
        steps = [v2.PILToTensor(), resize, *cut] if tensors else [resize, *cut, v2.PILToTensor()]
        with Image.open(path) as file:
            made: Tensor = v2.Compose([*steps, *values])(file.convert("RGB"))
        return made

    def work() -> float:
        for first in range(0, len(paths), BATCH):
            torch.stack([one(path) for path in paths[first : first + BATCH]])
        return len(paths)

    return work
