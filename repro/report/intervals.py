"""What a difference between two sides is worth: intervals, power, and many tests at once.

Two nets are compared on the same test images, so a difference is a number for each image, and for
each seed where there are several: a table `gaps` (seeds, images) of left minus right, errors as 0
and 1. Two questions have two intervals:

- *these nets*: only the test images are a sample. Bonett and Price (2012, "Adjusted Wald confidence
  interval for a difference of binomial proportions based on paired data"): two images more, one for
  either side, in the centre and in the variance, else nets that err on the same few images would
  differ by zero with certainty. Several seeds are averaged first. As the interval is centred at the
  adjusted difference, the mean of the gaps is not its middle; an end beyond what a difference can
  be is cut off.
- *the configuration*: what another training would give. Student's interval over the seeds'
  differences, joined with that of the images (the root of the sum of squares of the half-widths).
  The unit is the lineage: a seed's nets start from one another and are compared with each other.
  Where a few seeds happen to lie close together, it can be narrower than the first interval.

A gap is mu + a_s + b_i + e_si: what a seed does, what an image does, and the rest. The spread of
the seeds' means holds a share of e, and so does that of the images' means. The joined interval
takes it once: e's mean square (of the two-way table's residuals) goes from the images' term.

A simulation at 11% error chose the second over a two-way bootstrap, which covers the truth far less
often than it says (`tests/analysis`, slow).
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
    """The ends of a 95% interval."""

    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """Left minus right, in points of error, from (seeds, images) gaps."""

    middle: float
    """The mean of the gaps."""
    centre: float
    """The same with one image more for either side: where the intervals have their centre."""
    over_images: float
    """Standard error over test images, of the mean over the seeds there are."""
    images_alone: float
    """The same without what the seeds' spread holds too."""
    over_seeds: float | None
    """Standard error over seeds; None for one seed."""
    one_pair: float
    """Standard error over test images of a single pair of nets, on the average of the seeds."""
    images: int
    seeds: int
    largest: float
    """What no difference can be above, in points."""

    def half(self, alpha: float, *, configuration: bool) -> float:
        """Half-width of the interval at level 1 - `alpha`, before its ends are cut off.

        Raises:
            ValueError: asked about the configuration with one seed.
        """
        normal = float(stats.norm.ppf(1 - alpha / 2))
        if not configuration:
            return normal * self.over_images
        if self.over_seeds is None:
            raise ValueError("one seed says nothing about the configuration")
        student = float(stats.t.ppf(1 - alpha / 2, self.seeds - 1))
        return math.hypot(normal * self.images_alone, student * self.over_seeds)

    def interval(self, *, configuration: bool) -> Interval:
        """The 95% interval, for these nets or for the configuration."""
        half = self.half(ALPHA, configuration=configuration)
        low, high = self.centre - half, self.centre + half
        return Interval(max(low, -self.largest), min(high, self.largest))

    def p_value(self, edge: float, *, configuration: bool) -> float:
        """The level at which the interval just reaches `edge` (points): small where it is far."""
        distance = abs(self.centre - edge)

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
        left = effect**2 - (quantiles * self.images_alone) ** 2
        if left <= 0 or self.over_seeds is None:
            return None
        spread = self.over_seeds * math.sqrt(self.seeds)
        if spread == 0:
            return 2
        # Cohen's d of more than five needs two seeds whatever it is, and the solver not to fail.
        size = min(math.sqrt(left) / spread, 5.0)
        found = TTestPower().solve_power(effect_size=size, alpha=ALPHA, power=POWER)
        return max(2, math.ceil(float(np.squeeze(found))))


def difference(gaps: NDArray[np.float64], largest: float = 1.0) -> Difference:
    """The difference of two sides.

    Args:
        gaps: (seeds, images), left minus right of each image's error (0 to 1).
        largest: what no gap can be above.
    """
    seeds, images = gaps.shape
    mean = _adjusted(gaps.mean(axis=0))
    variance = _of_mean(mean)
    over_seeds = float(stats.sem(gaps.mean(axis=1))) if seeds > 1 else None
    alone = variance
    if seeds > 1:
        # Not below what nets that err on the same images have, else no length would be left.
        least = _of_mean(_adjusted(np.zeros(images)))
        alone = max(least, variance - _residual(gaps) / (seeds * images))
    pairs = [_of_mean(_adjusted(one)) for one in gaps]
    return Difference(
        middle=100 * float(gaps.mean()),
        centre=100 * float(mean.mean()),
        over_images=100 * math.sqrt(variance),
        images_alone=100 * math.sqrt(alone),
        over_seeds=None if over_seeds is None else 100 * over_seeds,
        one_pair=100 * math.sqrt(float(np.mean(pairs))),
        images=images,
        seeds=seeds,
        largest=100 * largest,
    )


def _adjusted(gaps: NDArray[np.float64]) -> NDArray[np.float64]:
    """With two images more, one that only the left and one that only the right gets wrong."""
    return np.append(gaps, [1.0, -1.0])


def _of_mean(values: NDArray[np.float64]) -> float:
    """The variance of a mean over images, as Bonett and Price have it: divided by n."""
    return float(values.var()) / len(values)


def _residual(gaps: NDArray[np.float64]) -> float:
    """The mean square of what neither a seed nor an image explains, of two seeds or more."""
    seeds, images = gaps.shape
    rest = gaps - gaps.mean(axis=1, keepdims=True) - gaps.mean(axis=0) + gaps.mean()
    return float((rest**2).sum() / ((seeds - 1) * max(1, images - 1)))


def holm(p_values: Sequence[float]) -> list[bool]:
    """Which of several tests hold at 5% together (Holm, 1979)."""
    if not p_values:
        return []
    return [bool(holds) for holds in multipletests(p_values, alpha=ALPHA, method="holm")[0]]
