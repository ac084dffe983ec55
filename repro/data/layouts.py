"""How the image files of each data set lie in its folder, and how they are split.

They list files and decode none. Each takes the data's configuration and the folder of what the
store keeps. Each raises RequestError where a folder is missing or empty, or where the classes of
its sets do not fit together.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from repro.config.schema import Data
from repro.data.folders import Files, files, held_out, held_out_twice
from repro.data.listing import looked_at, shown
from repro.errors import RequestError


@dataclass(frozen=True)
class FolderSets:
    """The files of a data set, split. Ids are their names below the data set's folder."""

    root: Path
    classes: tuple[str, ...]
    train: Files
    validation: Files
    test: Files
    validation_is_test: bool = False

    @property
    def parts(self) -> tuple[Files, Files, Files]:
        """The training, the validation and the test set."""
        return self.train, self.validation, self.test

    def test_only(self) -> FolderSets:
        """The test set alone."""
        none = self.test.take(np.array([], dtype=np.int64))
        return replace(self, train=none, validation=none, validation_is_test=False)

    def without(self, broken: frozenset[str]) -> FolderSets:
        """The sets without the files of these names."""
        train, validation, test = (part.without(broken) for part in self.parts)
        return replace(self, train=train, validation=validation, test=test)


CALTECH, IMAGENETTE = "caltech101/101_ObjectCategories", "imagenette2"
TINY_IMAGENET = "tiny-imagenet-200"
"""Where in `data.root` these are unpacked."""


def is_folder(path: Path) -> bool:
    """Whether a folder is there.

    Raises:
        RequestError: it cannot be looked at.
    """
    with looked_at(path):
        return path.is_dir()


def imagefolder(data: Data, cache: Path) -> FolderSets:
    """train/CLASS/*, with val/ and test/ as far as they are there.

    With val/ and test/ each is what it is called. With one of them that one is the test set, and
    the validation images are held out of train/. With neither, both are held out of train/. Where
    only the test images are asked for, train/ may be absent.
    """
    root = Path(data.root)
    there = [name for name in ("test", "val") if data.test_only and is_folder(root / name)]
    if there and not is_folder(root / "train"):
        classes, test = files(root, there[0], cache)
        return FolderSets(root, classes, test, test, test)
    if not is_folder(root):
        raise RequestError(
            f"data.root={shown(root)} is missing: expected a folder with train/CLASS/*"
        )
    classes, train = files(root, "train", cache)
    given = [files(root, n, cache, classes)[1] for n in ("val", "test") if is_folder(root / n)]
    if len(given) == 2:
        return FolderSets(root, classes, train, given[0], given[1])
    if given:
        stay, held = held_out(train.labels, data.holdout, data.split)
        return FolderSets(root, classes, train.take(stay), train.take(held), given[0])
    return FolderSets(root, classes, *held_out_twice(train, data.holdout, data.split))


def imagenet(data: Data, cache: Path) -> FolderSets:
    """ILSVRC-2012; its validation images are tested on and, as in the paper, steer the rate too.

    Where only the test images are asked for, train/ is not looked at.
    """
    root = Path(data.root)
    if data.test_only and is_folder(root / "val"):
        classes, test = files(root, "val", cache)
        return FolderSets(root, classes, test, test, test)
    if not (is_folder(root / "train") and is_folder(root / "val")):
        place = shown(root)
        raise RequestError(
            f"data={data.name} expects {place}/train/n*/*.JPEG and {place}/val/n*/*.JPEG: get "
            "ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar from image-net.org, unpack one "
            "folder per class, and say where with data.root"
        )
    classes, train = files(root, "train", cache)
    _, validation = files(root, "val", cache, classes)
    return FolderSets(root, classes, train, validation, validation, validation_is_test=True)


def imagenette(data: Data, cache: Path) -> FolderSets:
    """Its val/ is the test set; validation images are held out of train/."""
    root = Path(data.root) / IMAGENETTE
    classes, train = files(root, "train", cache)
    stay, held = held_out(train.labels, data.holdout, data.split)
    _, test = files(root, "val", cache, classes)
    return FolderSets(root, classes, train.take(stay), train.take(held), test)


CALTECH_TRAIN, CALTECH_TEST = 30, 50


def caltech101(data: Data, cache: Path) -> FolderSets:
    """Appendix B: 30 training images a class, a fifth of them for validation, up to 50 to test."""
    root = Path(data.root) / CALTECH
    names, every = files(root, "", cache)
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
        labels = [number[int(label)] for label in part.labels]
        return replace(part, labels=np.array(labels, dtype=np.int64))

    rest = chosen(train)
    stay, held = held_out(rest.labels, 0.2, data.split)
    return FolderSets(root, classes, rest.take(stay), rest.take(held), chosen(test))


def is_tiny_imagenet(data: Data) -> bool:
    """Whether `data.root` is itself an unpacked Tiny ImageNet."""
    list_of_classes = Path(data.root) / "wnids.txt"
    with looked_at(list_of_classes):
        return list_of_classes.is_file()


def tiny_imagenet(data: Data, cache: Path) -> FolderSets:
    """Tiny ImageNet: 200 classes of ILSVRC at 64x64 pixels.

    train/CLASS/images/* with boxes in train/CLASS/CLASS_boxes.txt; val/images/*, whose classes and
    boxes stand in val/val_annotations.txt, is the test set. Validation images are held out of
    train/. Classes are in the order of their names, as ILSVRC's are.
    """
    root = Path(data.root) if is_tiny_imagenet(data) else Path(data.root) / TINY_IMAGENET
    classes = tuple(sorted(_lines(root / "wnids.txt")))
    names, labels, boxes = [], [], []
    for label, name in enumerate(classes):
        for file, *box in _rows(root / "train" / name / f"{name}_boxes.txt", 5):
            names.append(f"train/{name}/images/{file}")
            labels.append(label)
            boxes.append([int(side) for side in box])
    annotations = root / "val" / "val_annotations.txt"
    rows = sorted(_rows(annotations, 6))
    strangers = sorted({row[1] for row in rows} - set(classes))
    if strangers:
        raise RequestError(f"{annotations} names {strangers[0]}, which is not in wnids.txt")
    train = Files.of(root, names, labels, boxes)
    stay, held = held_out(train.labels, data.holdout, data.split)
    test = Files.of(
        root,
        [f"val/images/{row[0]}" for row in rows],
        [classes.index(row[1]) for row in rows],
        [[int(side) for side in row[2:]] for row in rows],
    )
    return FolderSets(root, classes, train.take(stay), train.take(held), test)


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise RequestError(
            f"{shown(file)} cannot be read ({error.strerror}): expected Tiny ImageNet as it is "
            "unpacked"
        ) from None
    except ValueError:
        raise RequestError(
            f"{shown(file)} is no text in UTF-8: expected Tiny ImageNet as it is unpacked"
        ) from None


def _rows(file: Path, fields: int) -> list[list[str]]:
    """The rows of a file of tab-separated fields, the first a file's name, the last four a box."""
    rows = [line.split("\t") for line in _lines(file)]
    for number, row in enumerate(rows, start=1):
        if len(row) != fields or not all(side.isdecimal() for side in row[-4:]):
            raise RequestError(
                f"{file}, line {number}: expected {fields} fields parted by tabs, the last four "
                f"a box in pixels, found {' '.join(row)[:80]!r}"
            )
    return rows
