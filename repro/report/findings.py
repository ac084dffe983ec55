"""The evidence of a comparison's runs about a claim: an effect, the answers to both questions."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from repro.protocol.protocols import PROTOCOLS, views
from repro.report.intervals import (
    ALPHA,
    CONTRADICTED,
    REPRODUCED,
    UNDECIDED,
    Answer,
    Edges,
    Interval,
    decide,
    effect,
    student,
)
from repro.report.measured import seconds
from repro.report.net import NetOrEnsemble
from repro.report.obstacles import obstacle
from repro.report.settings import Comparison
from repro.report.sides import Contrast, Pair, pool, seeds_of
from repro.store.runs import Run
from repro.store.views import wilson


@dataclass(frozen=True)
class Finding:
    """A contrast as measured; differences in points, or in percent where `metric` says so.

    `pairs` were measured, `words` say which pairs and seeds stand behind it; `answers` are to the
    questions `nets` and `configuration`; a relative difference is a share of `value`.
    """

    contrast: Contrast
    pairs: Sequence[Pair]
    metric: str
    difference: float
    seeds: int
    words: Sequence[str]
    answers: Mapping[str, Answer]
    value: float | None = None
    images: int | None = None
    obstacle: str = ""
    log_odds: float | None = None


def of_errors(
    contrast: Contrast, edges: Edges, comparison: Comparison, most: int
) -> Finding | None:
    """The finding of a claim about errors: left minus right, or the same of two rises."""
    pooled = pool(contrast, comparison, most)
    if pooled is None:
        return None
    pairs, terms, right, first, words = pooled
    rise = bool(contrast.pairs[0][0].above)
    points = effect(terms, odds=False)
    odds = effect(terms, odds=True, classes=comparison.test_classes)
    answers = {}
    # One seed says nothing about the configuration.
    for configuration in (False, True) if points.seeds > 1 else (False,):
        own, classes = odds.interval(configuration=configuration), None
        if not math.isnan(odds.over_classes):
            classes = odds.interval(configuration=configuration, by_class=True)
        level = partial(odds.p_value, configuration=configuration)
        verdict = decide(own, odds.centre, edges, level)
        answer = Answer(points.interval(configuration=configuration), *verdict, own, classes)
        answers["configuration" if configuration else "nets"] = answer
    return Finding(
        contrast,
        pairs,
        metric=PROTOCOLS[pairs[0][0].test].metric + ("_rise" if rise else ""),
        difference=points.middle,
        seeds=points.seeds,
        words=words,
        answers=answers,
        value=None if rise else right,
        images=points.images,
        obstacle=obstacle(pairs, comparison, first),
        log_odds=odds.centre,
    )


def least_favourable(found: Sequence[Finding], about: str) -> Finding:
    """The contrast that speaks most against a claim: an intersection-union test a question."""
    if len(found) == 1:
        return found[0]
    worst: dict[str, Finding] = {}
    for question in ("nets", "configuration"):
        against = [one.answers[question].against for one in found if question in one.answers]
        if len(against) == len(found):
            worst[question] = found[int(np.argmax(against))]
    shown = worst.get(about) or worst.get("nets") or found[0]
    return replace(
        shown,
        answers={question: one.answers[question] for question, one in worst.items()},
        seeds=min(one.seeds for one in found),
        obstacle=next((one.obstacle for one in found if one.obstacle), ""),
        words=[*shown.words, f"the least favourable of {len(found)}"],
    )


def of_counts(
    contrast: Contrast, edges: Edges, comparison: Comparison, most: int
) -> Finding | None:
    """The finding of a claim about the configuration: the difference of two shares that learn."""
    there = [pair for pair in contrast.pairs if all(comparison.runs_of(side.net) for side in pair)]
    if not there:
        return None

    first = seeds_of(there, comparison)[:most]

    def learnt(net: NetOrEnsemble) -> list[bool]:
        runs = [run for run in comparison.runs_of(net) if run.config.seed in first]
        return [run.learnt for run in runs]

    nets = (dict.fromkeys(pair[place].net for pair in there) for place in (0, 1))
    sides = [[learnt(net) for net in side] for side in nets]
    left, right = ((sum(map(sum, side)), sum(map(len, side))) for side in sides)
    if not left[1] or not right[1]:
        return None
    answer = _of_shares(left, right)
    words = f"{left[0]} of {left[1]} against {right[0]} of {right[1]} runs learn, p={answer.p:.3g}"
    return Finding(
        contrast=contrast,
        pairs=there,
        metric="share_learning",
        difference=100 * (left[0] / left[1] - right[0] / right[1]),
        seeds=min(len(runs) for side in sides for runs in side),
        words=[*contrast.words(there), words],
        answers={"configuration": answer},
    )


def _of_shares(left: tuple[int, int], right: tuple[int, int]) -> Answer:
    """Each side is (runs that learn, runs): Fisher's exact test, with Newcombe's interval."""
    from scipy.special import bdtrc

    p = _fisher(left, right)
    share, other = left[0] / left[1], right[0] / right[1]
    (low, high), (other_low, other_high) = wilson(*left), wilson(*right)
    interval = Interval(
        100 * (share - other - math.hypot(share - low, other_high - other)),
        100 * (share - other + math.hypot(high - share, other - other_low)),
    )
    # So many or more of a half: twice that is below 5% where the interval is above a half.
    level = 2 * float(bdtrc(left[0] - 1, left[1], 0.5))
    if level < ALPHA:
        return Answer(interval, CONTRADICTED, min(level, p) if share > other else level, 1.0)
    if p >= ALPHA or share == other:
        return Answer(interval, UNDECIDED, p, 0.5)
    verdict, against = (REPRODUCED, p / 2) if share < other else (CONTRADICTED, 1 - p / 2)
    return Answer(interval, verdict, p, against)


def _fisher(left: tuple[int, int], right: tuple[int, int]) -> float:
    """The p of Fisher's exact test: the share of the tables that are no likelier than this one."""
    every, fewest = left[0] + right[0], max(0, left[0] + right[0] - right[1])
    # Whole numbers, so that tables that are as likely are known to be.
    ways = [
        math.comb(left[1], count) * math.comb(right[1], every - count)
        for count in range(fewest, min(every, left[1]) + 1)
    ]
    here = ways[left[0] - fewest]
    return sum(one for one in ways if one <= here) / sum(ways)


def of_seconds(
    contrast: Contrast, edges: Edges, comparison: Comparison, most: int
) -> Finding | None:
    """The time of a test image on the left, in percent of that on the right, less 100.

    Views of one run and Q are compared; the interval is Student's over runs, or a run's views.
    """
    every = [(pair, run) for pair in contrast.pairs for run in comparison.runs_of(pair[0].net)]
    known = [(pair, run, found) for pair, run in every if (found := _log_ratios(run, pair))]
    units = [float(np.mean(found)) for _, _, found in known]
    units = known[0][2] if len(known) == 1 else units
    if len(units) < 2:
        return None
    pairs = list(dict.fromkeys(pair for pair, _, _ in known))
    counted = f"{len(known)} runs" if len(known) > 1 else f"{len(units)} views of one run"
    return Finding(
        contrast=contrast,
        pairs=pairs,
        metric="seconds_per_image",
        difference=100 * math.expm1(float(np.mean(units))),
        seeds=len({run.config.seed for _, run, _ in known}),
        words=[*contrast.words(pairs), counted],
        answers={"nets": _of_ratios(units, edges)},
        value=100.0,
        obstacle=obstacle(pairs, comparison),
    )


def _log_ratios(run: Run, pair: Pair) -> list[float]:
    """The logarithms of left seconds over right, a view each; empty where one is not known."""
    left, right = (
        {(one.q, one.mirrored): seconds(run, one) for one in views(side.test, run.config)}
        for side in pair
    )
    both = [(left[key], right[key]) for key in sorted(left.keys() & right.keys())]
    known = [math.log(ours / theirs) for ours, theirs in both if ours and theirs]
    return known if len(known) == len(both) else []


def _of_ratios(units: Sequence[float], edges: Edges) -> Answer:
    """Student's interval of the mean of logarithms, as percent less than or above the right."""
    from scipy.special import stdtr

    mean, deviation = float(np.mean(units)), float(np.std(units, ddof=1))
    error, half = deviation / math.sqrt(len(units)), student(deviation, len(units))
    interval = Interval(100 * math.expm1(mean - half), 100 * math.expm1(mean + half))

    def level(edge: float) -> float:
        distance = abs(mean - math.log1p(edge / 100))
        if not error:
            return float(distance == 0)
        return 2 * float(stdtr(len(units) - 1, -distance / error))

    return Answer(interval, *decide(interval, 100 * math.expm1(mean), edges, level))


FINDERS: dict[str, Callable[[Contrast, Edges, Comparison, int], Finding | None]] = {
    **dict.fromkeys(("better", "no_improvement", "equal_within"), of_errors),
    **{"counts": of_counts, "cheaper": of_seconds},
}
"""By the kind of claim. Each takes so many seeds at most, the first ones; of seconds all count."""
