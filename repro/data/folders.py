"""Folders of image files: what lies in them, and how each data set's files are split.

A layout takes the data's configuration and lists files; it decodes none. It raises RequestError
where a folder is missing or empty, or where the classes of its sets do not fit together. The ids of
images are their files' names below the data set's folder.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from repro.config.schema import Data
from repro.data.split import Source, Split, of_files
from repro.errors import RequestError

ENDINGS = frozenset(
    (".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff", ".webp")
)
VALIDATION = ("val", "valid", "validation")
"""What the folder of the validation images may be called."""
LONGEST = 200
"""Characters of a path that a message shows."""
THREADS = 8
"""Classes that are listed at once: over a network each file is waited for."""


@contextmanager
def looked_at(path: Path | str) -> Iterator[None]:
    """Refuse what the system cannot look at: too long, not to be entered, a link to nothing.

    Raises:
        RequestError: names the path and says what is wrong with it.
    """
    try:
        yield
    except OSError as error:
        place = path if error.filename is None else error.filename
        gone = isinstance(error, FileNotFoundError | NotADirectoryError)
        reason = "it is missing, or links to what is missing" if gone else error.strerror
        raise RequestError(f"{shown(place)} cannot be looked at: {reason}") from None


def shown(path: Path | str) -> str:
    """A path as a message can show it: not too long, and with bytes that are no text spelt out."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return text if len(text) <= LONGEST else f"{text[: LONGEST // 2]}...{text[-LONGEST // 2 :]}"


def is_folder(path: Path) -> bool:
    """Whether a folder is there.

    Raises:
        RequestError: it cannot be looked at.
    """
    with looked_at(path):
        return path.is_dir()


def listed(
    root: Path, part: str, channels: int, classes: tuple[str, ...] | None = None
) -> tuple[tuple[str, ...], Split]:
    """The classes of a set and all its image files, by class and name, nested folders included.

    Hidden files and files of other endings are passed over.

    Args:
        root: of the data set.
        part: the set's folder in there, as in `train`; it has a subfolder for each class. Empty:
            `root` has them itself.
        channels: of the images.
        classes: those of the training images, which number the labels; None: its own.

    Raises:
        RequestError: the folder is missing or has no subfolder, a class has no image, a name is
            not UTF-8, something cannot be looked at, or its classes are not `classes`.
    """
    folder = root / part
    found = _classes(folder)
    classes = found if classes is None else classes
    for name in sorted({*found} - {*classes}):
        raise RequestError(
            f"{shown(folder / name)} is a class that the training images do not have: "
            "every class needs its folder in train/"
        )
    for name in sorted({*classes} - {*found}):
        raise RequestError(
            f"{shown(folder / name)} is missing: every class of train/ needs images in {part}/"
        )
    with ThreadPoolExecutor(THREADS) as pool:
        files = list(pool.map(partial(_files, os.fspath(folder)), classes))
    rows = [row for of_class in files for row in of_class]
    labels = [label for label, of_class in enumerate(files) for _ in of_class]
    names = [f"{part}/{name}" if part else name for name, _, _ in rows]
    split = of_files(f"{root}", names, labels, [row[1:] for row in rows], channels)
    return classes, split


def _classes(folder: Path) -> tuple[str, ...]:
    if not is_folder(folder):
        raise RequestError(
            f"{shown(folder)} is missing: expected a folder with one subfolder per class"
        )
    with looked_at(folder), os.scandir(folder) as entries:
        names = sorted(e.name for e in entries if e.name[0] != "." and e.is_dir())
    if not names:
        raise RequestError(
            f"{shown(folder)} is empty: expected one subfolder per class, with images"
        )
    _check_names(folder, names)
    return tuple(names)


def _check_names(folder: Path | str, names: Sequence[str]) -> None:
    """Refuse names that are not UTF-8: they cannot stand in what is stored."""
    for name in names:
        try:
            name.encode()
        except UnicodeEncodeError:
            place = shown(os.path.join(folder, name))
            raise RequestError(f"{place} has a name that is not UTF-8: rename it") from None


def _files(folder: str, label: str) -> list[tuple[str, int, int]]:
    """The image files of a class, by name: CLASS/FILE, bytes, time of modification."""
    with looked_at(folder):
        found = sorted(_walk(folder, label, frozenset()))
    if not found:
        raise RequestError(f"{shown(f'{folder}/{label}')} holds no image: fill it or remove it")
    _check_names(folder, [name for name, _, _ in found])
    return found


def _walk(folder: str, below: str, around: frozenset[int]) -> Iterator[tuple[str, int, int]]:
    with os.scandir(f"{folder}/{below}") as entries:
        for entry in entries:
            name = entry.name
            image = os.path.splitext(name)[1].lower() in ENDINGS
            if name[0] == "." or not (image or entry.is_dir()):
                continue
            status = entry.stat()
            if stat.S_ISDIR(status.st_mode):
                if status.st_ino in around:
                    raise RequestError(f"{shown(entry.path)} is a link to a folder that it lies in")
                yield from _walk(folder, f"{below}/{name}", around | {status.st_ino})
            elif stat.S_ISREG(status.st_mode):
                yield f"{below}/{name}", status.st_size, status.st_mtime_ns
            else:
                raise RequestError(f"{shown(entry.path)} is neither a file nor a folder: remove it")


def named(root: Path, names: Sequence[str], labels: Sequence[int], channels: int) -> Split:
    """The image files of these names below `root`.

    Raises:
        RequestError: one is missing, cannot be looked at, or has a name that is not UTF-8.
    """
    _check_names(root, names)
    status = []
    for name in names:
        with looked_at(root / name):
            found = os.stat(f"{root}/{name}")
        status.append((found.st_size, found.st_mtime_ns))
    return of_files(f"{root}", names, labels, status, channels)


def imagefolder(data: Data) -> Source:
    """train/CLASS/*, with val/ and test/ as far as they are there; or CLASS/* alone.

    With val/ and test/ each is what it is called. With one of them that one is the test set, and
    the validation images are held out of train/. With neither, both are held out of train/, or of
    all images. Where only the test images are asked for, train/ may be absent.
    """
    root = Path(data.root)
    val = [name for name in VALIDATION if is_folder(root / name)]
    test = ["test"] if is_folder(root / "test") else []
    if len(val) > 1:
        raise RequestError(f"{shown(root)} has both {val[0]}/ and {val[1]}/: keep one of them")
    if data.test_only and (test or val) and not is_folder(root / "train"):
        classes, only = listed(root, (test or val)[0], data.channels)
        return Source(classes, only, only, only)
    if not is_folder(root):
        raise RequestError(
            f"data.root={shown(root)} is missing: expected a folder with train/CLASS/*"
        )
    flat = not (is_folder(root / "train") or val or test)
    classes, train = listed(root, "" if flat else "train", data.channels)
    given = [listed(root, name, data.channels, classes)[1] for name in (*val, *test)]
    if len(given) == 2:
        return Source(classes, train, given[0], given[1])
    if given:
        return Source(classes, *train.held_out(data.holdout, data.split), given[0])
    if flat:
        _say(
            f"{shown(root)} has no train/: of each class {data.holdout:.0%} of the images are held "
            f"out for validation and {data.holdout:.0%} for testing (data.holdout, data.split)"
        )
    return Source(classes, *train.held_out_twice(data.holdout, data.split))


SAID: set[str] = set()


def _say(line: str) -> None:
    """Say a thing once in a process, however often the folder is looked at."""
    if line not in SAID:
        SAID.add(line)
        tqdm.write(line, file=sys.stderr)


def imagenet(data: Data) -> Source:
    """ILSVRC-2012; its validation images are tested on and, as in the paper, steer the rate too.

    Where only the test images are asked for, train/ is not looked at.
    """
    root = Path(data.root)
    if data.test_only and is_folder(root / "val"):
        classes, test = listed(root, "val", data.channels)
        return Source(classes, test, test, test)
    if not (is_folder(root / "train") and is_folder(root / "val")):
        place = shown(root)
        raise RequestError(
            f"data={data.name} expects {place}/train/n*/*.JPEG and {place}/val/n*/*.JPEG: get "
            "ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar from image-net.org, unpack one "
            "folder per class, and say where with data.root"
        )
    classes, train = listed(root, "train", data.channels)
    _, validation = listed(root, "val", data.channels, classes)
    return Source(classes, train, validation, validation, validation_is_test=True)


CALTECH, IMAGENETTE = "caltech101/101_ObjectCategories", "imagenette2"
TINY_IMAGENET = "tiny-imagenet-200"
"""Where in `data.root` these are unpacked."""


def imagenette(data: Data) -> Source:
    """Its val/ is the test set; validation images are held out of train/."""
    root = Path(data.root) / IMAGENETTE
    classes, train = listed(root, "train", data.channels)
    _, test = listed(root, "val", data.channels, classes)
    return Source(classes, *train.held_out(data.holdout, data.split), test)


CALTECH_TRAIN, CALTECH_TEST = 30, 50


def caltech101(data: Data) -> Source:
    """Appendix B: 30 training images a class, a fifth of them for validation, up to 50 to test."""
    names, every = listed(Path(data.root) / CALTECH, "", data.channels)
    classes = tuple(name for name in names if name != "BACKGROUND_Google")
    random = np.random.default_rng(data.split)
    train: list[int] = []
    test: list[int] = []
    for name in classes:
        members = random.permutation(np.flatnonzero(every.labels == names.index(name)))
        train += members[:CALTECH_TRAIN].tolist()
        test += members[CALTECH_TRAIN : CALTECH_TRAIN + CALTECH_TEST].tolist()
    number = np.array([classes.index(name) if name in classes else -1 for name in names])
    every = replace(every, labels=number[every.labels])
    rest, tested = (every.take(np.array(sorted(part), dtype=np.int64)) for part in (train, test))
    return Source(classes, *rest.held_out(0.2, data.split), tested)


def is_tiny_imagenet(data: Data) -> bool:
    """Whether `data.root` is itself an unpacked Tiny ImageNet."""
    list_of_classes = Path(data.root) / "wnids.txt"
    with looked_at(list_of_classes):
        return list_of_classes.is_file()


def tiny_imagenet(data: Data) -> Source:
    """Tiny ImageNet: 200 classes of ILSVRC at 64x64 pixels.

    train/CLASS/images/*, listed in train/CLASS/CLASS_boxes.txt; val/images/*, whose classes stand
    in val/val_annotations.txt, is the test set. Validation images are held out of train/. Classes
    are in the order of their names, as ILSVRC's are.
    """
    root = Path(data.root) if is_tiny_imagenet(data) else Path(data.root) / TINY_IMAGENET
    classes = tuple(sorted(name for (name,) in _rows(root / "wnids.txt", 1)))
    names, labels = [], []
    for label, name in enumerate(classes):
        for file, *_ in _rows(root / "train" / name / f"{name}_boxes.txt", 5):
            names.append(f"train/{name}/images/{file}")
            labels.append(label)
    annotations = root / "val" / "val_annotations.txt"
    rows = sorted(_rows(annotations, 6))
    strangers = sorted({row[1] for row in rows} - set(classes))
    if strangers:
        raise RequestError(f"{annotations} names {strangers[0]}, which is not in wnids.txt")
    train = named(root, names, labels, data.channels)
    tested = [f"val/images/{row[0]}" for row in rows]
    test = named(root, tested, [classes.index(row[1]) for row in rows], data.channels)
    return Source(classes, *train.held_out(data.holdout, data.split), test)


def _rows(file: Path, fields: int) -> list[list[str]]:
    """The rows of a file of tab-separated fields."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text in UTF-8"
        raise RequestError(
            f"{shown(file)} cannot be read ({reason}): expected Tiny ImageNet as it is unpacked"
        ) from None
    rows = [line.split("\t") for line in lines]
    for number, row in enumerate(rows, start=1):
        if len(row) != fields:
            raise RequestError(
                f"{file}, line {number}: expected {fields} fields parted by tabs, "
                f"found {' '.join(row)[:80]!r}"
            )
    return rows
