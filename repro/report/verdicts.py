"""From an interval to a verdict: where a claim holds, and at which level it does."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from repro.report.intervals import Interval

REPRODUCED, CONTRADICTED = "reproduced", "contradicted"
UNDECIDED, UNTESTABLE = "not decided", "not testable here"
VERDICTS = (REPRODUCED, CONTRADICTED, UNDECIDED, UNTESTABLE)


@dataclass(frozen=True)
class Rule:
    """When a claim holds: by its kind, and by a margin."""

    kind: str
    """`better`, `no_improvement`, `equal_within`, `counts` or `cheaper`."""
    margin: float
    """In log-odds of the error; of a cost in percent of the right side's."""

    @property
    def edges(self) -> tuple[float, float]:
        """The two effects between which the claim holds."""
        better = (-math.inf, -self.margin)
        known = {"better": better, "cheaper": better, "no_improvement": (-self.margin, math.inf)}
        return known.get(self.kind, (-self.margin, self.margin))


@dataclass(frozen=True)
class Answer:
    """An answer to one of the two questions, of these nets or of the configuration."""

    points: Interval
    """In points, or in percent of a cost."""
    verdict: str
    p: float
    """The level at which there would be another verdict than this one."""
    against: float
    """Of the claim's being true: small where it holds clearly, near one where it clearly fails."""
    odds: Interval | None = None
    """In log-odds."""
    by_class: Interval | None = None
    """In log-odds, the classes being a sample too."""


def decide(
    interval: Interval, centre: float, edges: tuple[float, float], level: Callable[[float], float]
) -> tuple[str, float, float]:
    """The verdict of a 95% interval, its level, and how much speaks against (see `Answer`).

    The claim holds where all of the interval lies between the edges, of which one may be infinite.
    `level` is the two-sided level at which the interval, around its centre, just reaches an edge.
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
