"""What is found in folders of image files, how they are split, and what of them is refused."""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from torchvision.datasets import ImageFolder

from repro.data import sources
from repro.data.split import Source
from repro.errors import RequestError
from tests.data.conftest import counts, data, fill, save

TWO = {"cat": 10, "dog": 20}
ONE = {"a": 1, "b": 1}
THREE = {"n0": 5, "n1": 5, "n2": 5}
NAMES = ("n01", "n02", "n03")


def look(root: Path, name: str = "imagefolder", **changes: object) -> Source:
    """A data set as a run loads it, after it was checked."""
    sources._checked.cache_clear()
    wanted, cache = data(name, root, **({"classes": None} | changes)), root / ".cache"
    description = sources.check(wanted, cache, progress=False)
    source = sources.load(wanted, cache)
    assert source.description == description
    return source


def refused(root: Path, name: str = "imagefolder", **changes: object) -> str:
    with pytest.raises(RequestError) as caught:
        look(root, name, **changes)
    text = str(caught.value)
    text.encode()
    assert "\n" not in text
    return text


def ids(source: Source) -> set[str]:
    return {name for part in source.parts for name in part.ids}


@pytest.mark.parametrize("name", ["imagefolder", "imagenet"])
def test_a_fingerprint_is_the_hash_of_all_names_and_sizes(tmp_path: Path, name: str) -> None:
    root = fill(tmp_path, train=THREE, val=THREE)
    save(root / "train" / "n1" / "\u00e9.png", 9, 9)
    files = [path for part in ("train", "val") for path in (root / part).rglob("*.png")]
    # What is validated and tested on stands there twice.
    files += [path for path in files if name == "imagenet" and "val" in path.parts]
    rows = sorted((path.relative_to(root).as_posix(), path.stat().st_size) for path in files)
    expected = hashlib.sha256(json.dumps(rows).encode()).hexdigest()
    assert look(root, name).description.fingerprint == expected


def test_the_images_are_those_that_torchvision_finds(tmp_path: Path) -> None:
    root = fill(tmp_path, train=THREE, test=THREE)
    save(root / "train" / "n1" / "more" / "deep" / "x.jpg", 9, 9)
    save(root / "elsewhere" / "y.png", 9, 9)
    (root / "train" / "n2" / "link").symlink_to(root / "elsewhere")
    theirs = {os.path.relpath(path, root) for path, _ in ImageFolder(root / "train").samples}
    found = look(root)
    assert ids(found) - set(found.test.ids) == theirs
    assert {"train/n1/more/deep/x.jpg", "train/n2/link/y.png"} < theirs
    # torchvision does not know this ending.
    save(root / "train" / "n0" / "z.JFIF", 9, 9)
    assert ids(look(root)) - ids(found) == {"train/n0/z.JFIF"}


@pytest.mark.parametrize(
    ("sets", "expected"),
    [
        (["val"], [{0: 9, 1: 18}, {0: 1, 1: 2}, {0: 3, 1: 4}]),
        (["test"], [{0: 9, 1: 18}, {0: 1, 1: 2}, {0: 3, 1: 4}]),
        (["valid", "test"], [{0: 10, 1: 20}, {0: 3, 1: 4}, {0: 3, 1: 4}]),
        ([], [{0: 8, 1: 16}, {0: 1, 1: 2}, {0: 1, 1: 2}]),
    ],
)
def test_what_stands_beside_the_training_images_is_tested_on(
    tmp_path: Path, sets: list[str], expected: list[dict[int, int]]
) -> None:
    source = look(fill(tmp_path, train=TWO, **{name: {"cat": 3, "dog": 4} for name in sets}))
    assert counts(source) == expected
    assert all(name.startswith(sets[-1] if sets else "train") for name in source.test.ids)


def test_a_flat_folder_is_split_as_a_line_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(tmp_path, flat={"a": 20, "b": 20})
    found = look(tmp_path / "flat")
    assert found.classes == ("a", "b")
    assert counts(found) == [{0: n, 1: n} for n in (16, 2, 2)]
    said = capsys.readouterr().err
    assert said.count("has no train/") == 1
    assert "10%" in said
    with pytest.raises(RequestError, match="class c has too few"):
        look(fill(tmp_path / "few", flat={"a": 20, "c": 5}) / "flat")


def test_imagenet_is_tested_on_its_validation_images(tmp_path: Path) -> None:
    source = look(fill(tmp_path, train=THREE, val=THREE), "imagenet")
    assert source.validation_is_test
    assert source.validation is source.test
    assert "data.classes=1000" in refused(tmp_path, "imagenet", classes=1000)


def test_folders_that_do_not_hold_what_they_must(tmp_path: Path) -> None:
    cases = {
        "train is missing": fill(tmp_path / "1", val={"a": 1}),
        "one class": fill(tmp_path / "2", train={"a": 10}),
        "val/c is a class that train/": fill(tmp_path / "3", train=ONE, val={**ONE, "c": 1}),
        "test/b is missing": fill(tmp_path / "6", train=ONE, test={"a": 1}),
        "b holds no image": fill(tmp_path / "4", train={"a": 3, "b": 0}),
        "no image for the validation": fill(tmp_path / "5", train=ONE, val=ONE),
        "both val/ and valid/": fill(tmp_path / "7", train=ONE, val=ONE, valid=ONE),
        "has Val/": fill(tmp_path / "8", train=ONE, Val=ONE),
        "has Testing/": fill(tmp_path / "9", Training=ONE, Testing=ONE),
    }
    for words, root in cases.items():
        assert words in refused(root)


def test_the_first_classes_need_images_in_each_set(tmp_path: Path) -> None:
    root = fill(tmp_path, train={"a": 1, "b": 1, "c": 10}, test={"a": 2, "b": 2, "c": 2})
    assert len(look(root).validation.ids) == 1
    assert "no image for the validation set" in refused(root, first_classes=2)


def test_a_class_of_which_nothing_decodes_is_named(tmp_path: Path) -> None:
    root = fill(tmp_path, train=THREE, test=THREE)
    for file in (root / "train" / "n1").iterdir():
        file.write_text("no image")
    said = refused(root, on_bad_image="skip")
    assert "class n1" in said
    assert "training" in said


@pytest.mark.parametrize("kind", ["nowhere", "around", "pipe", "not UTF-8", "lines", "HEIC"])
def test_what_is_no_image_file_nor_folder_is_named(tmp_path: Path, kind: str) -> None:
    root = fill(tmp_path, train=THREE)
    place = root / "train" / "n1" / ("odd" if kind == "around" else "odd.png")
    if kind == "pipe":
        os.mkfifo(place)
    elif kind == "HEIC":
        place.with_suffix(".HEIC").touch()
    elif kind == "not UTF-8":
        os.rename(place.with_name("3.png"), os.fsencode(place.parent) + b"/\xe9odd.png")
    elif kind == "lines":
        place.with_name("3.png").rename(place.with_name("odd\n.png"))
    else:
        place.symlink_to(root / "no.png" if kind == "nowhere" else place.parent)
    assert "odd" in refused(root)


@pytest.mark.parametrize("name", ["cifar10", "tiny_imagenet"])
def test_a_root_that_nothing_can_be_fetched_into(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("mine")
    for root in (tmp_path / "file", tmp_path / "file" / "deeper"):
        assert f"{tmp_path}/file is a file" in refused(root, name)
    before = sorted(tmp_path.iterdir())
    sources.check(data(name, tmp_path / "new" / "er"), tmp_path)
    assert sorted(tmp_path.iterdir()) == before, "nothing is left by having tried"


def test_files_that_do_not_decode_are_named_or_left_out_and_looked_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = fill(tmp_path, train=TWO, test=TWO)
    whole = look(root, verify=True).description
    bad = {"train/dog/7.png", "test/cat/2.png"}
    for name in bad:
        # Names and sizes are as they were, so only decoding them can tell.
        (root / name).write_bytes(b"?" * (root / name).stat().st_size)
    assert any(name in refused(root, verify=True) for name in bad)
    assert look(root, verify=False).description.fingerprint == whole.fingerprint
    sources._checked.cache_clear()
    skipping = data("imagefolder", root, on_bad_image="skip")
    found = sources.check(skipping, root / ".cache", progress=False)
    assert found.fingerprint != whole.fingerprint, "other images are another data set"
    monkeypatch.setattr("repro.data.sources.decode", lambda *_: pytest.fail("decoded again"))
    source = sources.load(skipping, root / ".cache")
    assert source.description.left_out == 2
    assert len(ids(source)) == 58
    assert not ids(source) & bad


def test_caltech101_by_appendix_b(tmp_path: Path) -> None:
    root = tmp_path / "caltech101" / "101_ObjectCategories"
    for name, count in (("BACKGROUND_Google", 35), ("ant", 90), ("Bee", 33)):
        for n in range(count):
            save(root / name / f"image_{n:04d}.jpg", 4, 4)
    first, second = (look(tmp_path, "caltech101", split=n) for n in (0, 1))
    assert first.classes == ("Bee", "ant")
    for source in (first, second):
        assert counts(source) == [{0: 24, 1: 24}, {0: 6, 1: 6}, {0: 3, 1: 50}]
        labels = dict(zip(source.train.ids, source.train.labels, strict=True))
        assert all(name.startswith(("Bee", "ant")[label]) for name, label in labels.items())
    assert first.train.ids != second.train.ids
    assert "data.classes=101" in refused(tmp_path, "caltech101", classes=101)


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """Tiny ImageNet: of each of three classes 20 training images and two validation images."""
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
    return root


@pytest.mark.parametrize("inside", [True, False])
def test_tiny_imagenets_sets_and_labels(tiny: Path, inside: bool) -> None:
    found = look(tiny.parent if inside else tiny, "tiny_imagenet")
    assert found.classes == NAMES
    assert found.description.fingerprint, "what is not whole is told from what was published"
    assert counts(found) == [dict.fromkeys(range(3), n) for n in (19, 1, 2)]
    for part in (found.train, found.validation):
        for name, label in zip(part.ids, part.labels, strict=True):
            kind, number = Path(name).stem.split("_")
            assert name == f"train/{kind}/images/{kind}_{number}.JPEG"
            assert NAMES[label] == kind
    assert list(found.test.ids) == [f"val/images/val_{n}.JPEG" for n in range(6)]
    assert found.test.images[0].shape == (3, 8, 8), "grey files become colour"
    fewer = look(tiny, "tiny_imagenet", first_classes=2)
    assert (fewer.classes, fewer.description.classes) == (("n01", "n02"), 2)
    assert counts(fewer) == [{0: n, 1: n} for n in (19, 1, 2)]


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda root: (root / "wnids.txt").unlink(), "wnids.txt is not as"),
        (lambda root: (root / "val/images/val_3.JPEG").unlink(), "val_3.JPEG cannot be looked at"),
        (lambda root: (root / "val/val_annotations.txt").write_text("a\tn1\n"), "has not 6 fields"),
        (
            lambda root: (root / "val/val_annotations.txt").write_text("a\tn9\t1\t2\t3\t4\n"),
            "names n9, which is not in wnids.txt",
        ),
    ],
)
def test_what_tiny_imagenet_lacks_is_named(
    tiny: Path, harm: Callable[[Path], object], words: str
) -> None:
    harm(tiny)
    assert words in refused(tiny.parent, "tiny_imagenet")
