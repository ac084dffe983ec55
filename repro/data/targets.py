"""The target sets of Appendix B: all images of each, and which train and test in a split."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from repro.config.schema import Data
from repro.data.folders import BACKGROUND, CALTECH, listed_without, named, shown
from repro.data.split import Source, Split
from repro.errors import RequestError
from repro.protocol.measures import FIT, HELD_OUT, SPLITS, TEST, UNUSED
from repro.protocol.protocols import FIVE, THREE

CALTECH256, VOC = "caltech256/256_ObjectCategories", "VOCdevkit/VOC"
"""Where in `data.root` these are unpacked, as torchvision expects them."""
HELD = 0.2
"""Share of the training images on which C is chosen."""
Parts = NDArray[np.int8]


@dataclass(frozen=True)
class Target:
    """A data set on which descriptors are tested; `images` and `classes` are as published.

    `read` lists all its images, as the test set of a Source, and refuses what cannot be split.
    `parts` gives for each split the part of each image (`repro.protocol.measures.FIT` and so on),
    (splits, N); `qs` are Q in paper pixels.
    """

    read: Callable[[Data], Source]
    parts: Callable[[Data, Split], Parts]
    images: int
    classes: int
    qs: tuple[int, ...]


def _order(members: NDArray[np.int64], ids: list[str], key: str) -> list[int]:
    """Images in a random order that their ids alone decide, whatever the machine."""
    draw = {n: hashlib.sha256(f"{key} {ids[n]}".encode()).digest() for n in members.tolist()}
    return sorted(draw, key=draw.__getitem__)


def _held(parts: Parts, trained: list[int]) -> None:
    count = max(1, round(HELD * len(trained)))
    parts[trained[:count]], parts[trained[count:]] = HELD_OUT, FIT


def _caltech(folder: str, train: int, data: Data) -> Source:
    root, left_out = Path(data.root) / folder, () if data.background else BACKGROUND
    classes, every = listed_without(left_out, root, data.channels)
    for name, count in zip(classes, np.bincount(every.labels), strict=True):
        if count <= train:
            raise RequestError(f"{shown(root / name)}: {count} images, {train} of them train")
    return _of(classes, every)


def _caltech_parts(train: int, most: int | None, data: Data, every: Split) -> Parts:
    """Of each class `train` images at random, and of the others up to `most` to test."""
    found, ids = np.full((SPLITS, len(every.ids)), UNUSED, dtype=np.int8), list(every.ids)
    for split, row in enumerate(found):
        for label in np.unique(every.labels):
            members = np.flatnonzero(every.labels == label)
            drawn = _order(members, ids, f"{data.split} {split}")
            _held(row, drawn[:train])
            row[drawn[train:][:most]] = TEST
    return found


def _of(classes: tuple[str, ...], every: Split) -> Source:
    none = every.take(np.array([], dtype=np.int64))
    return Source(classes, none, none, every)


def _voc_list(file: Path) -> dict[str, int]:
    """Of each image that a list of ImageSets/Main names: 1 shows the class, -1 not, 0 difficult."""
    try:
        rows = [line.split() for line in file.read_text(encoding="utf-8").splitlines()]
        found = {name: int(value) for name, value in rows}
        if len(found) == len(rows) and {1} <= set(found.values()) <= {-1, 0, 1}:
            return found
        why = "no image shows its class, one is listed twice, or a label is none of 1, 0, -1"
    except (OSError, ValueError) as error:
        why = str(error)[:200]
    raise RequestError(f"{shown(file)} is not as VOC has it: {why}")


def _voc_lists(data: Data, year: int, part: str) -> Iterator[tuple[str, dict[str, int]]]:
    folder = Path(data.root) / f"{VOC}{year}" / "ImageSets" / "Main"
    files = sorted(folder.glob(f"*_{part}.txt"))
    if len(files) < 2:
        raise RequestError(f"{shown(folder)} has no lists of two classes, as cat_{part}.txt is one")
    first: dict[str, int] = {}
    for file in files:
        found = _voc_list(file)
        first = first or found
        if odd := first.keys() ^ found.keys():
            raise RequestError(f"{shown(file)}: {files[0].name} lists other images, as {min(odd)}")
        yield file.name.removesuffix(f"_{part}.txt"), found


def _voc(year: int, train: str, test: str, data: Data) -> Source:
    """The images of two lists, which VOC gives for each class."""
    if data.first_classes is not None:
        raise RequestError("data.first_classes: an image of VOC has several classes, take all")
    lists = [dict(_voc_lists(data, year, part)) for part in (train, test)]
    classes = tuple(lists[0])
    if odd := lists[0].keys() ^ lists[1].keys():
        raise RequestError(f"{VOC}{year}: class {min(odd)} has no list of {train} or of {test}")
    names: dict[str, None] = {}
    for one in lists:
        first = one[classes[0]]
        if both := names.keys() & first.keys():
            raise RequestError(f"{VOC}{year}: {min(both)} is in {train} and in {test}")
        names |= dict.fromkeys(sorted(first))
    labels = [[(lists[0][c] | lists[1][c])[name] for c in classes] for name in names]
    files = [f"JPEGImages/{name}.jpg" for name in names]
    every = named(Path(data.root) / f"{VOC}{year}", files, [0] * len(files), data.channels)
    return _of(classes, Split(every.images, np.array(labels), every.ids, every.status))


def _voc_parts(year: int, train: str, data: Data, every: Split) -> Parts:
    """The one split of the lists."""
    _, first = next(_voc_lists(data, year, train))
    found, ids = np.full((1, len(every.ids)), TEST, dtype=np.int8), list(every.ids)
    trained = np.flatnonzero([Path(name).stem in first for name in ids])
    _held(found[0], _order(trained, ids, str(data.split)))
    return found


def _of_voc(year: int, train: str, test: str, images: int) -> Target:
    read, parts = partial(_voc, year, train, test), partial(_voc_parts, year, train)
    return Target(read, parts, images, 20, FIVE)


def _of_caltech(folder: str, train: int, most: int | None, images: int, classes: int) -> Target:
    read, parts = partial(_caltech, folder, train), partial(_caltech_parts, train, most)
    return Target(read, parts, images, classes, THREE)


TARGETS = {
    "caltech101": _of_caltech(CALTECH, 30, 50, 9_144, 102),
    "caltech256": _of_caltech(CALTECH256, 60, None, 30_607, 257),
    "voc2007": _of_voc(2007, "trainval", "test", 9_963),
    # The labels of its test images are its server's.
    "voc2012": _of_voc(2012, "train", "val", 11_540),
}
"""By the name that `data.source` or `data.name` gives."""


def target(data: Data) -> Target:
    """The target set that data are; a RequestError says that they are none."""
    name = data.source or data.name
    if name not in TARGETS:
        raise RequestError(f"data={name} is no target set: choose from {', '.join(TARGETS)}")
    return TARGETS[name]
