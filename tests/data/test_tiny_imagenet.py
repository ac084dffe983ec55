"""Tiny ImageNet as it is unpacked, in small; and the first classes of any data set."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from repro.config.schema import Data
from repro.data import sources
from repro.data.split import Source
from repro.errors import RequestError
from tests.data.conftest import save
from tests.data.test_sources import data

NAMES = ("n01", "n02", "n03")


@pytest.fixture
def unpacked(tmp_path: Path) -> Path:
    """20 training images of each of three classes, two validation images of each."""
    root = tmp_path / "tiny-imagenet-200"
    for place, name in enumerate(NAMES):
        folder = root / "train" / name
        for n in range(20):
            save(folder / "images" / f"{name}_{n}.JPEG", 8, 8, seed=100 * place + n)
        boxes = "".join(f"{name}_{n}.JPEG\t{n}\t{place}\t60\t61\n" for n in range(20))
        (folder / f"{name}_boxes.txt").write_text(boxes)
    rows = [f"val_{n}.JPEG\t{NAMES[n % 3]}\t1\t2\t3\t{n}\n" for n in range(6)]
    for n in range(6):
        save(root / "val" / "images" / f"val_{n}.JPEG", 8, 8, seed=1000 + n)
    Image.new("L", (8, 8), 7).save(root / "val" / "images" / "val_0.JPEG", "JPEG")
    (root / "val" / "val_annotations.txt").write_text("".join(rows))
    # As in the archive, not in order.
    (root / "wnids.txt").write_text("n02\nn03\nn01\n")
    (root / "words.txt").write_text("n01\tcat\n")
    return root


def tiny(root: Path, **changes: object) -> Data:
    return replace(data("tiny_imagenet", root, classes=None, holdout=0.1), **changes)  # type: ignore[arg-type]


def load(wanted: Data) -> Source:
    cache = Path(wanted.root).parent / "cache"
    sources.check(wanted, cache)
    return sources.load(wanted, cache)


@pytest.mark.parametrize("inside", [True, False])
def test_its_sets_and_labels(unpacked: Path, inside: bool) -> None:
    found = load(tiny(unpacked.parent if inside else unpacked))
    assert found.classes == NAMES
    parts = (found.train, found.validation, found.test)
    assert [Counter(part.labels.tolist()) for part in parts] == [
        {0: 18, 1: 18, 2: 18},
        {0: 2, 1: 2, 2: 2},
        {0: 2, 1: 2, 2: 2},
    ]
    for part in (found.train, found.validation):
        for name, label in zip(part.ids, part.labels, strict=True):
            kind, number = Path(name).stem.split("_")
            assert name == f"train/{kind}/images/{kind}_{number}.JPEG"
            assert NAMES[label] == kind
    assert list(found.test.ids) == [f"val/images/val_{n}.JPEG" for n in range(6)]
    assert found.test.images[0].shape == (3, 8, 8), "grey files become colour"


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda root: (root / "wnids.txt").unlink(), "wnids.txt is not as"),
        (
            lambda root: (root / "val" / "images" / "val_3.JPEG").unlink(),
            "val_3.JPEG cannot be looked at",
        ),
        (
            lambda root: (root / "val" / "val_annotations.txt").write_text("val_0.JPEG\tn01\t1\n"),
            "has not 6 fields",
        ),
        (
            lambda root: (root / "val" / "val_annotations.txt").write_text("a\tn9\t1\t2\t3\t4\n"),
            "names n9, which is not in wnids.txt",
        ),
    ],
)
def test_what_is_missing_or_damaged_is_named(unpacked: Path, harm: object, words: str) -> None:
    harm(unpacked)  # type: ignore[operator]
    with pytest.raises(RequestError, match=words):
        load(tiny(unpacked.parent))


def test_the_first_classes_are_another_data_set(unpacked: Path) -> None:
    found = load(tiny(unpacked, first_classes=2))
    assert found.classes == ("n01", "n02")
    assert found.description.classes == 2
    assert {*found.train.labels, *found.validation.labels, *found.test.labels} == {0, 1}
    assert len(found.test.labels) == 4
    assert [name[-6] for name in found.test.ids] == list("0134")
