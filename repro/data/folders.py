"""Folders of image files: what lies in them, and how each data set's files are split.

Nothing is decoded. A RequestError says which folder is missing or empty, or where the classes of
sets do not fit together. Ids of images are their names below `data.root`.
"""

import os
import re
import stat
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from repro.config.schema import Data
from repro.data.boxes import Reader, of_tables
from repro.data.images import FileImages
from repro.data.split import Source, Split
from repro.errors import RequestError

ENDINGS = frozenset(
    (".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff", ".webp")
)
UNREAD = frozenset((".heic", ".heif", ".avif", ".jp2", ".jxl"))
"""Endings of photographs that are not decoded here."""
VALIDATION = ("val", "valid", "validation")
SETS = re.compile("train(ing)?|val(id|idation)?|test(ing)?", re.IGNORECASE)
"""Names of folders that hold a set and are no class, however they are written."""
LONGEST = 200
"""Characters of a path that a message shows."""
Row = tuple[str, int, int]
"""A file's name, its bytes and its time of modification."""


@contextmanager
def looked_at(path: Path | str) -> Iterator[None]:
    """Refuse a path that the system cannot look at: too long, barred, or a link to nothing."""
    try:
        yield
    except OSError as error:
        place = path if error.filename is None else error.filename
        raise RequestError(f"{shown(place)} cannot be looked at: {error.strerror}") from None


def shown(path: Path | str) -> str:
    """A path as a message can show it: not too long, and with bytes that are no text spelt out."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return text if len(text) <= LONGEST else f"{text[: LONGEST // 2]}...{text[-LONGEST // 2 :]}"


def listed(
    root: Path, part: str, channels: int, classes: tuple[str, ...] | None = None
) -> tuple[tuple[str, ...], Split]:
    """The classes of the set `root`/`part` and all its image files, by class and name.

    `classes` are those of the training images, which number the labels; None: its own. Nested
    folders are included, hidden files and other endings passed over.
    """
    folder = root / part
    found = set()
    if folder.is_dir():
        with os.scandir(folder) as entries:
            found = {entry.name for entry in entries if entry.name[0] != "." and entry.is_dir()}
    if not found:
        raise RequestError(f"{shown(folder)} is missing or empty: expected a folder for each class")
    classes = tuple(sorted(found)) if classes is None else classes
    for name in sorted(found ^ {*classes}):
        what = "is missing" if name in classes else "is a class that train/ does not have"
        raise RequestError(f"{shown(folder / name)} {what}: every set needs the same classes")
    # Several at once: over a network each file is waited for.
    with ThreadPoolExecutor(8) as pool:
        each = pool.map(lambda name: sorted(_files(os.fspath(folder), name)), classes)
        files = [*tqdm(each, f"listing {shown(folder)}", len(classes), disable=None, delay=5)]
    for name, of_class in zip(classes, files, strict=True):
        if not of_class:
            raise RequestError(f"{shown(folder / name)} holds no image: fill it or remove it")
    labels = [label for label, of_class in enumerate(files) for _ in of_class]
    before = f"{part}/" if part else ""
    rows = [(before + name, size, time) for of_class in files for name, size, time in of_class]
    return classes, _split(root, rows, labels, channels)


def _files(folder: str, below: str) -> Iterator[Row]:
    """The image files of a class, as BELOW/NAME."""
    with os.scandir(f"{folder}/{below}") as entries:
        for entry in entries:
            name = entry.name
            ending = os.path.splitext(name)[1].lower()
            if ending in UNREAD and name[0] != ".":
                raise RequestError(f"{shown(entry.path)} is not decoded here: make it a JPEG")
            if name[0] == "." or not (ending in ENDINGS or entry.is_dir()):
                continue
            status = entry.stat()
            if stat.S_ISDIR(status.st_mode):
                yield from _files(folder, f"{below}/{name}")
            elif stat.S_ISREG(status.st_mode):
                yield f"{below}/{name}", status.st_size, status.st_mtime_ns
            else:
                raise RequestError(f"{shown(entry.path)} is neither a file nor a folder: remove it")


def _split(root: Path, rows: Sequence[Row], labels: Sequence[int], channels: int) -> Split:
    names = [name for name, _, _ in rows]
    for name in names:
        try:
            name.encode()
        except UnicodeEncodeError:
            # It cannot stand in what is stored.
            raise RequestError(f"{shown(root / name)} has a name that is not UTF-8") from None
        if "\n" in name:
            raise RequestError(f"{shown(root)}: the name {name!a} has several lines")
    status = np.array([row[1:] for row in rows], dtype=np.int64).reshape(-1, 2)
    images = FileImages(names, channels, f"{root}{os.sep}")
    return Split(images, np.array(labels, dtype=np.int64), tuple(names), status)


def named(root: Path, names: Sequence[str], labels: Sequence[int], channels: int) -> Split:
    """The image files of these names below `root`."""
    status = [os.stat(f"{root}/{name}") for name in names]
    rows = [(name, of.st_size, of.st_mtime_ns) for name, of in zip(names, status, strict=True)]
    return _split(root, rows, labels, channels)


def imagefolder(data: Data) -> Source:
    """train/CLASS/*, with val/ and test/ as far as they are there; or CLASS/* alone.

    One of them alone is the test set; what is absent is held out of train/, or of all images. To
    test published nets, train/ may be absent, and CLASS/* alone are all tested.
    """
    root, look = Path(data.root), partial(listed, Path(data.root), channels=data.channels)
    sets = [name for name in (*VALIDATION, "test") if (root / name).is_dir()]
    if len({*sets} & {*VALIDATION}) > 1:
        raise RequestError(f"{shown(root)} has both {sets[0]}/ and {sets[1]}/: keep one of them")
    for name in sorted(path.name for path in root.glob("*/")):
        if SETS.fullmatch(name) and name not in ("train", "test", *VALIDATION):
            raise RequestError(f"{shown(root)} has {name}/: call the sets train/, val/ and test/")
    there = (root / "train").is_dir()
    if data.test_only and root.is_dir() and not there:
        classes, only = look(part=sets[-1] if sets else "")
        return Source(classes, only, only, only)
    if not root.is_dir():
        raise RequestError(f"data.root={shown(root)} is missing: expected its train/CLASS/*")
    flat = not (there or sets)
    classes, train = look(part="" if flat else "train")
    given = [look(part=name, classes=classes)[1] for name in sets]
    if len(given) == 2:
        return Source(classes, train, given[0], given[1])
    if given:
        return Source(classes, *train.held_out(data.holdout, data.split), given[0])
    if flat:
        _say(
            f"{shown(root)} has no train/: of each class {data.holdout:.0%} of the images are held "
            f"out for validation and {data.holdout:.0%} for testing (data.holdout, data.split)"
        )
    parts = train.held_out_twice(data.holdout, data.split)
    if len(few := np.setdiff1d(train.labels, parts[-1].labels)):
        said = f"{shown(root)}: class {classes[few[0]]} has too few images for a test set"
        raise RequestError(f"{said}: it needs more, or a larger data.holdout")
    return Source(classes, *parts)


@lru_cache
def _say(line: str) -> None:
    """Say a thing once in a process, however often the folder is looked at."""
    tqdm.write(line, file=sys.stderr)


def imagenet(data: Data) -> Source:
    """ILSVRC-2012; its validation images are tested on and, as in the paper, steer the rate too."""
    root = Path(data.root)
    if data.test_only and (root / "val").is_dir():
        classes, test = listed(root, "val", data.channels)
        return Source(classes, test, test, test)
    if not ((root / "train").is_dir() and (root / "val").is_dir()):
        place = shown(root)
        said = f"data={data.name} expects {place}/train/n*/*.JPEG and {place}/val/n*/*.JPEG"
        raise RequestError(f"{said}: unpack the two tars of ILSVRC2012 there (docs/data.md)")
    classes, train = listed(root, "train", data.channels)
    _, validation = listed(root, "val", data.channels, classes)
    return Source(classes, train, validation, validation, validation_is_test=True)


BACKGROUND = ("BACKGROUND_Google", "257.clutter")
"""Caltech's folders of what is of no class."""
CALTECH, IMAGENETTE = "caltech101/101_ObjectCategories", "imagenette2"
TINY_IMAGENET = "tiny-imagenet-200"
"""Where in `data.root` these are unpacked."""


def imagenette(data: Data) -> Source:
    """Its val/ is the test set; validation images are held out of train/."""
    root = Path(data.root) / IMAGENETTE
    classes, train = listed(root, "train", data.channels)
    _, test = listed(root, "val", data.channels, classes)
    return Source(classes, *train.held_out(data.holdout, data.split), test)


def caltech101(data: Data) -> Source:
    """Appendix B: 30 training images a class, a fifth of them for validation, up to 50 to test."""
    classes, every = listed_without(BACKGROUND, Path(data.root) / CALTECH, data.channels)
    random = np.random.default_rng(data.split)
    train: list[int] = []
    test: list[int] = []
    for label in range(len(classes)):
        members = random.permutation(np.flatnonzero(every.labels == label))
        train += members[:30].tolist()
        test += members[30:80].tolist()
    rest, tested = (every.take(np.array(sorted(part), dtype=np.int64)) for part in (train, test))
    return Source(classes, *rest.held_out(0.2, data.split), tested)


def listed_without(
    left_out: Sequence[str], root: Path, channels: int
) -> tuple[tuple[str, ...], Split]:
    """As `listed`, of all classes in a folder but those that are left out."""
    names, every = listed(root, "", channels)
    kept = np.array([name not in left_out for name in names])
    every = every.take(np.flatnonzero(kept[every.labels]))
    every = replace(every, labels=(np.cumsum(kept) - 1)[every.labels])
    return tuple(name for name, keep in zip(names, kept, strict=True) if keep), every


def is_tiny_imagenet(data: Data) -> bool:
    """Whether `data.root` is itself an unpacked Tiny ImageNet."""
    return (Path(data.root) / "wnids.txt").is_file()


def tiny_imagenet(data: Data) -> Source:
    """Tiny ImageNet: 200 classes of ILSVRC at 64x64 pixels, in the order of their names.

    train/CLASS/images/*, listed in train/CLASS/CLASS_boxes.txt; val/images/*, whose classes stand
    in val/val_annotations.txt, is the test set. Validation images are held out of train/.
    """
    root = Path(data.root) if is_tiny_imagenet(data) else Path(data.root) / TINY_IMAGENET
    classes = tuple(sorted(name for (name,) in _rows(root / "wnids.txt", 1)))
    boxes = [_rows(root / "train" / name / f"{name}_boxes.txt", 5) for name in classes]
    labels = [label for label, rows in enumerate(boxes) for _ in rows]
    files = [row[0] for rows in boxes for row in rows]
    names = [f"train/{classes[n]}/images/{file}" for n, file in zip(labels, files, strict=True)]
    train = named(root, names, labels, data.channels)
    annotations = root / "val" / "val_annotations.txt"
    rows = sorted(_rows(annotations, 6))
    for stranger in sorted({row[1] for row in rows} - {*classes}):
        raise RequestError(f"{annotations} names {stranger}, which is not in wnids.txt")
    tested = [f"val/images/{row[0]}" for row in rows]
    test = named(root, tested, [classes.index(row[1]) for row in rows], data.channels)
    return Source(classes, *train.held_out(data.holdout, data.split), test)


def boxes_of_tiny_imagenet(data: Data) -> Reader:
    """The boxes beside the lists of images, each by its image's id; all are of 64x64 pixels."""
    root = Path(data.root) if is_tiny_imagenet(data) else Path(data.root) / TINY_IMAGENET
    found = {}
    for (name,) in _rows(root / "wnids.txt", 1):
        file = root / "train" / name / f"{name}_boxes.txt"
        for line, (image, *words) in enumerate(_rows(file, 5), start=1):
            found[f"train/{name}/images/{image}"] = f"{file}, line {line}", words
    file = root / "val" / "val_annotations.txt"
    for line, (image, _, *words) in enumerate(_rows(file, 6), start=1):
        found[f"val/images/{image}"] = f"{file}, line {line}", words
    return of_tables(found, 64)


def _rows(file: Path, fields: int) -> list[list[str]]:
    """The rows of a file of tab-separated fields."""
    try:
        rows = [line.split("\t") for line in file.read_text(encoding="utf-8").splitlines()]
        wrong = ((n, row) for n, row in enumerate(rows, start=1) if len(row) != fields)
        reason = next((f"line {n}: {row} has not {fields} fields" for n, row in wrong), "")
    except (OSError, ValueError) as error:
        reason = str(error)
    if reason:
        raise RequestError(f"{shown(file)} is not as Tiny ImageNet has it: {reason[:LONGEST]}")
    return rows
