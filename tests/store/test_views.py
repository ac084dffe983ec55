import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from repro.protocol.protocols import View
from repro.store import expected, views
from repro.store.expected import Expected
from repro.store.views import Posteriors

VIEW = View("dense", 256, mirrored=False)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where the view of a run lies."""
    (tmp_path / "views").mkdir()
    return views.path(tmp_path, VIEW)


def some(count: int = 6, classes: int = 4, seed: int = 0) -> Posteriors:
    random = np.random.default_rng(seed)
    values = random.dirichlet(np.ones(classes), count).astype(np.float32)
    ids = np.array([f"image-{index}" for index in range(count)])
    return Posteriors(values, random.integers(classes, size=count), ids)


@pytest.mark.parametrize(("classes", "tolerance"), [(10, 0), (100, 0), (101, 5e-3)])
def test_what_is_stored_is_read(file: Path, tmp_path: Path, classes: int, tolerance: float) -> None:
    stored = some(classes=classes)
    file.write_bytes(views.encode(stored))
    read = views.read(tmp_path, VIEW, Expected(6, classes))
    np.testing.assert_allclose(read.posteriors, stored.posteriors, rtol=tolerance)
    assert (read.labels.tolist(), read.ids.tolist()) == (
        stored.labels.tolist(),
        stored.ids.tolist(),
    )


GOOD = {"values": some().posteriors, "labels": some().labels, "ids": some().ids}
NAN = np.where(np.arange(6)[:, None] == 3, np.nan, some().posteriors)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"labels": some().labels + 4}, "labels are"),
        ({"ids": np.array(["same"] * 6)}, "each once"),
        ({"values": NAN}, "not shares that sum to one"),
        ({"values": some(classes=5).posteriors}, "6 images of 5 classes"),
        ({key: value[:3] for key, value in GOOD.items()}, "3 images of 4 classes"),
    ],
)
def test_what_is_not_of_the_images_that_were_tested_is_damaged(
    file: Path, tmp_path: Path, change: dict[str, np.ndarray], says: str
) -> None:
    with pytest.raises(views.Absent, match="is gone"):
        views.read(tmp_path, VIEW, Expected(6, 4))
    parts = GOOD | change
    view = Posteriors(parts["values"], parts["labels"], parts["ids"], seconds=3.0)
    file.write_bytes(views.encode(view))
    assert views.seconds(tmp_path, VIEW, Expected(6, 4)) is None
    with pytest.raises(views.Absent, match=says):
        views.read(tmp_path, VIEW, Expected(6, 4))
    assert views.mean_of(tmp_path, [VIEW], Expected(6, 4)) is None


@pytest.mark.parametrize("classes", [4, 101])
def test_no_bit_can_flip_unnoticed(file: Path, tmp_path: Path, classes: int) -> None:
    whole = views.encode(some(2, classes))
    file.write_bytes(whole)
    tested = Expected(2, classes)
    good, noticed = views.read(tmp_path, VIEW, tested), 0
    for place in range(len(whole)):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << place % 8
        file.write_bytes(flipped)
        # As files that are changed within a tick of the clock never are.
        os.utime(file, ns=(place, place))
        if line := views.damage(file, tested):
            noticed += 1
            assert len(line.splitlines()) == 1
            continue
        # A date, say.
        found = views.read(tmp_path, VIEW, tested)
        for part in ("posteriors", "labels", "ids"):
            assert np.array_equal(getattr(found, part), getattr(good, part))
    assert noticed > len(whole) / 2


def test_an_error_is_a_class_that_is_not_among_the_best_and_a_tie_is_one() -> None:
    rows = [[0.7, 0.2, 0.1], [0.2, 0.7, 0.1], [0.4, 0.4, 0.2], [1 / 3] * 3, [np.nan] * 3]
    values = np.array(rows, dtype=np.float32)
    posteriors = Posteriors(values, np.zeros(5, dtype=np.int64), np.array(list("abcde")))
    assert views.wrong(posteriors, 1).tolist() == [False, True, True, True, True]
    assert views.wrong(posteriors, 2).tolist() == [False, False, False, True, True]


@given(st.permutations(range(6)), st.permutations(range(3)))
def test_the_order_of_images_and_of_views_changes_nothing(
    images: list[int], order: list[int]
) -> None:
    three = [Posteriors(some(seed=s).posteriors, some().labels, some().ids) for s in range(3)]
    shuffled = [Posteriors(v.posteriors[images], v.labels[images], v.ids[images]) for v in three]
    mean = np.mean([view.posteriors for view in three], axis=0)
    result = views.mean([three[order[0]], shuffled[order[1]], shuffled[order[2]]])
    np.testing.assert_allclose(result.posteriors, mean, atol=1e-7)
    other = Posteriors(some().posteriors, some().labels, np.array([f"x{i}" for i in range(6)]))
    with pytest.raises(ValueError, match="different images"):
        views.mean([some(), other])


def test_the_interval_is_wilsons() -> None:
    for count in (0, 1, 10, 99, 100):
        ends = binomtest(count, 100).proportion_ci(0.95, method="wilson")
        found = views.interval(np.arange(100) < count)
        np.testing.assert_allclose(found, (100 * ends.low, count, 100 * ends.high), atol=1e-9)


def test_what_would_take_too_much_memory_is_not_unpacked(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez_compressed(file, posteriors=np.zeros((1000, 1000)))
    monkeypatch.setattr(expected, "LARGEST", 10**6)
    monkeypatch.setattr(np.lib.format, "read_array", lambda *_, **__: pytest.fail("unpacked"))
    assert "expected at most 1,000,000" in views.damaged(tmp_path, Expected(1000, 1000))[0]
