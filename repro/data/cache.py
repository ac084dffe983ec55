"""What is found out about images once and kept in the store's `.cache`: facts, and pixels.

Facts are JSON with a digest. Pixels (`data.cache_side`) are one file, mapped into memory: first a
row for each image, then all pixels, uint8 (H, W, C), one image after the other. An image whose
smallest side is longer than `side` is rescaled to it; others are kept to the last bit. The file is
there whole or not at all. Each image has a checksum, which is checked whenever it is read. An image
that is damaged is read from where it came.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import shutil
import sys
import zlib
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from repro.data.images import Images
from repro.data.rescale import rescale
from repro.data.split import Split
from repro.data.workers import loaded
from repro.errors import RunError
from repro.protocol.rescaling import OURS
from repro.store.files import nearest, write_whole
from repro.store.leases import first_free

ROW = np.dtype([("height", "<u4"), ("width", "<u4"), ("sum", "<u4")])
"""What stands of an image before the pixels."""
AT_ONCE = 64
"""Images that a worker decodes before the next line of progress."""


def keep(path: Path, fact: Any) -> None:
    """Keep a fact, for `recall`.

    Raises:
        RunError: it cannot be written.
    """
    write_whole(path, json.dumps({"found": fact, "sha256": _digest(fact)}).encode())


def recall(path: Path) -> Any:
    """What `keep` kept; None where nothing was kept. A damaged file is nothing, and a line says so.

    The line goes to standard error.
    """
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
        if tree["sha256"] == _digest(tree["found"]):
            return tree["found"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        pass
    _damaged(path)
    return None


def _damaged(path: Path) -> None:
    """Say so, and let go of the file, so that it is made anew."""
    tqdm.write(f"{path} is damaged: it is made anew", file=sys.stderr)
    path.unlink(missing_ok=True)


def _digest(fact: Any) -> str:
    return hashlib.sha256(json.dumps(fact).encode()).hexdigest()


class CachedImages:
    """Images whose pixels are kept; only the pages that are looked at are read."""

    def __init__(self, path: Path, images: Images, side: int, channels: int) -> None:
        """
        Args:
            path: of the kept pixels.
            images: what they were made from.
            side: pixels of the smallest side above which an image is rescaled.
            channels: of an image.
        """
        self.path, self.images, self.side, self.channels = path, images, side, channels
        self.places = np.arange(len(images))

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> Tensor:
        place = self.places[index]
        height, width, kept = self.rows[place].tolist()
        flat = self._pixels[self.starts[place] : self.starts[place + 1]]
        if _checksum(height, width, flat) != kept:
            _damaged(self.path)
            return self.small(place)
        return torch.tensor(flat.reshape(height, width, self.channels)).permute(2, 0, 1)

    def sizes(self) -> NDArray[np.int64]:
        """(N, 2): height and width of every image, as it is kept."""
        return self._sizes()[self.places]

    def take(self, indices: NDArray[np.int64]) -> CachedImages:
        """The images at `indices`."""
        part = copy.copy(self)
        part.places = self.places[indices]
        return part

    def small(self, place: int) -> Tensor:
        """An image as it is to be kept, uint8 (C, H, W), from where it came."""
        image = self.images[int(place)]
        return rescale(image, min(self.side, *image.shape[-2:]))

    @cached_property
    def rows(self) -> NDArray[Any]:
        """`ROW` of each image in the file."""
        return np.fromfile(self.path, ROW, len(self.images))

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """Where the pixels of each image in the file begin; then where they end."""
        return np.concatenate([[0], np.cumsum(self._sizes().prod(axis=1) * self.channels)])

    @cached_property
    def _pixels(self) -> NDArray[np.uint8]:
        return np.memmap(self.path, np.uint8, "r", offset=self.rows.nbytes)

    def _sizes(self) -> NDArray[np.int64]:
        return np.stack([self.rows["height"], self.rows["width"]], axis=1).astype(np.int64)

    def whole(self) -> bool:
        """Whether the file is there, and as long as its rows say."""
        if not self.path.is_file():
            return False
        if len(self.rows) == len(self.images) and (
            self.path.stat().st_size == self.rows.nbytes + self.starts[-1]
        ):
            return True
        _damaged(self.path)
        return False

    def __getstate__(self) -> dict[str, Any]:
        # A worker that is not forked maps the file itself.
        return {key: value for key, value in vars(self).items() if key != "_pixels"}


def _checksum(height: int, width: int, pixels: NDArray[np.uint8]) -> int:
    """Of an image's shape and pixels. It is read with every image, and a better hash is slower."""
    return zlib.crc32(pixels.data, zlib.crc32(f"{height}x{width}".encode()))


def cached(
    split: Split,
    side: int,
    cache: Path,
    key: str,
    *,
    workers: int,
    progress: bool,
    check: Callable[[], None],
) -> Split:
    """The same images from their kept pixels, which are made where they are not there.

    Args:
        split: the training images.
        side: pixels of the smallest side above which an image is rescaled.
        cache: folder of what the store keeps.
        key: name of the data with all that decides which images its ids are.
        workers: processes that decode; 0: this one does.
        progress: whether to show a bar.
        check: called again and again; raises to stop.

    Raises:
        RunError: an image cannot be decoded, a worker was killed, or the disk has no room.
    """
    name = f"pixels-{side}-{split.key(key)}"
    channels = split.images[0].shape[0]

    def kept() -> CachedImages:
        return CachedImages(cache / name, split.images, side, channels)

    if not kept().whole():
        waits = f"another process decodes the training images at {side}; waiting"
        with first_free(cache, [name], waits=lambda: tqdm.write(waits), check=check):
            if not kept().whole():
                _make(kept(), workers, progress, check)
    return Split(kept(), split.labels, split.ids, split.status)


def _make(images: CachedImages, workers: int, progress: bool, check: Callable[[], None]) -> None:
    """Write the file beside its place, and put it there when it is whole."""
    path, count = images.path, len(images)
    sizes = [
        OURS.shape(height, width, min(images.side, height, width))
        for height, width in images.images.sizes().tolist()
    ]
    images.rows = np.array([(*size, 0) for size in sizes], ROW)
    needed, free = int(images.starts[-1]), shutil.disk_usage(nearest(path)).free
    if needed > free:
        raise RunError(
            f"data.cache_side={images.side} needs {needed / 1e9:.1f} GB in {path.parent}, and "
            f"{free / 1e9:.1f} GB are free: take a smaller one, or null"
        )
    beside = path.with_name(f".{path.name}.{os.urandom(4).hex()}")
    writer = _Writer(images, beside)
    firsts = range(0, count, AT_ONCE)
    try:
        beside.touch()
        bar = tqdm(
            total=count,
            desc=f"training images at {images.side}",
            unit="img",
            disable=not progress or None,
        )
        with bar:
            for first, sums in loaded(writer, workers, firsts, len(firsts)):
                images.rows["sum"][first : first + len(sums)] = sums
                bar.update(len(sums))
                check()
        writer.put(0, images.rows.tobytes())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


class _Writer:
    """Puts the pixels of images where they belong in the file that is being made."""

    def __init__(self, images: CachedImages, path: Path) -> None:
        self.images, self.path = images, path

    def __call__(self, first: int) -> tuple[int, list[int]]:
        """The images from `first` on: that number, and their checksums.

        Raises:
            RunError: one cannot be decoded, or the disk is full.
        """
        sums, content = [], bytearray()
        for place in range(first, min(first + AT_ONCE, len(self.images))):
            pixels = self.images.small(place).permute(1, 2, 0).contiguous().numpy()
            sums.append(_checksum(pixels.shape[0], pixels.shape[1], pixels))
            content += pixels.data
        self.put(self.images.rows.nbytes + int(self.images.starts[first]), content)
        return first, sums

    def put(self, at: int, content: bytes | bytearray) -> None:
        """Write at a place of the file, down to the disk."""
        try:
            with self.path.open("r+b") as file:
                file.seek(at)
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise RunError(f"cannot write {self.path.parent}: {error.strerror}") from error
