"""Data sets: what is checked before work starts, how images are split, and how sets are fetched."""

import hashlib
import os
import struct
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from repro.config.schema import Data
from repro.data import datasets, sources
from repro.data.datasets import DataSet
from repro.data.images import ArrayImages, FileImages
from repro.data.sources import check
from repro.data.split import Source, Split
from repro.errors import RunError
from repro.run.interruption import Interrupted
from tests.data.conftest import arrays, counts, data

DIGITS = "3d8f3cd6b1ecbaef5507b76a4fedc759"
"""MD5 of the pixels of the 5,000 digits, in order."""


def load(data: Data) -> Source:
    return sources.load(data, Path(os.devnull, "no cache is needed"))


def test_the_embedded_digits(tmp_path: Path) -> None:
    assert check(data("mnist5k"), tmp_path).classes == 10
    source = load(data("mnist5k"))
    assert counts(source) == [dict.fromkeys(range(10), n) for n in (400, 50, 50)]
    pixels = np.zeros((5000, 1, 28, 28), dtype=np.uint8)
    for part in source.parts:
        assert isinstance(part.images, ArrayImages)
        index = np.array([int(name) for name in part.ids])
        assert np.array_equal(part.labels, index // 500)
        pixels[index] = part.images.array.numpy()
    assert hashlib.md5(pixels.tobytes()).hexdigest() == DIGITS
    other = load(data("mnist5k", split=1, holdout=0.2))
    assert counts(other) == [dict.fromkeys(range(10), n) for n in (300, 100, 100)]
    assert not np.array_equal(other.test.ids[:500], source.test.ids)


def test_training_on_more_images_than_there_are_and_on_one_class_is_refused() -> None:
    assert len(arrays(9).trained_on(None).ids) == 9
    assert len(arrays(9).trained_on(4).ids) == 4
    for count, why in ((10, "there are 9"), (1, "one class")):
        with pytest.raises(RunError, match=why):
            arrays(9).trained_on(count)


def idx(array: np.ndarray) -> bytes:
    shape = struct.pack(f">{array.ndim}I", *array.shape)
    return bytes([0, 0, 8, array.ndim]) + shape + array.tobytes()


def test_mnist_is_read_where_torchvision_keeps_it_and_no_other_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    random = np.random.default_rng(0)
    images, sums = {}, []
    for part, count in (("train", 200), ("t10k", 50)):
        images[part] = random.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        for kind, array in (("images-idx3", images[part]), ("labels-idx1", labels)):
            (raw / f"{part}-{kind}-ubyte").write_bytes(idx(array))
            sums.append(hashlib.md5(idx(array)).hexdigest())
    assert check(data("mnist", tmp_path), tmp_path).fingerprint == ""
    with pytest.raises(RunError, match="MNIST in .* not those that were published"):
        load(data("mnist", tmp_path))
    monkeypatch.setitem(datasets.MD5, "MNIST", tuple(sums))
    source = load(data("mnist", tmp_path, holdout=0.25))
    assert [sum(of.values()) for of in counts(source)] == [150, 50, 50]
    for name, image in zip(source.train.ids, source.train.images.array, strict=True):  # type: ignore[attr-defined]
        assert np.array_equal(image[0].numpy(), images["train"][int(name.removeprefix("train/"))])


@pytest.mark.parametrize("name", ["cifar10", "imagenette"])
def test_a_failed_download_ends_the_run_and_not_the_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def no_network(*_: object, **__: object) -> None:
        raise OSError("no route to host,\nreally")

    monkeypatch.setattr("torchvision.datasets.CIFAR10.download", no_network)
    monkeypatch.setattr("torchvision.datasets.Imagenette._download", no_network)
    assert check(data(name, tmp_path), tmp_path).classes == 10
    with pytest.raises(RunError, match="no route") as caught:
        load(data(name, tmp_path))
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def fetch(root: Path) -> None:
    (root / "set" / "raw").mkdir(parents=True)
    for name in "ab":
        (root / "set" / "raw" / name).write_text(name)


def get(root: Path, how: object = fetch, said: list[str] | None = None) -> set[str]:
    """What is there once the set has been fetched into `root`."""
    kind = DataSet(None, folder="set/raw", bring=how)  # type: ignore[arg-type]
    kind.fetch(Data("set", 3, True, root=str(root)), (said or []).append, lambda: None)
    return {path.name for path in (root / "set" / "raw").iterdir()}


@pytest.mark.parametrize("ending", [OSError("no route"), Interrupted(), KeyboardInterrupt()])
def test_a_part_is_never_taken_for_the_whole(tmp_path: Path, ending: BaseException) -> None:
    def breaks_off(root: Path) -> None:
        fetch(root)
        (root / "set" / "raw" / "b").unlink()
        raise ending

    with pytest.raises(RunError if isinstance(ending, OSError) else type(ending)):
        get(tmp_path, breaks_off)
    assert not (tmp_path / "set").exists()
    assert get(tmp_path) == {"a", "b"}
    assert not list(tmp_path.glob(".fetching*"))


def test_one_fetches_and_the_others_wait(tmp_path: Path) -> None:
    said, calls, found = ["."], list[int](), list[set[str]]()

    def slowly(root: Path) -> None:
        calls.append(1)
        time.sleep(0.5)
        fetch(root)

    def takes_part() -> None:
        found.append(get(tmp_path, slowly, said))

    threads = [threading.Thread(target=takes_part) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert calls == [1]
    assert found == [{"a", "b"}] * 3
    assert said == [".", *["another process fetches set; waiting"] * 2]


def held(labels: list[int], share: float, seed: int) -> tuple[list[int], list[int]]:
    """The numbers of the images that stay and of those held out."""
    ids = [str(number) for number in range(len(labels))]
    split = Split(FileImages(ids, 3), np.array(labels, dtype=np.int64), ids)
    stay, out = split.held_out(share, seed)
    return [int(number) for number in stay.ids], [int(number) for number in out.ids]


@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=60), st.floats(0.01, 0.49), st.integers(0, 9)
)
def test_holding_out_splits_every_class(labels: list[int], share: float, seed: int) -> None:
    stay, out = held(labels, share, seed)
    assert sorted([*stay, *out]) == list(range(len(labels)))
    for label, members in Counter(labels).items():
        expected = 0 if members == 1 else max(1, round(share * members))
        assert sum(labels[number] == label for number in out) == expected
    assert held(labels, share, seed)[1] == out
