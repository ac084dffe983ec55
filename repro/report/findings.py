"""What the runs of a setting say about a claim: a difference, the answers to both questions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats
from statsmodels.stats.proportion import confint_proportions_2indep

from repro.protocol.protocols import views
from repro.report.intervals import ALPHA, Difference, Interval, difference
from repro.report.measured import seconds
from repro.report.obstacles import obstacle
from repro.report.settings import Comparison
from repro.report.sides import Contrast, Pair, errors_of, pool, pooled_words, side_words
from repro.report.verdicts import CONTRADICTED, REPRODUCED, UNDECIDED, Answer, Rule, decide
from repro.store.runs import Run


@dataclass(frozen=True)
class Finding:
    """One comparison as measured; differences in points, or in percent where `metric` says so."""

    left: str
    right: str
    metric: str
    difference: float
    margin: float
    """In the unit of the difference."""
    value: float | None
    """What a relative difference is a share of, in the unit of the difference."""
    images: int | None
    seeds: int
    nets: Answer | None
    configuration: Answer | None
    pooled: str
    obstacle: str = ""
    paper_difference: float | None = None
    paper_relative: float | None = None
    spread: Difference | None = None
    """What the power of a test follows from."""

    def answer(self, about: str) -> Answer | None:
        """The answer to one of the two questions, `nets` or `configuration`."""
        return self.nets if about == "nets" else self.configuration


Finder = Callable[[Contrast, Rule, Comparison], Finding | None]


def of_errors(contrast: Contrast, rule: Rule, comparison: Comparison) -> Finding | None:
    """What a claim about errors finds: the difference of two sides' errors, or of their rises."""
    pooled = pool(contrast, comparison)
    if pooled is None:
        return None
    rise = bool(contrast.pairs[0].left.above)
    found = difference(pooled.gaps, largest=2.0 if rise else 1.0)
    edges = rule.edges(pooled.right)

    def answer(configuration: bool) -> Answer:
        def level(edge: float) -> float:
            return found.p_value(edge, configuration=configuration)

        interval = found.interval(configuration=configuration)
        return decide(interval, found.centre, edges, level)

    return Finding(
        left=side_words(pair.left for pair in pooled.pairs),
        right=side_words(pair.right for pair in pooled.pairs),
        metric="top1_error_rise" if rise else "top1_error",
        difference=found.middle,
        margin=rule.margin * pooled.right / 100,
        value=None if rise else pooled.right,
        images=found.images,
        seeds=found.seeds,
        nets=answer(False),
        configuration=answer(True) if found.seeds > 1 else None,
        pooled=pooled.words,
        obstacle=obstacle(pooled.pairs, comparison),
        paper_difference=contrast.paper_difference,
        paper_relative=contrast.paper_relative,
        spread=found,
    )


def least_favourable(found: Sequence[Finding], about: str) -> Finding:
    """Of several comparisons that must all hold, the one that speaks most against the claim.

    This is an intersection-union test: "better than each of these" holds at 5% where each single
    comparison does, so its level is the largest of theirs, with no correction. For the other
    question, which has its own least favourable comparison, interval and verdict are of that one.

    Args:
        found: the comparisons, one or more.
        about: the question that the claim is about.
    """

    def worst(question: str) -> Finding | None:
        answers = [(one.answer(question), one) for one in found]
        if not all(answer for answer, _ in answers):
            return None
        return max(answers, key=lambda one: one[0].against if one[0] else 0.0)[1]

    nets, configuration = worst("nets"), worst("configuration")
    shown = (configuration if about == "configuration" else None) or nets or found[0]
    if len(found) == 1:
        return found[0]
    words = [shown.pooled] if shown.pooled else []
    words.append(f"the least favourable of {len(found)}")
    return replace(
        shown,
        nets=nets.nets if nets else None,
        configuration=configuration.configuration if configuration else None,
        obstacle=next((one.obstacle for one in found if one.obstacle), ""),
        pooled="; ".join(words),
    )


def learned(run: Run) -> bool:
    """Whether a run's validation error ended clearly below chance, as its result says."""
    return bool(run.result["outcome"] == "trained")


def of_counts(contrast: Contrast, rule: Rule, comparison: Comparison) -> Finding | None:
    """What a claim about learning finds: the difference of two shares of runs that learn (points).

    All seeds of the left nets are compared with all seeds of the right ones.

    It is about the configuration, of which each run is a sample, even where there is one. The
    interval is Newcombe's; see `_of_shares` for the verdict.
    """
    there = [
        pair
        for pair in contrast.pairs
        if all(map(comparison.runs_of, (pair.left.net, pair.right.net)))
    ]
    if not there:
        return None
    nets = [dict.fromkeys(pair.sides[place].net for pair in there) for place in (0, 1)]
    sides = [[run for net in side for run in comparison.runs_of(net)] for side in nets]
    left, right = [(sum(map(learned, runs)), len(runs)) for runs in sides]
    missing = [pair for pair in contrast.pairs if pair not in there]
    words = [pooled_words(contrast, there, missing)] if len(contrast.pairs) > 1 else []
    words.append(f"{left[0]} of {left[1]} against {right[0]} of {right[1]} runs learn")
    return Finding(
        left=side_words(pair.left for pair in there),
        right=side_words(pair.right for pair in there),
        metric="share_learning",
        difference=100 * (left[0] / left[1] - right[0] / right[1]),
        margin=0.0,
        value=None,
        images=None,
        seeds=min(left[1], right[1]),
        nets=None,
        configuration=_of_shares(left, right),
        pooled="; ".join(words),
    )


def _of_shares(left: tuple[int, int], right: tuple[int, int]) -> Answer:
    """Fewer on the left? By Fisher's exact test; so many (which learn, of all) on either side.

    Where most runs of the left side learn (the lower end of Clopper and Pearson's interval is above
    a half) the claim is contradicted, whatever the right side does.
    """
    table = [[count, of - count] for count, of in (left, right)]
    p = float(stats.fisher_exact(table).pvalue)
    ends = confint_proportions_2indep(*left, *right, method="newcomb", compare="diff", alpha=ALPHA)
    interval = Interval(*(100 * float(end) for end in ends))
    share, other = left[0] / left[1], right[0] / right[1]
    most = stats.binomtest(*left)
    if most.proportion_ci(1 - ALPHA, method="exact").low > 0.5:
        level = 2 * float(stats.binomtest(*left, alternative="greater").pvalue)
        return Answer(interval, CONTRADICTED, min(level, p) if share > other else level, 1.0)
    if p >= ALPHA or share == other:
        return Answer(interval, UNDECIDED, p, 0.5)
    verdict, against = (REPRODUCED, p / 2) if share < other else (CONTRADICTED, 1 - p / 2)
    return Answer(interval, verdict, p, against)


def of_seconds(contrast: Contrast, rule: Rule, comparison: Comparison) -> Finding | None:
    """What a test image takes on the left, in percent of what it takes on the right, less 100.

    Each pair is one net tested by two protocols of one kind of view each. A view of one is compared
    with the view of the other of the same run, Q and orientation; the interval is Student's over
    the logarithms of the ratios: over runs (each the mean of its views), or over the views of a
    single run. None where there are not two of these.
    """
    ratios, gaps, used = {}, [], []
    for pair in contrast.pairs:
        left, right = (errors_of(side, comparison) for side in pair.sides)
        for run in comparison.runs_of(pair.left.net):
            if found := _log_ratios(run, pair):
                ratios[run.folder] = found
                used.append((pair, run))
                if run.config.seed in left and run.config.seed in right:
                    gaps.append(left[run.config.seed] - right[run.config.seed])
    units = [float(np.mean(found)) for found in ratios.values()]
    units = next(iter(ratios.values())) if len(units) == 1 else units
    if len(units) < 2:
        return None
    pairs = list(dict.fromkeys(pair for pair, _ in used))
    missing = [pair for pair in contrast.pairs if pair not in pairs]
    words = [pooled_words(contrast, pairs, missing)] if len(contrast.pairs) > 1 else []
    words.append(f"{len(used)} runs" if len(used) > 1 else f"{len(units)} views of one run")
    words += [f"error {100 * float(np.mean(gaps)):+.1f} points"] if gaps else []
    return Finding(
        left=side_words(pair.left for pair in pairs),
        right=side_words(pair.right for pair in pairs),
        metric="seconds_per_image",
        difference=100 * math.expm1(float(np.mean(units))),
        margin=rule.margin,
        value=100.0,
        images=None,
        seeds=len({run.config.seed for _, run in used}),
        nets=_of_ratios(units, rule),
        configuration=None,
        pooled="; ".join(words),
        obstacle=obstacle(pairs, comparison),
    )


def _log_ratios(run: Run, pair: Pair) -> list[float]:
    """Of a run's views, the logarithm of left seconds over right, for each Q and orientation."""
    config = run.config
    left, right = (
        {(one.q, one.mirrored): one for one in views(side.test, config.scale, config.data.mirror)}
        for side in pair.sides
    )

    shared = sorted(left.keys() & right.keys())
    both = [(seconds(run, left[key]), seconds(run, right[key])) for key in shared]
    return [math.log(ours / theirs) for ours, theirs in both if ours and theirs]


def _of_ratios(units: Sequence[float], rule: Rule) -> Answer:
    """Student's interval of the mean of logarithms, as percent less than or above the right."""
    mean, error, freedom = float(np.mean(units)), float(stats.sem(units)), len(units) - 1
    half = float(stats.t.ppf(1 - ALPHA / 2, freedom)) * error
    interval = Interval(100 * math.expm1(mean - half), 100 * math.expm1(mean + half))

    def level(edge: float) -> float:
        distance = abs(mean - math.log1p(edge / 100))
        return 2 * float(stats.t.sf(distance / error, freedom)) if error else float(distance == 0)

    return decide(interval, 100 * math.expm1(mean), rule.edges(100.0), level)


FINDERS: dict[str, Finder] = {
    "better": of_errors,
    "no_improvement": of_errors,
    "equal_within": of_errors,
    "counts": of_counts,
    "cheaper": of_seconds,
}
