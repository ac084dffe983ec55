"""Training images kept decoded and small (`data.cache_side`): made once, then read as they are.

The cache is a folder of safetensors files, each with the pixels of up to 128 images, uint8
(H, W, C). An image whose smallest side is longer than `side` is rescaled to it; others are kept as
they are, to the last bit. A file is there whole or not at all: making it goes on where it was
interrupted, and several processes, or several runs, make it together. Each image has a checksum,
which is checked whenever it is read. A damaged file is made anew.
"""

from __future__ import annotations

import random
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from repro.data.images import Images
from repro.data.kept import damaged
from repro.data.rescale import rescale
from repro.data.split import Split
from repro.data.workers import loaded, single
from repro.errors import RunError
from repro.protocol.rescaling import OURS
from repro.store.files import nearest, write_whole

IMAGES = 128
"""In one file."""
T = TypeVar("T")


class PrescaledImages:
    """Images of a cache that has been made; only the pages that are looked at are read."""

    def __init__(self, made: _Making, places: NDArray[np.int64]) -> None:
        """`places`: which images of the cache, (N,)."""
        self.made, self.places = made, places

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> Tensor:
        return self.made.read(*self._where(index), _pixels).permute(2, 0, 1)

    def sizes(self) -> NDArray[np.int64]:
        """(N, 2): height and width of every image, as it is kept."""
        found = [self.made.read(*self._where(index), _size) for index in range(len(self))]
        return np.array(found, dtype=np.int64).reshape(-1, 2)

    def subset(self, indices: NDArray[np.int64]) -> PrescaledImages:
        """The images at `indices`."""
        return PrescaledImages(self.made, self.places[indices])

    def _where(self, index: int) -> tuple[int, str]:
        number, place = divmod(int(self.places[index]), IMAGES)
        return number, str(place)


def prescaled(
    split: Split,
    side: int,
    kept: Path,
    key: str,
    *,
    workers: int,
    progress: bool,
    check: Callable[[], None],
) -> Split:
    """The same images from the cache, which is made as far as it is not there.

    Args:
        split: the training images.
        side: pixels of the smallest side above which an image is rescaled.
        kept: folder of what the store keeps.
        key: name of the data with all that decides which images its ids are.
        workers: processes that decode; 0: this one does.
        progress: whether to show a bar.
        check: called after each file; raises to stop.

    Raises:
        RunError: an image cannot be decoded, a worker was killed, or the disk has no room.
    """
    folder = kept / f"prescaled-{side}-{split.key(key)}"
    files = range(-(-len(split.images) // IMAGES))
    missing = [number for number in files if not _path(folder, number).is_file()]
    making = _Making(split.images, side, folder)
    if missing:
        making.check_room(missing)
        # Others may be at it too: each begins elsewhere and passes over what it finds made.
        random.Random().shuffle(missing)
        made = loaded(making, workers, [[number] for number in missing], len(missing), single)
        with tqdm(
            total=len(missing),
            desc=f"training images at {side}",
            unit="file",
            disable=not progress or None,
        ) as bar:
            for _ in made:
                bar.update()
                check()
    places = np.arange(len(split.images))
    return Split(PrescaledImages(making, places), split.labels, split.ids)


class _Making(Dataset[str | None]):
    """Makes the file of a number; a worker holds one of these."""

    def __init__(self, images: Images, side: int, folder: Path) -> None:
        self.images, self.side, self.folder = images, side, folder

    def __getitem__(self, number: int) -> str | None:
        """None; or why there is no file, as a worker can pass it on."""
        try:
            if not _path(self.folder, number).is_file():
                self._make(number)
        except RunError as error:
            return str(error)
        return None

    def read(self, number: int, name: str, look: Callable[[Any, str], T]) -> T:
        """What `look` finds of an image in a file. A damaged file is made anew first.

        Raises:
            RunError: that is impossible, since an image cannot be decoded or the disk is full.
        """
        path = _path(self.folder, number)
        # A damaged file is opened again: another process may have made it anew.
        for _ in range(2):
            try:
                return look(_open(path), name)
            except (OSError, SafetensorError, Damaged):
                OPEN.pop(path, None)
        damaged(path)
        self._make(number)
        return look(_open(path), name)

    def _make(self, number: int) -> None:
        pixels = {
            str(place): self._small(self.images[index]).permute(1, 2, 0).contiguous()
            for place, index in enumerate(self._members(number))
        }
        sums = {name: _checksum(values) for name, values in pixels.items()}
        write_whole(_path(self.folder, number), save(pixels, sums))

    def check_room(self, missing: list[int]) -> None:
        """Refuse to begin what the disk has no room for.

        Raises:
            RunError: with what is needed and what is free.
        """
        sizes = self.images.sizes()
        channels = self.images[0].shape[0]
        shapes = [sizes[index] for number in missing for index in self._members(number)]
        needed = sum(int(np.prod(self._shape(*shape))) for shape in shapes) * channels
        free = shutil.disk_usage(nearest(self.folder)).free
        if needed > free:
            raise RunError(
                f"data.cache_side={self.side} needs {needed / 1e9:.1f} GB in {self.folder}, and "
                f"{free / 1e9:.1f} GB are free: take a smaller one, or null"
            )

    def _members(self, number: int) -> range:
        return range(number * IMAGES, min(len(self.images), (number + 1) * IMAGES))

    def _shape(self, height: int, width: int) -> tuple[int, int]:
        if min(height, width) <= self.side:
            return height, width
        return OURS.shape(int(height), int(width), self.side)

    def _small(self, image: Tensor) -> Tensor:
        return rescale(image, min(self.side, *image.shape[-2:]))


def _path(folder: Path, number: int) -> Path:
    return folder / f"{number:05d}.safetensors"


class Damaged(Exception):
    """The pixels of an image are not those that were kept."""


OPEN: dict[Path, Any] = {}
"""The files that this process has open."""


def _open(path: Path) -> Any:
    if path not in OPEN:
        OPEN[path] = safe_open(path, "pt")
    return OPEN[path]


def _size(file: Any, name: str) -> list[int]:
    height, width, _ = file.get_slice(name).get_shape()
    return [height, width]


def _pixels(file: Any, name: str) -> Tensor:
    pixels: Tensor = file.get_tensor(name)
    if (file.metadata() or {}).get(name) != _checksum(pixels):
        raise Damaged
    return pixels


def _checksum(pixels: Tensor) -> str:
    """Of an image's shape and pixels. It is read with every image, and a better hash is slower."""
    return f"{zlib.crc32(pixels.numpy().data, zlib.crc32(repr(list(pixels.shape)).encode())):08x}"
