"""Training: the whole loop against the bare step, the blog's program, a torchvision loop."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from repro.benchmark.measure import Contest, Work
from repro.config.choices import choice
from repro.config.schema import Arch, Config, Data, Init, Recipe, Scale, Size, typed
from repro.data.images import ArrayImages
from repro.data.inputs import Inputs
from repro.data.loader import TrainingCrops
from repro.data.sources import load
from repro.data.split import Split
from repro.data.statistics import Statistics, compute
from repro.model import layers, reading
from repro.model import work as work_of
from repro.model.init import initialise
from repro.model.vgg import VGG
from repro.protocol.scales import pixels
from repro.run import rate
from repro.run.chance import Chance
from repro.run.device import memory_format
from repro.run.interruption import Stop
from repro.run.loop import Training
from repro.run.optimisers import OPTIMISERS
from repro.store.folder import Folder

BATCH = 64
PRODUCTS = 20
"""Of matrices in a round."""


def config(arch: str, size: str, data: str) -> Config:
    """The embedded recipe in batches of 64, one epoch."""
    recipe = Recipe(**choice("recipe", "quick"))
    chosen = Config(
        arch=Arch(**choice("arch", arch)),
        scale=Scale(**choice("scale", "S256")),
        size=Size(**choice("size", size)),
        data=Data(**choice("data", data)),
        recipe=replace(recipe, batch=BATCH, epochs=1, warmup=0),
        init=Init("glorot", "glorot"),
        progress=False,
        checkpoint_seconds=1e9,
    )
    # Types as a command line gives them, so that names and identities are the same.
    return typed(asdict(chosen))


def digits(count: int | None) -> Split:
    """So many of the embedded digits that are trained on; None: all."""
    return load(Data(**choice("data", "mnist5k")), Path()).train.spread(count)


def images(data: str, count: int) -> Split:
    """Training images: the embedded digits, or noise in the shape of CIFAR-10."""
    if data == "mnist5k":
        return digits(count)
    random = torch.Generator().manual_seed(0)
    array = torch.randint(256, (count, 3, 32, 32), dtype=torch.uint8, generator=random)
    labels = np.arange(count) % 10
    return Split(ArrayImages(array), labels, tuple(map(str, range(count))))


def contest(
    arch: str, size: str, data: str, count: int, device: torch.device, precision: str = "float32"
) -> Contest:
    """The whole loop on `count` images against its peers, its limit and the chip's.

    Every contestant trains the same net with the same optimiser on as many crops. The peers are
    as their authors had them: in float32.
    """
    settings, split = config(arch, size, data), images(data, count)
    settings.precision = precision
    captured = replace(settings, compile="reduce-overhead")
    contestants = {
        "this suite": ours(settings, split, device),
        "bare step, channels last (the limit)": bare(settings, split, device, torch.channels_last),
        "bare step, NCHW": bare(settings, split, device, torch.contiguous_format),
    }
    if device.type == "cuda":
        graphs = bare(captured, split, device, torch.channels_last)
        contestants["this suite, compile=reduce-overhead"] = ours(captured, split, device)
        contestants["bare step, compiled, CUDA graphs"] = graphs
    if precision == "float32":
        contestants["torchvision-style loop"] = torchvision_loop(settings, split, device)
        contestants["the blog's program"] = blog(settings, split, device)
    contestants["matrix products of as many operations"] = products(settings, device)
    return Contest(f"training {arch}, {data}, size {size}, {precision}", "images/s", contestants)


def products(settings: Config, device: torch.device) -> Work:
    """Products of large matrices in images' worth of operations: what the chip can do at most."""
    kind = torch.bfloat16 if settings.precision == "bf16" else torch.float32
    side = 8192 if device.type == "cuda" else 2048
    left, right = (torch.randn(side, side, dtype=kind, device=device) for _ in range(2))

    def work() -> float:
        for _ in range(PRODUCTS):
            torch.mm(left, right)
        rate.wait(device)
        return PRODUCTS * 2 * side**3 / work_of.training(_spec(settings))

    return work


def _spec(settings: Config) -> layers.Net:
    channels = settings.data.channels
    return reading.at_size(settings.arch, settings.size, channels=channels, classes=10)


def network(settings: Config, device: torch.device, layout: torch.memory_format) -> VGG:
    """The net of a configuration, with its first weights."""
    net = VGG(_spec(settings), settings.recipe.dropout)
    full = reading.at_full_size(settings.arch, channels=settings.data.channels, classes=10)
    initialise(net, settings.init.between, full, settings.seed)
    return net.to(device).to(memory_format=layout)


def _statistics(split: Split) -> Statistics:
    return compute(split.spread(500), progress=False)


def ours(settings: Config, split: Split, device: torch.device) -> Work:
    """`repro.run.loop` as a run uses it: data, augmentation, log, checkpoint at the end."""
    statistics, layout = _statistics(split), memory_format(settings, device)
    grey = statistics.mean, settings.recipe.input_range
    prepare = Inputs(*grey, device, torch.float32, layout)
    # As the others' nets and images, these are there before the clock starts.
    net = network(settings, device, layout)
    crops = TrainingCrops(
        split,
        smin=pixels(settings.scale.smin, settings.size.crop),
        smax=pixels(settings.scale.smax, settings.size.crop),
        crop=settings.size.crop,
        mirror=settings.data.mirror,
        batch=settings.recipe.batch,
        seed=settings.seed,
        workers=0,
        colour=(statistics, settings.recipe.colour_shift),
    )

    def work() -> float:
        with tempfile.TemporaryDirectory() as folder:
            Training(
                net,
                crops,
                settings,
                Folder(Path(folder), lambda: None),
                Stop(),
                prepare=prepare,
                validate=lambda: 0.0,
                chance=Chance(90.0, 90.0),
                say=lambda line: None,
            ).run()
        rate.wait(device)
        return len(split.images)

    return work


def bare(settings: Config, split: Split, device: torch.device, layout: torch.memory_format) -> Work:
    """Nothing but steps of the same net on one batch that is already there."""
    net = network(settings, device, layout)
    batch = settings.recipe.batch
    step = rate.step(net, settings, device, batch, layout)

    def work() -> float:
        steps = -(-len(split.images) // batch)
        for _ in range(steps):
            step()
        rate.wait(device)
        return steps * batch

    return work


class Pictures(Dataset[tuple[Any, int]]):
    """PIL images with a transform, as torchvision's data sets give them."""

    def __init__(self, split: Split, transform: Callable[[Image.Image], Any]) -> None:
        arrays = [split.images[index].permute(1, 2, 0).numpy() for index in range(len(split.ids))]
        self.arrays = [array[..., 0] if array.shape[2] == 1 else array for array in arrays]
        self.labels, self.transform = split.labels, transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self.transform(Image.fromarray(self.arrays[index])), int(self.labels[index])


def _loop(
    settings: Config,
    loader: DataLoader[Any],
    device: torch.device,
    note: Callable[[Tensor, Tensor, Tensor], Any],
) -> Work:
    net = network(settings, device, torch.contiguous_format)
    optimiser = OPTIMISERS[settings.recipe.optimiser](net.parameters(), settings.recipe)
    criterion = nn.CrossEntropyLoss()

    def work() -> float:
        net.train()
        seen = 0
        for pictures, labels in loader:
            moved, wanted = pictures.to(device), labels.to(device)
            scores = net(moved)
            loss = criterion(scores, wanted)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            note(loss, scores, wanted)
            seen += len(labels)
        rate.wait(device)
        return seen

    return work


def blog(settings: Config, split: Split, device: torch.device) -> Work:
    """The blog's program: resized squares one by one, four workers, its own metrics."""
    transform = transforms.Compose([transforms.Resize(settings.size.crop), transforms.ToTensor()])
    # Four workers are the blog's choice, whatever this machine has.
    warnings.filterwarnings("ignore", "This DataLoader will create")
    loader: DataLoader[Any] = DataLoader(
        Pictures(split, transform), batch_size=BATCH, shuffle=True, num_workers=4
    )
    sums = [0.0, 0.0]

    def note(loss: Tensor, scores: Tensor, labels: Tensor) -> None:
        sums[0] += loss.cpu().item()
        sums[1] += (scores.argmax(dim=1) == labels).sum().cpu().item()

    return _loop(settings, loader, device, note)


def torchvision_loop(settings: Config, split: Split, device: torch.device) -> Work:
    """The paper's augmentation by torchvision's transforms, one worker for each thread."""
    crop = settings.size.crop
    mean = [value / 255 for value in _statistics(split).mean]
    transform = transforms.Compose(
        [
            transforms.Resize(pixels(settings.scale.smin, crop)),
            transforms.RandomCrop(crop),
            transforms.RandomHorizontalFlip(0.5 if settings.data.mirror else 0.0),
            transforms.PILToTensor(),
            transforms.ConvertImageDtype(torch.float),
            transforms.Normalize(mean, [1 / 255] * len(mean)),
        ]
    )
    loader: DataLoader[Any] = DataLoader(
        Pictures(split, transform),
        batch_size=BATCH,
        shuffle=True,
        num_workers=settings.threads,
    )

    def note(loss: Tensor, scores: Tensor, labels: Tensor) -> float:
        return loss.item() + (scores.argmax(dim=1) == labels).float().mean().item()

    return _loop(settings, loader, device, note)
