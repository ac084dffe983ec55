"""The worth of a difference between two sides: its intervals, its verdict, many tests at once.

An effect is a weighted sum over test errors, in points or in log-odds, log(e / (1 - e)). It has a
gap for each seed and image: the sum of weight * slope * error (0 or 1), the slope that of the
log-odds at the mean error. docs/statistics.md derives the two intervals from these.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

ALPHA = 0.05
REPRODUCED, CONTRADICTED = "reproduced", "contradicted"
UNDECIDED, UNTESTABLE = "not decided", "not testable here"
VERDICTS = (REPRODUCED, CONTRADICTED, UNDECIDED, UNTESTABLE)
Edges = tuple[float, float]
"""The two effects between which a claim holds; one may be infinite."""
Floats = NDArray[np.float64]
Term = tuple[float, NDArray[np.bool_]]
"""A weight, and the errors (seeds, images) of one net tested in one way."""


def student(deviation: float, count: int) -> float:
    """Half-width of Student's 95% interval of the mean of so many numbers of this deviation."""
    # Loaded where it is needed: it takes longer than the rest of a small report.
    from scipy.special import stdtrit

    return float(stdtrit(count - 1, 1 - ALPHA / 2) * deviation / count**0.5)


class Interval(NamedTuple):
    """The ends of a 95% interval."""

    low: float
    high: float


@dataclass(frozen=True)
class Effect:
    """Left minus right, in points of error or in log-odds, with standard errors (nan: not known).

    `middle` is in points the mean of the gaps, in log-odds the intervals' `centre`, which has an
    image more for either side. `images_alone` is `over_images` without what the seeds' spread holds
    too. No effect can be above `largest`.
    """

    middle: float
    centre: float
    over_images: float
    images_alone: float
    over_classes: float
    over_seeds: float
    images: int
    classes: int
    seeds: int
    largest: float

    def half(self, alpha: float, *, configuration: bool, by_class: bool = False) -> float:
        """Half-width of the interval at level 1 - `alpha`; a configuration has several seeds."""
        from scipy.special import ndtri, stdtrit

        alone = self.images_alone if configuration else self.over_images
        images = -float(ndtri(alpha / 2)) * alone
        if by_class:
            images = -float(stdtrit(self.classes - 1, alpha / 2)) * self.over_classes
        if not configuration:
            return images
        return math.hypot(images, float(stdtrit(self.seeds - 1, alpha / 2)) * self.over_seeds)

    def interval(self, *, configuration: bool, by_class: bool = False) -> Interval:
        """The 95% interval, for these nets or for the configuration."""
        half = self.half(ALPHA, configuration=configuration, by_class=by_class)
        low, high = self.centre - half, self.centre + half
        return Interval(max(low, -self.largest), min(high, self.largest))

    def p_value(self, edge: float, *, configuration: bool) -> float:
        """The level at which the interval just reaches `edge`: small where it is far."""
        from scipy.optimize import brentq

        distance, smallest = abs(self.centre - edge), 1e-12

        def missing(alpha: float) -> float:
            return self.half(alpha, configuration=configuration) - distance

        if missing(smallest) <= 0:
            return smallest
        return float(brentq(missing, smallest, 1.0)) if distance else 1.0


def effect(
    pairs: Sequence[Sequence[Term]], *, odds: bool, classes: NDArray[np.int64] | None = None
) -> Effect:
    """The effect that is averaged over pairs of terms; `classes` (images,): of each, if known."""
    each, middles, centres, ends = zip(*(_gaps(terms, odds) for terms in pairs), strict=True)
    by_pair, more, centre = np.array(each), np.array(ends).mean(axis=0), float(np.mean(centres))
    gaps = by_pair.mean(axis=0)
    seeds, images = gaps.shape
    variance = _of_mean(gaps.mean(axis=0), more)
    alone, over_seeds = variance, math.nan
    if seeds > 1:
        # The mean square of what neither a seed nor an image explains.
        rest = gaps - gaps.mean(axis=1, keepdims=True) - gaps.mean(axis=0) + gaps.mean()
        square = float((rest**2).sum() / ((seeds - 1) * max(1, images - 1)))
        # Not below what nets that err on the same images have, else no length would be left.
        alone = max(_of_mean(np.zeros(images), more), variance - square / (seeds * images))
        own = float(gaps.mean(axis=1).var(ddof=1))
        pooled = float(by_pair.mean(axis=2).var(axis=1, ddof=1).mean()) / len(by_pair)
        over_seeds = math.sqrt(max(own, pooled, square / images) / seeds)
    over_classes, count = math.nan, 0
    if classes is not None:
        over_classes, count = _over_classes(gaps.mean(axis=0), classes)
    return Effect(
        middle=centre if odds else float(np.mean(middles)),
        centre=centre,
        over_images=math.sqrt(variance),
        images_alone=math.sqrt(alone),
        over_classes=over_classes,
        over_seeds=over_seeds,
        images=images,
        classes=count,
        seeds=seeds,
        largest=math.inf if odds else 100 * sum(weight for weight, _ in pairs[0] if weight > 0),
    )


def _gaps(terms: Sequence[Term], odds: bool) -> tuple[Floats, float, float, Floats]:
    """Gaps (seeds, images), their mean, the centre, and the gaps of the two images more."""
    gaps: Floats = np.zeros(terms[0][1].shape)
    middle, centre, more = 0.0, 0.0, np.zeros(2)
    for weight, wrong in terms:
        images, error = wrong.shape[1], float(wrong.mean())
        adjusted = (error * images + 1) / (images + 2)
        slope = 1 / (adjusted * (1 - adjusted)) if odds else 100.0
        gaps += weight * slope * wrong
        middle += weight * 100 * error
        centre += weight * (math.log(adjusted / (1 - adjusted)) if odds else 100 * adjusted)
        more[int(weight < 0)] += weight * slope
    return gaps, middle, centre, more


def _of_mean(gaps: Floats, more: Floats) -> float:
    """The variance of a mean over images and the two more, as Bonett and Price have it."""
    return float(np.append(gaps, more).var()) / (len(gaps) + 2)


def _over_classes(gaps: Floats, classes: NDArray[np.int64]) -> tuple[float, int]:
    """Standard error of the mean where whole classes are drawn (nan for one), and their number."""
    _, place = np.unique(classes, return_inverse=True)
    sums = np.bincount(place, weights=gaps - gaps.mean())
    if (count := len(sums)) < 2:
        return math.nan, count
    return math.sqrt(count / (count - 1) * float((sums**2).sum())) / len(gaps), count


@dataclass(frozen=True)
class Answer:
    """An answer to one of the two questions, of these nets or of the configuration.

    `points` may be percent of a cost; at level `p` there would be another verdict; `against` is
    near one where the claim clearly fails. In `by_class` the classes are a sample too (log-odds).
    """

    points: Interval
    verdict: str
    p: float
    against: float
    odds: Interval | None = None
    by_class: Interval | None = None


def decide(
    interval: Interval, centre: float, edges: Edges, level: Callable[[float], float]
) -> tuple[str, float, float]:
    """The verdict of a 95% interval, the level of that, and the level against (see `Answer`).

    `level` gives the two-sided level at which the interval reaches an edge.
    """
    above, below = edges
    levels = {edge: level(edge) for edge in edges if math.isfinite(edge)}
    beyond = {above: centre <= above, below: centre >= below}
    against = max(1 - p / 2 if beyond[edge] else p / 2 for edge, p in levels.items())
    if above < interval.low and interval.high < below:
        return REPRODUCED, max(levels.values()), against
    if interval.low > below:
        return CONTRADICTED, levels[below], against
    if interval.high < above:
        return CONTRADICTED, levels[above], against
    return UNDECIDED, max(levels.values()), against


def holm(p_values: Sequence[float]) -> list[bool]:
    """Which of several tests hold at 5% together (Holm, 1979)."""
    levels = np.array(p_values, dtype=float)
    order = levels.argsort(kind="stable")
    small = levels[order] <= ALPHA / np.arange(len(levels), 0, -1)
    return [bool(hold) for hold in np.logical_and.accumulate(small)[order.argsort()]]
