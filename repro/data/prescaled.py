"""Training images kept decoded and small (`data.cache_side`): made once, then read as they are.

The cache is a folder of safetensors files, each with the pixels of up to 128 images, uint8
(H, W, C). An image whose smallest side is longer than `side` is rescaled to it; others are kept as
they are, to the last bit. A file is there whole or not at all: making it goes on where it was
interrupted, and several processes, or several runs, make it together.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from repro.data.images import Images
from repro.data.rescale import rescale, rescaled_shape
from repro.data.split import Split
from repro.data.workers import loaded
from repro.errors import RunError
from repro.store.files import nearest, write_whole

IMAGES = 128
"""In one file."""


class PrescaledImages:
    """Images of a cache that has been made; only the pages that are looked at are read."""

    def __init__(self, folder: Path, places: NDArray[np.int64]) -> None:
        """`places`: which images of the cache, (N,)."""
        self.folder, self.places = folder, places

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> Tensor:
        number, name = self._where(index)
        pixels: Tensor = _open(_path(self.folder, number)).get_tensor(name)
        return pixels.permute(2, 0, 1)

    def sizes(self) -> NDArray[np.int64]:
        """(N, 2): height and width of every image, as it is kept."""
        found = []
        for index in range(len(self)):
            number, name = self._where(index)
            found.append(_open(_path(self.folder, number)).get_slice(name).get_shape()[:2])
        return np.array(found, dtype=np.int64).reshape(-1, 2)

    def subset(self, indices: NDArray[np.int64]) -> PrescaledImages:
        """The images at `indices`."""
        return PrescaledImages(self.folder, self.places[indices])

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
    if missing:
        making = _Making(split.images, side, folder)
        making.check_room(missing)
        # Others may be at it too: each begins elsewhere and passes over what it finds made.
        random.Random().shuffle(missing)
        made = loaded(making, workers, sampler=missing, batch_size=None)
        bar: dict[str, Any] = {"desc": f"training images at {side}", "unit": "file"}
        for _ in tqdm(made, total=len(missing), disable=not progress or None, **bar):
            check()
    places = np.arange(len(split.images))
    return Split(PrescaledImages(folder, places), split.labels, split.ids)


class _Making(Dataset[str | None]):
    """Makes the file of a number; a worker holds one of these."""

    def __init__(self, images: Images, side: int, folder: Path) -> None:
        self.images, self.side, self.folder = images, side, folder

    def __getitem__(self, number: int) -> str | None:
        """None; or why there is no file, as a worker can pass it on."""
        path = _path(self.folder, number)
        if path.is_file():
            return None
        try:
            pixels = {
                str(place): self._small(self.images[index]).permute(1, 2, 0).contiguous()
                for place, index in enumerate(self._members(number))
            }
            write_whole(path, save(pixels))
        except RunError as error:
            return str(error)
        return None

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
        return rescaled_shape(int(height), int(width), self.side)

    def _small(self, image: Tensor) -> Tensor:
        return rescale(image, min(self.side, *image.shape[-2:]))


def _path(folder: Path, number: int) -> Path:
    return folder / f"{number:05d}.safetensors"


@cache
def _open(path: Path) -> Any:
    try:
        return safe_open(path, "pt")
    except (OSError, SafetensorError) as error:
        reason = str(error).splitlines()[0]
        raise RunError(f"{path} cannot be read: {reason}; remove it, it is made again") from None
