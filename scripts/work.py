"""What the contestants of scripts/bench.py work on, and the clock of their rounds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.io import ImageReadMode, decode_image, read_file
from torchvision.transforms import v2

from repro.config.composing import config_of
from repro.config.schema import EAGER, Config
from repro.data.images import ArrayImages, FileImages
from repro.data.inputs import Inputs
from repro.data.loader import TrainingCrops
from repro.data.rescale import rescale
from repro.data.split import Split
from repro.data.workers import MOST, processes
from repro.errors import RunError
from repro.model import reading
from repro.model.init import initialise
from repro.model.vgg import VGG
from repro.protocol.scales import pixels
from repro.run import timing
from repro.run.device import memory_format, pick

ON_CPU = ["arch=D", "data=cifar10", "recipe.batch=64", "workers=2"]
ON_GPU = ["size=paper", "recipe.batch=256", "precision=bf16", "compile=default"]
# A rate at which no net diverges: what a step costs does not depend on it.
ON_GPU += ["recipe.learning_rate=1e-5"]
WORKERS = {"bf16": 16, "tf32": 8, "float32": 2}
"""On a GPU, by precision: enough to decode faster than it trains; more would only work ahead."""
LONG = ["recipe.epochs=100000", "progress=false"]
MEAN = (123.0, 117.0, 104.0)
"""Grey levels that are subtracted; which ones does not matter here."""
FEW = 1000
"""Images of a round on a CPU."""
COUNTED = 4
"""On a GPU so many times the images that workers make ahead count: else these hide decoding."""
LARGE = 60e9
"""Bytes of a GPU that holds all contestants of a batch of 256."""


class Turn:
    """The clock of a contestant's rounds.

    `report` takes the units that count and their seconds, and returns when the next round begins.
    """

    def __init__(self, report: Callable[[float, float], None]) -> None:
        self.report, self.ready, self.began = report, 0, time.perf_counter()

    def __call__(self, units: float) -> None:
        """End a round in which so many units were done, and wait for the next one."""
        seconds = time.perf_counter() - self.began
        if units <= self.ready:
            raise RunError(f"a round of {units:g} images ends before the clock: take more images=")
        self.report(units - self.ready, seconds)
        self.ready, self.began = 0, time.perf_counter()

    def begin(self, device: torch.device) -> None:
        """Start the clock of a round anew, when the device has done what it has."""
        timing.wait(device)
        self.began = time.perf_counter()

    def counted(
        self, batches: Iterable[Any], ahead: int, device: torch.device, held: int = 0
    ) -> Iterator[Any]:
        """The batches of a round. The clock starts after those `ahead` that may be there already,
        since workers go on while others have their turn, and counts those that the loop still held.
        """
        for number, batch in enumerate(batches):
            if number == ahead:
                self.begin(device)
            self.ready += len(batch[0]) * (number < ahead - held)
            yield batch


class Task:
    """What the contestants work on: a net, how it computes, and the photographs."""

    def __init__(self, own: dict[str, str], words: list[str]) -> None:
        """Read a command's own words and those of a run; the later of two words wins."""
        self.config: Config = config_of([*ON_CPU, *_on_gpu(words), *words, *LONG])
        self.device, self.images = pick(self.config.device), int(own["images"] or FEW)
        if self.device.type == "cuda":
            workers = MOST if self.config.workers == "auto" else int(self.config.workers)
            enough = (1 + COUNTED) * 2 * workers * self.config.recipe.batch
            self.images = int(own["images"] or max(FEW, enough))
            torch.cuda.set_device(self.device.index or 0)
        self.photos, self.in_files = Path(own["photos"]), self.config.size.name == "paper"
        self.shapes = f"shapes-{self.side(512)}"
        said = any(word.startswith("compile=") for word in words)
        self.modes = [*dict.fromkeys([*([] if said else [EAGER]), self.config.compile])]

    def side(self, q: int) -> int:
        """A scale S or Q in pixels."""
        return pixels(q, self.config.size.crop)

    def files(self, folder: str, *, again: bool = False) -> Split:
        """Photographs; where they are fewer than `images`, each `again` until there are so many."""
        paths = sorted(self.photos.joinpath(folder).rglob("*.jp*g"))[: self.images]
        times = -(-self.images // len(paths)) if again else 1
        return _split(FileImages((paths * times)[: self.images], 3))

    def rescaled(self, q: int) -> Split:
        """Photographs in memory, of many shapes, rescaled to Q."""
        return _split(Rescaled(self.files(self.shapes).images, self.side(q)))

    def ahead(self, split: Split) -> int:
        """How many batches of images workers make ahead, the suite's and torch's alike."""
        return 2 * processes(split.images, self.config.workers)

    def noise(self) -> Split:
        """Noise in the shape of CIFAR-10, in memory."""
        random = torch.Generator().manual_seed(0)
        shape = (self.images, 3, 32, 32)
        return _split(ArrayImages(torch.randint(256, shape, dtype=torch.uint8, generator=random)))

    def net(self) -> VGG:
        """The net with its first weights."""
        config = self.config
        spec = reading.spec_of(config.arch, config.size, channels=3, classes=10)
        net = VGG(spec, config.recipe.dropout)
        full = reading.spec_of(config.arch, channels=3, classes=10)
        initialise(net, config.init.between, full, config.seed)
        return net.to(self.device).to(memory_format=memory_format(config, self.device))

    def prepare(self) -> Inputs:
        """From grey levels to the net's input."""
        layout = memory_format(self.config, self.device)
        return Inputs(MEAN, self.config.recipe.input_range, self.device, torch.float32, layout)

    def crops(self, split: Split, smin: int, smax: int, crop: int, batch: int) -> TrainingCrops:
        """The suite's training crops."""
        how: dict[str, Any] = {
            "mirror": True,
            "seed": 0,
            "colour": None,
            "workers": self.config.workers,
        }
        return TrainingCrops(split, smin=smin, smax=smax, crop=crop, batch=batch, **how)

    def loader(
        self, split: Split, smin: int, smax: int, crop: int, batch: int, pin: bool
    ) -> DataLoader[Any]:
        """torchvision's training crops."""
        workers = processes(split.images, self.config.workers)
        how: dict[str, Any] = {"num_workers": workers, "persistent_workers": workers > 0}
        how["pin_memory"] = pin and self.device.type == "cuda"
        return DataLoader(Tensors(split, smin, smax, crop), batch, shuffle=True, **how)


class Rescaled:
    """Images of many shapes, decoded and rescaled once, so that no decoder is timed."""

    def __init__(self, images: FileImages, side: int) -> None:
        self.images = [rescale(images[index], side) for index in range(len(images))]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        return self.images[index]

    def sizes(self) -> np.ndarray:
        """(N, 2): height and width."""
        return np.array([image.shape[-2:] for image in self.images])


def on_gpu(words: list[str]) -> bool:
    """Whether the words of a command ask for a CUDA device."""
    return any(word.startswith("device=cuda") for word in words)


def _on_gpu(words: list[str]) -> list[str]:
    """The words of a GPU's contests; a batch that all contestants have room for at once."""
    if not on_gpu(words):
        return []
    large = torch.cuda.is_available() and torch.cuda.get_device_properties(0).total_memory > LARGE
    asked = [word.partition("=")[2] for word in words if word.startswith("precision=")]
    workers = WORKERS.get(asked[-1] if asked else "bf16", 2)
    return [*ON_GPU, f"workers={workers}", *([] if large else ["recipe.batch=64"])]


def _split(images: FileImages | ArrayImages | Rescaled) -> Split:
    ids = tuple(map(str, range(len(images))))
    return Split(images, np.arange(len(images), dtype=np.int64) % 10, ids)


class Tensors(Dataset[tuple[Tensor, int]]):
    """Images as tensors with torchvision's v2 transforms, the faster of the references' ways."""

    def __init__(self, split: Split, smin: int, smax: int, crop: int) -> None:
        self.split, self.smin, self.smax = split, smin, smax
        mean, spread = [value / 255 for value in MEAN], [1 / 255] * 3
        cut = [v2.RandomCrop(crop), v2.RandomHorizontalFlip()]
        values = [v2.ToDtype(torch.float32, scale=True), v2.Normalize(mean, spread)]
        self.transform = v2.Compose([*cut, *values])

    def __len__(self) -> int:
        return len(self.split.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """One crop and its class."""
        images = self.split.images
        if isinstance(images, FileImages):
            image = decode_image(read_file(str(images.path(index))), ImageReadMode.RGB)
        else:
            image = images[index]
        side = int(torch.randint(self.smin, self.smax + 1, ()))
        rescaled = v2.functional.resize(image, [side], antialias=True)
        return self.transform(rescaled), int(self.split.labels[index])


def photographs(folder: Path, count: int, side: int) -> None:
    """Make up JPEG files in the shapes of photographs, with a smallest side of `side` pixels."""
    random = np.random.default_rng(0)
    folder.mkdir(parents=True)
    for number in range(count):
        longer = int(side * np.exp(abs(0.25 * random.standard_normal()) + 0.1))
        shape = (longer, side) if random.random() < 0.7 else (side, longer)
        coarse = Image.fromarray(random.integers(256, size=(16, 16, 3), dtype=np.uint8))
        grain = random.normal(0, 8, (*shape[::-1], 3))
        picture = np.clip(
            np.asarray(coarse.resize(shape, Image.Resampling.BICUBIC)) + grain, 0, 255
        )
        Image.fromarray(picture.astype(np.uint8)).save(folder / f"{number:05d}.jpg", quality=90)
