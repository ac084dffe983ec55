"""From an interval to a verdict: where a claim holds, and at which level it does."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from repro.report.intervals import Interval

REPRODUCED, CONTRADICTED = "reproduced", "contradicted"
UNDECIDED, UNTESTABLE = "not decided", "not testable here"
VERDICTS = (REPRODUCED, CONTRADICTED, UNDECIDED, UNTESTABLE)
ONE_SEED = "one seed says nothing about the configuration"


@dataclass(frozen=True)
class Rule:
    """When a claim holds: by its kind, and by a margin."""

    kind: str
    """`better`, `no_improvement`, `equal_within`, `counts` or `cheaper`."""
    margin: float
    """In percent of the right side's value."""

    def edges(self, value: float) -> tuple[float, float]:
        """The two differences between which the claim holds.

        Args:
            value: the right side's, in the unit of the differences.
        """
        margin = self.margin * value / 100
        return {
            "better": (-math.inf, -margin),
            "cheaper": (-math.inf, -margin),
            "no_improvement": (-margin, math.inf),
            "equal_within": (-margin, margin),
        }[self.kind]


@dataclass(frozen=True)
class Answer:
    """What was found about one of the two questions, of these nets or of the configuration."""

    interval: Interval
    verdict: str
    p: float
    """The level at which there would be another verdict than this one."""
    against: float
    """Of the claim's being true: small where it holds clearly, near one where it clearly fails."""


def decide(
    interval: Interval,
    centre: float,
    edges: tuple[float, float],
    level: Callable[[float], float],
) -> Answer:
    """The verdict of an interval: the claim holds where all of it lies between the edges.

    Args:
        interval: at 95%.
        centre: where the interval has its centre.
        edges: between which differences the claim holds; one may be infinite.
        level: the two-sided level at which the interval just reaches an edge.
    """
    above, below = edges
    levels = {edge: level(edge) for edge in edges if math.isfinite(edge)}
    beyond = {above: centre <= above, below: centre >= below}
    against = max(1 - p / 2 if beyond[edge] else p / 2 for edge, p in levels.items())
    if above < interval.low and interval.high < below:
        return Answer(interval, REPRODUCED, max(levels.values()), against)
    if interval.low > below:
        return Answer(interval, CONTRADICTED, levels[below], against)
    if interval.high < above:
        return Answer(interval, CONTRADICTED, levels[above], against)
    return Answer(interval, UNDECIDED, max(levels.values()), against)
