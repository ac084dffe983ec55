"""The data sets: one entry each, which `conf/data/*.yaml` names as `source`, or by its own name.

An entry says what cannot be chosen. One of your own in a layout that is known needs no entry.
"""

import hashlib
import shutil
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch

from repro.config.schema import Data
from repro.data import folders
from repro.data.boxes import Reader, of_xml
from repro.data.images import ArrayImages
from repro.data.split import Counts, Source, Split
from repro.errors import RunError, one_line
from repro.store.leases import first_free


@dataclass(frozen=True)
class DataSet:
    """How a data set is read, and how it is brought to where it is not yet.

    `read` reads images of `channels` into memory, or lists files. `classes` and `images` are as
    published; None: the folder decides. `bring` fetches `folder` into a place; None: it is the
    user's, and part of what a run is. `elsewhere`: whether it lies in
    `data.root` already, in another layout.
    """

    read: Callable[[Data], Source]
    classes: int | None = None
    images: Counts | None = None
    channels: int | None = None
    folder: str = ""
    bring: Callable[[Path], object] | None = None
    elsewhere: Callable[[Data], bool] = lambda data: False
    boxes: Callable[[Data], Reader] | None = None
    """Reads the boxes of images; None: it has none."""

    def is_there(self, data: Data) -> bool:
        """Whether nothing has to be fetched."""
        if self.bring is None or self.elsewhere(data):
            return True
        return (Path(data.root) / self.folder).is_dir()

    def fetch(self, data: Data, say: Callable[[str], None], check: Callable[[], None]) -> None:
        """Fetch what is not there, whole or not at all; `check` is called while another does."""
        if self.bring is None or self.is_there(data):
            return
        # Two names may be of one folder.
        root, name = Path(data.root), self.folder.replace("/", "-")
        where, beside = root / self.folder, root / f".fetching-{name}"
        waits = partial(say, f"another process fetches {data.name}; waiting")
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
            said = f"data={data.name} is not in {where.resolve()} and could not be downloaded"
            advice = "put it there as torchvision does, or say data.root="
            raise RunError(f"{said}: {one_line(error)}; {advice}") from error


def _digits(data: Data) -> Source:
    """500 of each digit; a holdout of 0.1 gives 400 for training, 50 validation, 50 test."""
    rest, test = _mnist5k().held_out(data.holdout, data.split)
    sets = rest.held_out(data.holdout / (1 - data.holdout), data.split)
    return Source(tuple("0123456789"), *sets, test)


@lru_cache(maxsize=1)
def _mnist5k() -> Split:
    """The first 500 of each digit of MNIST's training images (docs/data.md)."""
    with np.load(Path(__file__).with_name("mnist5k.npz")) as stored:
        images, labels = torch.as_tensor(stored["images"])[:, None], stored["labels"]
    ids = tuple(f"{index:04d}" for index in range(len(labels)))
    return Split(ArrayImages(images), labels.astype(np.int64), ids)


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
"""The MD5s of the unpacked files: training images and labels, test images and labels. (CIFAR's
are checked by torchvision.)"""


def _part(name: str, root: Path, train: bool) -> tuple[Split, tuple[str, ...]]:
    """A part of a data set that torchvision knows, and its classes."""
    from torchvision import datasets

    # What is there only in part or packed is completed.
    part = getattr(datasets, name)(root, train=train, download=True)
    images = torch.as_tensor(part.data)
    labels = torch.as_tensor(part.targets).numpy()
    if name in MD5:
        # Before the pixels stand four numbers of four bytes each, before the labels two.
        pixels = struct.pack(">4I", 0x803, *images.shape) + images.numpy().tobytes()
        classes = struct.pack(">2I", 0x801, len(labels)) + labels.astype(np.uint8).tobytes()
        for content, md5 in zip((pixels, classes), MD5[name][0 if train else 2 :], strict=False):
            if hashlib.md5(content, usedforsecurity=False).hexdigest() != md5:
                raise ValueError("its files are not those that were published")
    images = images[:, None] if images.dim() == 3 else images.permute(0, 3, 1, 2)
    ids = (f"{'train' if train else 'test'}/{index:05d}" for index in range(len(images)))
    found = Split(ArrayImages(images.contiguous()), labels.astype(np.int64), tuple(ids))
    return found, tuple(part.classes)


def _in_memory(name: str, folder: str, channels: int, train: int, classes: int = 10) -> DataSet:
    """A data set that torchvision knows, read into memory."""

    def read(data: Data) -> Source:
        root = Path(data.root)
        try:
            (rest, names), (test, _) = (_part(name, root, train) for train in (True, False))
        except Exception as error:
            said = f"{name} in {root.resolve()} cannot be read: {one_line(error)}"
            raise RunError(f"{said}; remove it, and it is downloaded again") from error
        return Source(names, *rest.held_out(data.holdout, data.split), test)

    counts = Counts(train, 0, 10_000)
    return DataSet(read, classes, counts, channels, folder, partial(_download, name))


def _download(name: str, root: Path, **how: object) -> None:
    from torchvision import datasets

    getattr(datasets, name)(root, download=True, **how)


def _download_tiny_imagenet(root: Path) -> None:
    from torchvision.datasets.utils import download_and_extract_archive

    url = "http://cs231n.stanford.edu/tiny-imagenet-200.zip"
    md5 = "90528d7ca1a48142e341f4ef8d21d0de"
    download_and_extract_archive(url, str(root), md5=md5, remove_finished=True)


CALTECH = partial(_download, "Caltech101")
IMAGENETTE = partial(_download, "Imagenette", split="train", size="full")
DATASETS: dict[str, DataSet] = {
    "mnist5k": DataSet(_digits, 10, Counts(5_000, 0, 0), channels=1),
    "mnist": _in_memory("MNIST", "MNIST/raw", 1, 60_000),
    "fashion_mnist": _in_memory("FashionMNIST", "FashionMNIST/raw", 1, 60_000),
    "cifar10": _in_memory("CIFAR10", "cifar-10-batches-py", 3, 50_000),
    "cifar100": _in_memory("CIFAR100", "cifar-100-python", 3, 50_000, 100),
    # Of each class 24 images, 6, and what is left of the others up to 50 (Appendix B).
    "caltech101": DataSet(
        folders.caltech101, 101, Counts(2_424, 606, 2_945), None, folders.CALTECH, CALTECH
    ),
    "imagenette": DataSet(
        folders.imagenette, 10, Counts(9_469, 0, 3_925), None, folders.IMAGENETTE, IMAGENETTE
    ),
    "tiny_imagenet": DataSet(
        folders.tiny_imagenet,
        200,
        Counts(100_000, 0, 10_000),
        folder=folders.TINY_IMAGENET,
        bring=_download_tiny_imagenet,
        elsewhere=folders.is_tiny_imagenet,
        boxes=folders.boxes_of_tiny_imagenet,
    ),
    # Its validation images are tested on too.
    "imagenet": DataSet(folders.imagenet, 1000, Counts(1_281_167, 50_000, 50_000), boxes=of_xml),
    "imagefolder": DataSet(folders.imagefolder, boxes=of_xml),
}
