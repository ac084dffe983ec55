"""The target sets of Appendix B: which images train and test, and what is refused in a line."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from repro.data.targets import target
from repro.protocol.measures import FIT, HELD_OUT, TEST
from tests.data.conftest import data, save
from tests.data.test_folders import look, refused

GOLDEN = Path(__file__).parents[1] / "golden"


def caltech(root: Path, name: str = "caltech101", **counts: int) -> Path:
    folder = root / name / f"{name[-3:]}_ObjectCategories"
    for kind, count in counts.items():
        for n in range(count):
            save(folder / kind / f"image_{n:04d}.jpg", 4, 4)
    return root


def test_splits_of_caltech_are_disjoint_and_follow_from_ids_alone(tmp_path: Path) -> None:
    root = caltech(tmp_path, BACKGROUND_Google=33, ant=90, bee=40)
    source = look(root, "caltech101", transfer=True, test_only=True)
    assert source.classes == ("BACKGROUND_Google", "ant", "bee")
    assert not len(source.train.ids) + len(source.validation.ids)
    every, ids = source.test, np.array(source.test.ids)
    parts = target(data("caltech101", root)).parts(data("caltech101", root), every)
    assert parts.shape == (3, 163)
    for split, row in enumerate(parts):
        for label, tested in ((0, 3), (1, 50), (2, 10)):
            own = every.labels == label
            assert [(row[own] == part).sum() for part in (FIT, HELD_OUT, TEST)] == [24, 6, tested]
        drawn = ids[(every.labels == 1) & (row == HELD_OUT)]
        keys = {i: hashlib.sha256(f"0 {split} {i}".encode()).digest() for i in ids[33:123]}
        assert set(drawn) == set(sorted(keys, key=keys.__getitem__)[:6])
    assert len({row.tobytes() for row in parts}) == 3
    other = data("caltech101", root, split=1)
    assert not np.array_equal(parts, target(other).parts(other, every))
    fewer = look(root, "caltech101", transfer=True, test_only=True, background=False)
    assert fewer.classes == ("ant", "bee")
    assert fewer.test.labels.tolist() == [0] * 90 + [1] * 40


def test_caltech256_trains_on_sixty_and_tests_on_all_others(tmp_path: Path) -> None:
    root = caltech(tmp_path, "caltech256", **{"001.ak47": 130, "257.clutter": 61})
    every = look(root, "caltech256", transfer=True, test_only=True).test
    parts = target(data("caltech256", root)).parts(data("caltech256", root), every)
    assert (parts == TEST).sum(axis=1).tolist() == [71] * 3


def voc(root: Path, year: int = 2007, parts: tuple[str, str] = ("trainval", "test")) -> Path:
    """Five photographs to train and four to test, of two classes, in VOC's layout."""
    folder = root / "VOCdevkit" / f"VOC{year}"
    lists = {parts[0]: ("1 -1 0 1 -1", "-1 1 1 -1 0"), parts[1]: ("-1 1 0 -1", "1 -1 -1 1")}
    first = 1
    for part, rows in lists.items():
        for kind, row in zip(("cat", "dog"), rows, strict=True):
            file = folder / "ImageSets" / "Main" / f"{kind}_{part}.txt"
            file.parent.mkdir(parents=True, exist_ok=True)
            lines = [f"{first + n:06d} {value:>2}\r\n" for n, value in enumerate(row.split())]
            file.write_text("".join(lines))
        for n in range(len(row.split())):
            save(folder / "JPEGImages" / f"{first + n:06d}.jpg", 4, 4, seed=300 + first + n)
        first += 10
    return root


@pytest.mark.parametrize(
    ("year", "lists"), [(2007, ("trainval", "test")), (2012, ("train", "val"))]
)
def test_voc_is_as_its_lists_say(tmp_path: Path, year: int, lists: tuple[str, str]) -> None:
    root, name = voc(tmp_path, year, lists), f"voc{year}"
    source = look(root, name, transfer=True, test_only=True)
    assert source.classes == ("cat", "dog")
    assert [Path(i).stem for i in source.test.ids] == [
        f"{n:06d}" for n in (1, 2, 3, 4, 5, 11, 12, 13, 14)
    ]
    assert source.test.labels[:, 0].tolist() == [1, -1, 0, 1, -1, -1, 1, 0, -1]
    (parts,) = target(data(name, root)).parts(data(name, root), source.test)
    assert (parts == TEST).tolist() == [False] * 5 + [True] * 4
    assert sorted(parts[:5]) == [FIT] * 4 + [HELD_OUT]


def test_vocs_own_lists_of_2007_are_read_as_published(tmp_path: Path) -> None:
    """The 20 lists of its test, beside two made-up images that train."""
    lists = pd.read_csv(GOLDEN / "voc2007-test.csv.xz", dtype={"id": str}, index_col="id")
    folder = tmp_path / "VOCdevkit" / "VOC2007"
    main = folder / "ImageSets" / "Main"
    for place in (folder / "JPEGImages", main):
        place.mkdir(parents=True)
    for kind, labels in lists.items():
        rows = [f"{name} {label:>2}\n" for name, label in labels.items()]
        (main / f"{kind}_test.txt").write_text("".join(rows))
        (main / f"{kind}_trainval.txt").write_text("000005  1\n000007  1\n")
    for name in ("000005", "000007", *lists.index):
        (folder / "JPEGImages" / f"{name}.jpg").touch()
    wanted = data("voc2007", tmp_path)
    every = target(wanted).read(wanted).test
    (parts,) = target(wanted).parts(wanted, every)
    labels = every.labels[parts == TEST]
    assert [(labels == value).sum() for value in (1, 0, -1)] == [7_013, 619, 91_408]
    # The images of each class in the database statistics of VOC-2007.
    published = [204, 239, 282, 172, 212, 174, 721, 322, 417, 127]
    published += [190, 418, 274, 222, 2007, 224, 97, 223, 259, 229]
    assert (labels == 1).sum(axis=0).tolist() == published


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("JPEGImages/000012.jpg", None, "000012.jpg"),
        ("ImageSets/Main/dog_test.txt", None, "two classes"),
        ("ImageSets/Main/dog_trainval.txt", "000001 1\n", "cat_trainval.txt lists other images"),
        ("ImageSets/Main/cat_test.txt", "000011 -1\n000012 -1\n", "cat_test.txt"),
        ("ImageSets/Main/cat_test.txt", "000011 yes\n", "cat_test.txt"),
        ("ImageSets/Main/eel_test.txt", "000011 1\n000012 -1\n000013 -1\n000014 -1\n", "class eel"),
    ],
)
def test_lists_that_are_not_vocs_are_a_line(
    tmp_path: Path, file: str, content: str | None, message: str
) -> None:
    place = voc(tmp_path) / "VOCdevkit" / "VOC2007" / file
    if content is None:
        place.unlink()
    else:
        place.write_text(content)
    assert message in refused(tmp_path, "voc2007", transfer=True, test_only=True)


def test_what_cannot_be_split_is_a_line(tmp_path: Path) -> None:
    assert "of them train" in refused(
        caltech(tmp_path, ant=31, bee=30), transfer=True, test_only=True, name="caltech101"
    )
    assert "ObjectCategories" in refused(tmp_path, "caltech256", transfer=True, test_only=True)
    assert "no target set" in refused(tmp_path, "mnist", transfer=True, test_only=True)
    assert "test=[transfer_averaged]" in refused(tmp_path, "voc2007")
