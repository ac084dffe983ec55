"""What the runs of a setting say about a claim: an effect, the answers to both questions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from repro.protocol.protocols import views
from repro.report.intervals import ALPHA, Effect, Interval, effect
from repro.report.measured import seconds
from repro.report.net import Nets
from repro.report.obstacles import obstacle
from repro.report.settings import Comparison
from repro.report.sides import Contrast, Pair, pool, side_words
from repro.report.verdicts import CONTRADICTED, REPRODUCED, UNDECIDED, Answer, Rule, decide
from repro.store.runs import Run


@dataclass(frozen=True)
class Finding:
    """One comparison as measured; differences in points, or in percent where `metric` says so."""

    contrast: Contrast
    pairs: Sequence[Pair]
    """Those that were measured."""
    metric: str
    difference: float
    value: float | None
    """What a relative difference is a share of, in the unit of the difference."""
    images: int | None
    seeds: int
    nets: Answer | None
    configuration: Answer | None
    pooled: str
    obstacle: str = ""
    log_odds: float | None = None
    """The effect."""

    def answer(self, about: str) -> Answer | None:
        """The answer to one of the two questions, `nets` or `configuration`."""
        return self.nets if about == "nets" else self.configuration

    @property
    def sides(self) -> tuple[str, str]:
        """The words for the left and the right side."""
        return side_words(p.left for p in self.pairs), side_words(p.right for p in self.pairs)


def of_errors(contrast: Contrast, rule: Rule, comparison: Comparison, most: int) -> Finding | None:
    """The finding of a claim about errors: left minus right, or the same of two rises."""
    pooled = pool(contrast, comparison, most)
    if pooled is None:
        return None
    rise = bool(contrast.pairs[0].left.above)
    points = effect(pooled.terms, odds=False)
    odds = effect(pooled.terms, odds=True, classes=comparison.test_classes)
    return Finding(
        contrast,
        pooled.pairs,
        metric="top1_error_rise" if rise else "top1_error",
        difference=points.middle,
        value=None if rise else pooled.right,
        images=points.images,
        seeds=points.seeds,
        nets=_of_effect(points, odds, rule, False),
        configuration=_of_effect(points, odds, rule, True) if points.seeds > 1 else None,
        pooled=pooled.words,
        obstacle=obstacle(pooled.pairs, comparison, pooled.seeds),
        log_odds=odds.centre,
    )


def _of_effect(points: Effect, odds: Effect, rule: Rule, configuration: bool) -> Answer:
    own, classes = odds.interval(configuration=configuration), None
    if odds.over_classes is not None:
        classes = odds.interval(configuration=configuration, by_class=True)
    verdict = decide(
        own, odds.centre, rule.edges, lambda edge: odds.p_value(edge, configuration=configuration)
    )
    return Answer(points.interval(configuration=configuration), *verdict, own, classes)


def least_favourable(found: Sequence[Finding], about: str) -> Finding:
    """Of comparisons that must all hold, the one that speaks most against a claim about this.

    This is an intersection-union test: "better than each of these" holds at 5% where each single
    comparison does, so its level is the largest of theirs, with no correction. For the other
    question, which has its own least favourable comparison, interval and verdict are of that one.
    """

    def worst(question: str) -> Finding | None:
        by_against = [(one.against, n) for n, f in enumerate(found) if (one := f.answer(question))]
        if len(by_against) < len(found):
            return None
        return found[max(by_against, key=lambda one: one[0])[1]]

    if len(found) == 1:
        return found[0]
    nets, configuration = worst("nets"), worst("configuration")
    shown = (configuration if about == "configuration" else None) or nets or found[0]
    return replace(
        shown,
        nets=nets.nets if nets else None,
        configuration=configuration.configuration if configuration else None,
        seeds=min(one.seeds for one in found),
        obstacle=next((one.obstacle for one in found if one.obstacle), ""),
        pooled="; ".join(filter(None, [shown.pooled, f"the least favourable of {len(found)}"])),
    )


def of_counts(contrast: Contrast, rule: Rule, comparison: Comparison, most: int) -> Finding | None:
    """The finding of a claim about learning: the difference of two shares of runs that learn.

    It is about the configuration, of which each run is a sample, even where there is one. The
    interval (points) is Newcombe's; see `_of_shares` for the verdict.
    """
    there = [
        pair for pair in contrast.pairs if all(comparison.runs_of(side.net) for side in pair.sides)
    ]
    if not there:
        return None
    ended = [
        [
            [run.result["outcome"] == "trained" for run in _first(comparison, net, most)]
            for net in dict.fromkeys(pair.sides[place].net for pair in there)
        ]
        for place in (0, 1)
    ]
    left, right = ((sum(map(sum, side)), sum(map(len, side))) for side in ended)
    words = contrast.words(there, [pair for pair in contrast.pairs if pair not in there])
    words.append(f"{left[0]} of {left[1]} against {right[0]} of {right[1]} runs learn")
    return Finding(
        contrast,
        there,
        metric="share_learning",
        difference=100 * (left[0] / left[1] - right[0] / right[1]),
        value=None,
        images=None,
        seeds=min(len(runs) for side in ended for runs in side),
        nets=None,
        configuration=_of_shares(left, right),
        pooled="; ".join(words),
    )


def _first(comparison: Comparison, nets: Nets, most: int) -> list[Run]:
    return sorted(comparison.runs_of(nets), key=lambda run: run.config.seed)[:most]


def _of_shares(left: tuple[int, int], right: tuple[int, int]) -> Answer:
    """Fewer on the left? By Fisher's exact test; so many (which learn, of all) on either side.

    Where most runs of the left side learn (the lower end of Clopper and Pearson's interval is above
    a half) the claim is contradicted, whatever the right side does.
    """
    from scipy import stats

    table = [[count, of - count] for count, of in (left, right)]
    p = float(stats.fisher_exact(table).pvalue)
    share, other = left[0] / left[1], right[0] / right[1]
    ours, theirs = (
        stats.binomtest(*side).proportion_ci(1 - ALPHA, method="wilson") for side in (left, right)
    )
    interval = Interval(
        100 * (share - other - math.hypot(share - ours.low, theirs.high - other)),
        100 * (share - other + math.hypot(ours.high - share, other - theirs.low)),
    )
    if stats.binomtest(*left).proportion_ci(1 - ALPHA, method="exact").low > 0.5:
        level = 2 * float(stats.binomtest(*left, alternative="greater").pvalue)
        return Answer(interval, CONTRADICTED, min(level, p) if share > other else level, 1.0)
    if p >= ALPHA or share == other:
        return Answer(interval, UNDECIDED, p, 0.5)
    verdict, against = (REPRODUCED, p / 2) if share < other else (CONTRADICTED, 1 - p / 2)
    return Answer(interval, verdict, p, against)


def of_seconds(contrast: Contrast, rule: Rule, comparison: Comparison, most: int) -> Finding | None:
    """The time of a test image on the left, in percent of that on the right, less 100.

    Each pair is one net tested by two protocols of one kind of view each. A view of one is compared
    with the view of the other of the same run, Q and orientation; the interval is Student's over
    the logarithms of the ratios: over runs (each the mean of its views), or over the views of a
    single run. None where there are not two of these.
    """
    ratios, used = {}, []
    for pair in contrast.pairs:
        for run in comparison.runs_of(pair.left.net):
            if found := _log_ratios(run, pair):
                ratios[run.folder] = found
                used.append((pair, run))
    units = [float(np.mean(found)) for found in ratios.values()]
    units = next(iter(ratios.values())) if len(units) == 1 else units
    if len(units) < 2:
        return None
    pairs = list(dict.fromkeys(pair for pair, _ in used))
    words = contrast.words(pairs, [pair for pair in contrast.pairs if pair not in pairs])
    words.append(f"{len(used)} runs" if len(used) > 1 else f"{len(units)} views of one run")
    return Finding(
        contrast,
        pairs,
        metric="seconds_per_image",
        difference=100 * math.expm1(float(np.mean(units))),
        value=100.0,
        images=None,
        seeds=len({run.config.seed for _, run in used}),
        nets=_of_ratios(units, rule),
        configuration=None,
        pooled="; ".join(words),
        obstacle=obstacle(pairs, comparison),
    )


def _log_ratios(run: Run, pair: Pair) -> list[float]:
    """The logarithms of left seconds over right, for each Q and orientation of a run's views.

    Empty where the time of one of them is not known: the others would not stand for all.
    """
    config = run.config
    left, right = (
        {(one.q, one.mirrored): one for one in views(side.test, config.scale, config.data.mirror)}
        for side in pair.sides
    )
    shared = sorted(left.keys() & right.keys())
    both = [(seconds(run, left[key]), seconds(run, right[key])) for key in shared]
    known = [math.log(ours / theirs) for ours, theirs in both if ours and theirs]
    return known if len(known) == len(shared) else []


def _of_ratios(units: Sequence[float], rule: Rule) -> Answer:
    """Student's interval of the mean of logarithms, as percent less than or above the right."""
    from scipy.special import stdtr, stdtrit

    mean, freedom = float(np.mean(units)), len(units) - 1
    error = float(np.std(units, ddof=1)) / math.sqrt(len(units))
    half = float(stdtrit(freedom, 1 - ALPHA / 2)) * error
    interval = Interval(100 * math.expm1(mean - half), 100 * math.expm1(mean + half))

    def level(edge: float) -> float:
        distance = abs(mean - math.log1p(edge / 100))
        return 2 * float(stdtr(freedom, -distance / error)) if error else float(distance == 0)

    return Answer(interval, *decide(interval, 100 * math.expm1(mean), rule.edges, level))


FINDERS: dict[str, Callable[[Contrast, Rule, Comparison, int], Finding | None]] = {
    **dict.fromkeys(("better", "no_improvement", "equal_within"), of_errors),
    **{"counts": of_counts, "cheaper": of_seconds},
}
"""By the kind of claim. Each takes so many seeds at most, the first ones."""
