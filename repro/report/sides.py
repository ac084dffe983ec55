"""The two sides of a claim: nets as they are tested, pooled over the pairs that have been run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from repro.paper import numbers
from repro.report.intervals import Term, log_odds
from repro.report.net import Nets, label, members
from repro.report.settings import Comparison

Terms = list[tuple[float, dict[int, NDArray[np.bool_]]]]
"""Weights, and by seed the errors (images,) of a net or an ensemble tested in one way."""


@dataclass(frozen=True)
class Side:
    """A net (or an ensemble), how it is tested, at which scales."""

    net: Nets
    test: str
    """A protocol; empty where nothing is tested."""
    q: tuple[int, ...] = ()
    """The mean over these test scales; empty: the protocol's own."""
    above: tuple[int, ...] = ()
    """The rise above the mean over these."""

    @property
    def testing(self) -> str:
        """The protocol and its test scales, as in `each_scale@256,512 above @384`."""
        words = self.test + (f"@{','.join(map(str, self.q))}" if self.q else "")
        return words + (f" above @{','.join(map(str, self.above))}" if self.above else "")

    def terms(self, comparison: Comparison) -> Terms:
        """The terms that add up to the side: one for each test scale."""
        if not self.q:
            # An ensemble of a claim need not be among those that the report shows.
            if isinstance(self.net, tuple):
                cells = comparison.fusion(self.net, self.test)
            else:
                cells = comparison.cells(self.net, self.test)
            return [(1.0, {one.seed: one.wrong for one in cells})]
        weights = [(q, 1 / len(self.q)) for q in self.q]
        weights += [(q, -1 / len(self.above)) for q in self.above]
        return [
            (weight, {one.seed: one.wrong for one in comparison.cells(self.net, self.test, str(q))})
            for q, weight in weights
        ]


@dataclass(frozen=True)
class Pair:
    """A left side and the right side that it is compared with."""

    left: Side
    right: Side

    def __str__(self) -> str:
        nets = dict.fromkeys(label(side.net) for side in self.sides)
        return " - ".join(nets)

    @property
    def sides(self) -> tuple[Side, Side]:
        """Left and right."""
        return self.left, self.right

    def terms(self, comparison: Comparison) -> Terms:
        """The terms that add up to left minus right."""
        right = [(-weight, by_seed) for weight, by_seed in self.right.terms(comparison)]
        return [*self.left.terms(comparison), *right]


@dataclass(frozen=True)
class Contrast:
    """Pairs whose differences are averaged: one comparison that a claim makes."""

    pairs: tuple[Pair, ...]
    complete: bool = False
    """Every pair is needed; else those that are not run are left out."""
    paper_difference: float | None = None
    """Of the paper's own numbers, in points on the average of the pairs."""
    paper_right: float | None = None
    """The paper's error of the right side where its tables lack it."""

    @property
    def same_nets(self) -> bool:
        """Whether both sides have the same nets, tested in two ways."""
        return all(pair.left.net == pair.right.net for pair in self.pairs)

    @property
    def fused(self) -> bool:
        """Whether an ensemble stands on one side."""
        return any(isinstance(side.net, tuple) for pair in self.pairs for side in pair.sides)

    def _published(self, place: int) -> list[float]:
        """The paper's errors of one side, a pair each; empty where its tables lack one."""
        if self.paper_right is not None:
            return [self.paper_right + (0.0 if place else self.paper_difference or 0.0)]
        sides = [pair.sides[place] for pair in self.pairs]
        found = [numbers.error_of(one.test, label(one.net), "top1_error") for one in sides]
        return [] if None in found else [error for error in found if error is not None]

    @property
    def paper_relative(self) -> float | None:
        """The paper's difference in percent of its right side's error."""
        rights = self._published(1)
        if self.paper_difference is None or not rights:
            return None
        return 100 * self.paper_difference / (sum(rights) / len(rights))

    @property
    def paper_log_odds(self) -> float | None:
        """The paper's difference in log-odds of the error, on the average of the pairs."""
        both = self._published(0), self._published(1)
        if self.paper_difference is None or not all(both):
            return None
        left, right = (np.mean([log_odds(one / 100) for one in side]) for side in both)
        return float(left - right)

    def words(self, used: Iterable[Pair], missing: Iterable[Pair]) -> list[str]:
        """Which of several pairs stand behind a number, and which were not run."""
        there, absent = (", ".join(map(str, pairs)) for pairs in (used, missing))
        words = [there] + [f"not run: {absent}"] * bool(absent)
        return words if len(self.pairs) > 1 else []


def side_words(sides: Iterable[Side]) -> str:
    """The words for one side of several pairs, as in `B-S256,D-S256/single_scale`."""
    nets: dict[str, dict[str, None]] = {}
    for side in sides:
        nets.setdefault(side.testing, {})[label(side.net)] = None
    return ", ".join(
        "/".join(filter(None, (",".join(group), testing))) for testing, group in nets.items()
    )


@dataclass(frozen=True)
class Pooled:
    """The measurements of a contrast."""

    pairs: tuple[Pair, ...]
    terms: list[list[Term]]
    """Of each pair."""
    right: float
    """The right side's mean error in percent."""
    seeds: list[int]
    words: str
    """Which pairs and seeds stand behind it and which do not; empty: all there are."""


def pool(contrast: Contrast, comparison: Comparison, most: int) -> Pooled | None:
    """The measured pairs of a contrast, or None where too little was measured.

    Seeds are those that all measured pairs have, the first so many (`most`) of them.
    """
    found: dict[Pair, tuple[Pair, Terms, set[int]]] = {}
    for wanted in contrast.pairs:
        for pair in _ways(wanted, comparison):
            terms = pair.terms(comparison)
            if seeds := set.intersection(*(set(own) for _, own in terms)):
                found[wanted] = pair, terms, seeds
                break
    shared = set.intersection(*(seeds for _, _, seeds in found.values())) if found else set()
    missing = [pair for pair in contrast.pairs if pair not in found]
    if not shared or (contrast.complete and missing):
        return None
    used = sorted(shared)[:most]
    tables = [
        [(weight, np.array([by_seed[seed] for seed in used])) for weight, by_seed in terms]
        for _, terms, _ in found.values()
    ]
    rights = [-weight * table.mean() for terms in tables for weight, table in terms if weight < 0]
    pairs = tuple(pair for pair, _, _ in found.values())
    words = contrast.words(pairs, missing)
    words += [f"the first {most} of {len(shared)} seeds"] * (len(shared) > most)
    right = 100 * float(np.sum(rights)) / len(pairs)
    return Pooled(pairs, tables, right, used, "; ".join(words))


def _ways(pair: Pair, comparison: Comparison) -> list[Pair]:
    """A pair as a setting's nets start, or, where one of its nets cannot, both by the recipe's own.

    So B, whose first layers may come from a trained A, is never compared with a net that has no
    layer to take them.
    """
    if comparison.usual.copy_from is None or pair.left.net == pair.right.net:
        return [pair]
    own = comparison.config.recipe.init
    started = [tuple(replace(net, init=own) for net in members(side.net)) for side in pair.sides]
    sides = [
        replace(side, net=nets if isinstance(side.net, tuple) else nets[0])
        for side, nets in zip(pair.sides, started, strict=True)
    ]
    return [pair, Pair(*sides)]
