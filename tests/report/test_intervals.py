import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from repro.report.intervals import Effect, effect, holm

Z = stats.norm.ppf(0.975)


def difference(gaps: NDArray[np.float64]) -> Effect:
    """The effect in points whose gaps (seeds, images), of -1, 0 or 1, are these."""
    return effect([[(1.0, gaps > 0), (-1.0, gaps < 0)]], odds=False)


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
