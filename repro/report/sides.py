"""The two sides of a claim: nets as they are tested, pooled over the pairs that have been run."""

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from repro.paper import numbers
from repro.protocol.protocols import PROTOCOLS
from repro.report.intervals import Term
from repro.report.net import NetOrEnsemble, label, members
from repro.report.settings import Comparison


@dataclass(frozen=True)
class Side:
    """A net (or an ensemble) by a protocol; `test` is empty where nothing is tested.

    Its error is the mean over `q` (empty: the protocol's own Q), less that over `above`, if any.
    """

    net: NetOrEnsemble
    test: str
    q: tuple[int, ...] = ()
    above: tuple[int, ...] = ()


Pair = tuple[Side, Side]
"""A left side and the right side that it is compared with."""
Terms = list[tuple[float, dict[int, NDArray[np.bool_]]]]
"""Weights, and by seed the errors (images,) of a net or an ensemble tested in one way."""


@dataclass(frozen=True)
class Contrast:
    """Pairs whose differences are averaged, without those not run unless it is `complete`."""

    pairs: tuple[Pair, ...]
    complete: bool = False
    paper_difference: float | None = None
    paper_right: float | None = None
    """The paper's error of the right side where its tables lack it."""

    @property
    def given(self) -> bool:
        """Whether the nets are given: the same on both sides, or an ensemble's on one."""
        fused = any(isinstance(side.net, tuple) for pair in self.pairs for side in pair)
        return fused or all(left.net == right.net for left, right in self.pairs)

    @property
    def paper(self) -> tuple[float, float]:
        """The paper's mean difference in percent of its right side's error, and in log-odds.

        Not a number where its tables lack an error.
        """
        if self.paper_difference is None:
            return math.nan, math.nan
        sides = (side for pair in self.pairs for side in pair)
        errors = [numbers.error_of(s.test, label(s.net), PROTOCOLS[s.test].metric) for s in sides]
        if self.paper_right is not None:
            errors = [self.paper_right + self.paper_difference, self.paper_right]
        table = np.array(errors, dtype=float).reshape(-1, 2)
        left, right = np.log(table / (100 - table)).mean(axis=0)
        return 100 * self.paper_difference / float(table[:, 1].mean()), float(left - right)

    def words(self, used: Collection[Pair]) -> list[str]:
        """Which of several pairs stand behind a number, and which were not run."""
        names = {pair: " - ".join(dict.fromkeys(label(s.net) for s in pair)) for pair in self.pairs}
        absent = [name for pair, name in names.items() if pair not in used]
        words = [", ".join(name for pair, name in names.items() if pair in used)]
        words += [f"not run: {', '.join(absent)}"] * bool(absent)
        return words if len(self.pairs) > 1 else []


def side_words(sides: Iterable[Side]) -> str:
    """The words for one side of several pairs, as in `D-S256,E-S256/each_scale@256 above @384`."""
    nets: dict[str, dict[str, None]] = {}
    for side in sides:
        q, above = (",".join(map(str, scales)) for scales in (side.q, side.above))
        testing = side.test + f"@{q}" * bool(q) + f" above @{above}" * bool(above)
        nets.setdefault(testing, {})[label(side.net)] = None
    groups = ((",".join(group), testing) for testing, group in nets.items())
    return ", ".join("/".join(filter(None, words)) for words in groups)


Pooled = tuple[list[Pair], list[list[Term]], float, list[int], list[str]]
"""The measurements of a contrast: its pairs, the terms of each, the right side's mean error in
percent, the first seeds, tested or not, and which pairs and seeds stand behind it (none: all)."""


def pool(contrast: Contrast, comparison: Comparison, most: int) -> Pooled | None:
    """The measured pairs of a contrast, in those of their first `most` seeds that all have.

    A seed that a net lacks has no other in its place. None: nothing is left.
    """
    found: dict[Pair, tuple[Pair, Terms, set[int]]] = {}
    for wanted in contrast.pairs:
        pair = _alike(wanted, comparison)
        terms = _terms(pair, comparison)
        if seeds := set.intersection(*(set(own) for _, own in terms)):
            found[wanted] = pair, terms, seeds
    if not found or (contrast.complete and len(found) < len(contrast.pairs)):
        return None
    first = seeds_of([pair for pair, _, _ in found.values()], comparison)[:most]
    shared = set.intersection(*(seeds for _, _, seeds in found.values()))
    used = sorted(shared.intersection(first))
    if not used:
        return None
    tables = [
        [(weight, np.array([by_seed[seed] for seed in used])) for weight, by_seed in terms]
        for _, terms, _ in found.values()
    ]
    rights = [-weight * table.mean() for terms in tables for weight, table in terms if weight < 0]
    words = contrast.words(found)
    if len(shared) > most:
        words.append(f"the first {len(used)} of {len(shared)} seeds")
    lost = [str(seed) for seed in first if seed < used[-1] and seed not in used]
    if lost:
        words.append(f"without seed{'s' if len(lost) > 1 else ''} {', '.join(lost)}")
    pairs = [pair for pair, _, _ in found.values()]
    return pairs, tables, 100 * float(np.sum(rights)) / len(pairs), first, words


def _terms(pair: Pair, comparison: Comparison) -> Terms:
    """The terms that add up to left minus right: one for each side and test scale."""
    found: Terms = []
    for side, sign in zip(pair, (1, -1), strict=True):
        scales: list[tuple[str | None, float]] = [(str(q), sign / len(side.q)) for q in side.q]
        scales += [(str(q), -sign / len(side.above)) for q in side.above]
        for q, weight in scales or [(None, float(sign))]:
            cells = comparison.cells(side.net, side.test, q)
            found.append((weight, {one.seed: one.wrong for one in cells}))
    return found


def seeds_of(pairs: Iterable[Pair], comparison: Comparison) -> list[int]:
    """The seeds that any net of some pairs has, in order."""
    runs = (run for pair in pairs for side in pair for run in comparison.runs_of(side.net))
    return sorted({run.config.seed for run in runs})


def _alike(pair: Pair, comparison: Comparison) -> Pair:
    """The pair with `Comparison.alike` applied to both sides."""
    left, right = pair
    if left.net == right.net:
        return pair
    nets = (*members(left.net), *members(right.net))
    started = dict(zip(nets, comparison.alike(nets), strict=True))

    def own(net: NetOrEnsemble) -> NetOrEnsemble:
        return tuple(started[one] for one in net) if isinstance(net, tuple) else started[net]

    return replace(left, net=own(left.net)), replace(right, net=own(right.net))
