from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from repro.report.intervals import difference, effect, holm

Z = stats.norm.ppf(0.975)


def paired(left_only: int, right_only: int, images: int) -> NDArray[np.float64]:
    """One seed's gaps: so many images that only the left, or only the right side gets wrong."""
    gaps = np.zeros((1, images))
    gaps[0, :left_only] = 1
    gaps[0, left_only : left_only + right_only] = -1
    return gaps


@pytest.mark.parametrize(
    ("left_only", "right_only", "images", "low", "high"),
    [
        # By hand, p~ = 11/502 and 41/502: -30/502, and 1.959964 * sqrt((52/502 - (30/502)^2)/502).
        (10, 40, 500, -8.74257, -3.20962),
        # 9/12 and 1/12: -8/12 and 1.959964 * sqrt((10/12 - (8/12)^2)/12); cut off at -100.
        (0, 8, 10, -100.0, -31.38328),
        # 1/22 and 1/22: none differs.
        (0, 0, 20, -12.59913, 12.59913),
    ],
)
def test_these_nets_by_bonett_and_price(
    left_only: int, right_only: int, images: int, low: float, high: float
) -> None:
    found = difference(paired(left_only, right_only, images))
    interval = found.interval(configuration=False)
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=1e-4)
    assert found.middle == pytest.approx(100 * (left_only - right_only) / images)


def test_the_interaction_counts_once_and_only_for_the_configuration() -> None:
    # Gaps of mu + a_s + b_i + e_si with effects that sum to zero, so that each is known exactly.
    seeds, images = 4, 600
    a, b = np.array([1.0, -1.0, 1.0, -1.0]), np.tile([1.0, -1.0], images // 2)
    e = np.outer([1.0, 1.0, -1.0, -1.0], np.repeat([1.0, -1.0], images // 2))
    found = difference(0.02 + 0.01 * a[:, None] + 0.4 * b + 0.2 * e)
    # The seeds' mean of an image is 0.42 or -0.38: e has gone from it, and a.
    square = (300 * 0.42**2 + 300 * 0.38**2 + 2) / 602
    assert found.over_images == pytest.approx(100 * math.sqrt((square - (12 / 602) ** 2) / 602))
    interaction = 0.2**2 * seeds * images / ((seeds - 1) * (images - 1)) / (seeds * images)
    alone = (found.over_images / 100) ** 2 - interaction
    assert found.images_alone == pytest.approx(100 * math.sqrt(alone), rel=1e-9)
    assert found.half(0.05, configuration=False) == pytest.approx(Z * found.over_images)
    student = stats.t.ppf(0.975, seeds - 1) * found.over_seeds
    assert found.half(0.05, configuration=True) == pytest.approx(
        math.hypot(Z * found.images_alone, student)
    )


def test_the_configuration_is_students_where_images_hardly_matter() -> None:
    gaps = np.repeat([[0.1], [0.2], [0.4]], 100_000, axis=1)
    found = difference(gaps).interval(configuration=True)
    expected = stats.ttest_1samp(100 * gaps.mean(axis=1), 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-2)


def test_nets_that_err_on_the_same_images_are_not_equal_with_certainty() -> None:
    found = difference(np.zeros((3, 200))).interval(configuration=True)
    assert found.low < -1 < 1 < found.high


def test_seeds_that_agree_by_luck_have_the_noise_of_images_at_least() -> None:
    # Each seed errs alone on ten images of either side: no spread, and a noise of 20 images.
    gaps = np.zeros((3, 3000))
    for seed in range(3):
        gaps[seed, 20 * seed : 20 * seed + 10] = 1
        gaps[seed, 20 * seed + 10 : 20 * seed + 20] = -1
    rest = gaps - gaps.mean(axis=0)
    noise = (rest**2).sum() / (2 * 2999) / 3000
    assert difference(gaps).over_seeds == pytest.approx(100 * math.sqrt(noise / 3))


def test_pairs_that_cancel_by_luck_have_their_pooled_spread() -> None:
    # The first pair's effect rises with the seed as the second's falls.
    wrong = np.arange(1000)[None] < np.array([[100], [200], [300]])
    none = np.zeros((3, 1000), dtype=bool)
    pairs = [[(1.0, wrong), (-1.0, none)], [(1.0, wrong[::-1]), (-1.0, none)]]
    found = effect(pairs, odds=False)
    assert found.over_seeds == pytest.approx(math.sqrt(10.0**2 / 2 / 3))


def test_one_seed_says_nothing_about_the_configuration() -> None:
    with pytest.raises(ValueError, match="one seed"):
        difference(paired(1, 2, 50)).interval(configuration=True)


@pytest.mark.parametrize("edge", [-9.0, 0.0, 0.5])
@pytest.mark.parametrize("configuration", [True, False])
def test_at_its_level_the_interval_just_reaches_the_edge(edge: float, configuration: bool) -> None:
    random = np.random.default_rng(0)
    gaps = random.choice([-1.0, 0.0, 1.0], p=[0.1, 0.85, 0.05], size=(4, 300))
    found = difference(gaps)
    p = found.p_value(edge, configuration=configuration)
    half = found.half(p, configuration=configuration)
    assert half == pytest.approx(abs(found.centre - edge), rel=1e-6)


@given(st.integers(0, 2**32), st.integers(2, 4))
def test_the_order_of_images_and_seeds_changes_nothing(seed: int, seeds: int) -> None:
    random = np.random.default_rng(seed)
    gaps = random.choice([-1.0, 0.0, 1.0], size=(seeds, 60))
    shuffled = gaps[random.permutation(seeds)][:, random.permutation(60)]
    one, other = difference(gaps), difference(shuffled)
    for configuration in (True, False):
        first = one.interval(configuration=configuration)
        second = other.interval(configuration=configuration)
        assert (first.low, first.high) == pytest.approx((second.low, second.high))


def test_holm_by_hand() -> None:
    # Sorted: .01 * 4, .012 * 3, .03 * 2 = .06 fails, so the rest fails too.
    assert holm([0.03, 0.01, 0.04, 0.012]) == [False, True, False, True]
    assert holm([]) == []


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize(("images", "spread"), [(10_000, 0.01), (500, 0.01), (500, 0.0)])
def test_the_configurations_interval_covers_what_it_says(
    seeds: int, images: int, spread: float
) -> None:
    """At 11% error; `spread` of the seeds' error rates."""
    random = np.random.default_rng(0)
    trials = 800 if images > 1000 else 3000
    covered = 0
    for _ in range(trials):
        # Images differ in difficulty for all nets alike; each seed's error rate is its own.
        difficulty = random.standard_normal(images)
        rates = np.clip(0.11 + spread * random.standard_normal((2, seeds)), 0.001, None)
        noise = random.standard_normal((2, seeds, images))
        wrong = (0.8 * difficulty + 0.6 * noise) > stats.norm.isf(rates)[..., None]
        interval = difference(wrong[0].astype(float) - wrong[1]).interval(configuration=True)
        covered += interval.low <= 0 <= interval.high
    # With few images the floor under the seeds' noise is cautious: it covers more than 98%.
    assert 0.93 <= covered / trials <= (0.98 if images > 1000 else 1)
