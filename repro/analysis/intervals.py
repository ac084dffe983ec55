"""What a difference between two sides is worth: intervals, power, and many tests at once.

Two nets are compared on the same test images, so a difference is a number for each image, and for
each seed where there are several: a table `gaps` (seeds, images) of left minus right, errors as 0
and 1. Two questions have two intervals:

- *these nets*: only the test images are a sample. After Bonett and Price (2012, "Adjusted Wald
  confidence interval for a difference of binomial proportions based on paired data"): two images
  more, one for either side, else nets that err on the same few images would differ by zero with
  certainty.
- *the configuration*: what another training would give. Student's interval over the seeds'
  differences, joined with that of the images (the root of the sum of squares of the half-widths).
  The unit is the lineage: a seed's nets start from one another and are compared with each other.

A simulation at 11% error, 10,000 images and a seed spread of one point chose the second over a
two-way bootstrap, which covers the truth far less often than it says (`tests/analysis`, slow).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

ALPHA = 0.05
POWER = 0.8


@dataclass(frozen=True)
class Interval:
    """A difference and its 95% interval, all in points."""

    middle: float
    low: float
    high: float

    @property
    def half(self) -> float:
        """Half of its length."""
        return (self.high - self.low) / 2


@dataclass(frozen=True)
class Difference:
    """Left minus right, in points of error, from (seeds, images) gaps."""

    middle: float
    over_images: float
    """Standard error over test images, of the mean over the seeds there are."""
    over_seeds: float | None
    """Standard error over seeds; None for one seed."""
    one_pair: float
    """Standard error over test images of a single pair of nets, on the average of the seeds."""
    images: int
    seeds: int

    def half(self, alpha: float, *, configuration: bool) -> float:
        """Half-width of the interval at level 1 - `alpha`.

        Raises:
            ValueError: asked about the configuration with one seed.
        """
        images = float(stats.norm.ppf(1 - alpha / 2)) * self.over_images
        if not configuration:
            return images
        if self.over_seeds is None:
            raise ValueError("one seed says nothing about the configuration")
        return math.hypot(
            images, float(stats.t.ppf(1 - alpha / 2, self.seeds - 1)) * self.over_seeds
        )

    def interval(self, *, configuration: bool) -> Interval:
        """The 95% interval, for these nets or for the configuration."""
        half = self.half(ALPHA, configuration=configuration)
        return Interval(self.middle, self.middle - half, self.middle + half)

    def p_value(self, edge: float, *, configuration: bool) -> float:
        """The level at which the interval just reaches `edge` (points): small where it is far."""
        distance = abs(self.middle - edge)

        def missing(alpha: float) -> float:
            return self.half(alpha, configuration=configuration) - distance

        smallest = 1e-12
        if missing(smallest) <= 0:
            return smallest
        if distance == 0:
            return 1.0
        return float(optimize.brentq(missing, smallest, 1.0))

    def images_for(self, effect: float) -> int | None:
        """Test images that show `effect` (points) between two given nets with 80% power."""
        if not effect:
            return None
        quantiles = float(stats.norm.ppf(1 - ALPHA / 2) + stats.norm.ppf(POWER))
        return math.ceil(self.images * (quantiles * self.one_pair / effect) ** 2)

    def seeds_for(self, effect: float) -> int | None:
        """Seeds that show `effect` (points) between configurations with 80% power on these images.

        None where the images alone hide it, or nothing is known of the seeds.
        """
        quantiles = float(stats.norm.ppf(1 - ALPHA / 2) + stats.norm.ppf(POWER))
        left = effect**2 - (quantiles * self.over_images) ** 2
        if left <= 0 or self.over_seeds is None:
            return None
        spread = self.over_seeds * math.sqrt(self.seeds)
        if spread == 0:
            return 2
        # Cohen's d of more than five needs two seeds whatever it is, and the solver not to fail.
        size = min(math.sqrt(left) / spread, 5.0)
        found = TTestPower().solve_power(effect_size=size, alpha=ALPHA, power=POWER)
        return max(2, math.ceil(float(np.squeeze(found))))


def difference(gaps: NDArray[np.float64]) -> Difference:
    """The difference of two sides.

    Args:
        gaps: (seeds, images), left minus right of each image's error (0 to 1).
    """
    seeds, images = gaps.shape
    pairs = np.hstack([gaps, np.repeat([[1.0, -1.0]], seeds, axis=0)])
    over_seeds = float(stats.sem(gaps.mean(axis=1))) if seeds > 1 else None
    return Difference(
        100 * float(gaps.mean()),
        100 * float(stats.sem(np.append(gaps.mean(axis=0), [1.0, -1.0]))),
        None if over_seeds is None else 100 * over_seeds,
        100 * float(np.sqrt(np.mean(stats.sem(pairs, axis=1) ** 2))),
        images,
        seeds,
    )


def holm(p_values: Sequence[float]) -> list[bool]:
    """Which of several tests hold at 5% together (Holm, 1979)."""
    if not p_values:
        return []
    return [bool(holds) for holds in multipletests(p_values, alpha=ALPHA, method="holm")[0]]
