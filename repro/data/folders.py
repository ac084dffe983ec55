"""Folders of image files: what is in them, what is wrong with them, how they are split."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from repro.data.images import FileImages, Undecodable, decode
from repro.errors import RequestError
from repro.store.files import check_writable, write_whole

ENDINGS = frozenset(
    (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff", ".webp")
)


@dataclass(frozen=True)
class Files:
    """Image files of one set with their labels."""

    paths: tuple[Path, ...]
    labels: NDArray[np.int64]
    boxes: NDArray[np.int64] | None = None
    """(N, 4): left, top, right and bottom of the object in pixels, where the data set has them."""

    def take(self, indices: NDArray[np.int64]) -> Files:
        """The files at `indices`."""
        boxes = None if self.boxes is None else self.boxes[indices]
        return Files(tuple(self.paths[index] for index in indices), self.labels[indices], boxes)

    def without(self, broken: frozenset[Path]) -> Files:
        """Those that are not `broken`."""
        if not broken:
            return self
        good = [index for index, path in enumerate(self.paths) if path not in broken]
        return self.take(np.array(good, dtype=np.int64))

    def images(self, channels: int) -> FileImages:
        """The files as images."""
        return FileImages(self.paths, channels)


def class_names(folder: Path) -> tuple[str, ...]:
    """The classes of a set: its subfolders, sorted.

    Raises:
        RequestError: the folder is missing or has no subfolder.
    """
    if not folder.is_dir():
        raise RequestError(f"{folder} is missing: expected a folder with one subfolder per class")
    names = sorted(e.name for e in os.scandir(folder) if e.is_dir() and e.name[0] != ".")
    if not names:
        raise RequestError(f"{folder} is empty: expected one subfolder per class, with images")
    return tuple(names)


def files(folder: Path, classes: tuple[str, ...]) -> Files:
    """All image files of a set, by class and name; hidden files and other kinds are passed over.

    Raises:
        RequestError: a class that is not among `classes`, or one without images.
    """
    paths: list[Path] = []
    labels: list[int] = []
    for name in class_names(folder):
        if name not in classes:
            raise RequestError(
                f"{folder / name} is a class that the training images do not have: "
                "every class needs its folder in train/"
            )
        found = sorted(
            entry.name
            for entry in os.scandir(folder / name)
            if entry.is_file()
            and entry.name[0] != "."
            and Path(entry.name).suffix.lower() in ENDINGS
        )
        if not found:
            raise RequestError(f"{folder / name} holds no image: fill it or remove it")
        paths += [folder / name / file for file in found]
        labels += [classes.index(name)] * len(found)
    return Files(tuple(paths), np.array(labels, dtype=np.int64))


def held_out(
    labels: NDArray[np.int64], share: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Split at random, class by class: indices that stay and indices held out, each sorted.

    Of every class with two images or more, `share` (rounded, at least one, never all) is held out.
    """
    random = np.random.default_rng(seed)
    out: list[int] = []
    for label in np.unique(labels):
        members = random.permutation(np.flatnonzero(labels == label))
        count = min(max(1, round(share * len(members))), len(members) - 1)
        out += members[:count].tolist()
    held = np.array(sorted(out), dtype=np.int64)
    return np.setdiff1d(np.arange(len(labels)), held), held


def fingerprint(root: Path, sets: Iterable[Files]) -> str:
    """A hash of the relative paths and sizes of all files, whatever the root is called."""
    rows = sorted(
        (path.relative_to(root).as_posix(), path.stat().st_size)
        for part in sets
        for path in part.paths
    )
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def verify(sets: Iterable[Files], channels: int, mark: Path, progress: bool) -> None:
    """Decode every image once; `mark` is left when all could be, and then it is not done again.

    Raises:
        RequestError: names the first file that cannot be decoded, or the mark cannot be left.
        RunError: a file cannot be read.
    """
    if mark.is_file():
        return
    check_writable(mark.parent)
    for _, reason in _broken(sets, channels, progress):
        raise RequestError(
            f"{reason}: repair or remove it, or leave such files out with data.on_bad_image=skip"
        )
    write_whole(mark, b"")


def broken(
    root: Path, sets: Iterable[Files], channels: int, mark: Path, progress: bool
) -> frozenset[Path]:
    """The files below `root` that cannot be decoded; the list is kept in `mark`, made once.

    Raises:
        RequestError: the mark cannot be left.
        RunError: a file cannot be read, which says nothing about what it holds.
    """
    sets = tuple(sets)
    by_name = {path.relative_to(root).as_posix(): path for part in sets for path in part.paths}
    try:
        return frozenset(by_name[name] for name in json.loads(mark.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError):
        # Absent or damaged: it is made.
        check_writable(mark.parent)
        bad = _broken(sets, channels, progress)
        found = sorted(path.relative_to(root).as_posix() for path, _ in bad)
    write_whole(mark, json.dumps(found).encode())
    return frozenset(by_name[name] for name in found)


def _broken(sets: Iterable[Files], channels: int, progress: bool) -> Iterator[tuple[Path, str]]:
    paths = [path for part in sets for path in part.paths]
    words = "decoding every image once"
    for path in tqdm(paths, desc=words, unit="img", disable=not progress or None):
        try:
            decode(path, channels)
        except Undecodable as error:
            yield path, str(error)
