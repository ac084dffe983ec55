"""The two sides of a claim: nets as they are tested, pooled over the pairs that have been run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from repro.paper import numbers
from repro.report.measured import Measured
from repro.report.net import Nets, label, members
from repro.report.settings import Comparison

Errors = dict[int, NDArray[np.float64]]
"""By seed, the error (0 to 1) of each test image, in the order of image ids."""


@dataclass(frozen=True)
class Side:
    """A net (or an ensemble), how it is tested, at which scales."""

    net: Nets
    test: str
    """A protocol; empty where nothing is tested."""
    q: tuple[int, ...] = ()
    """The mean error over these test scales; empty: the protocol's own."""
    above: tuple[int, ...] = ()
    """Its rise above the mean error over these."""

    @property
    def testing(self) -> str:
        """The protocol and its test scales, as in `each_scale@256,512 above @384`."""
        words = self.test + (f"@{','.join(map(str, self.q))}" if self.q else "")
        return words + (f" above @{','.join(map(str, self.above))}" if self.above else "")


@dataclass(frozen=True)
class Pair:
    """A left side and the right side that it is compared with."""

    left: Side
    right: Side

    def __str__(self) -> str:
        if self.left.net == self.right.net:
            return label(self.left.net)
        return f"{label(self.left.net)} - {label(self.right.net)}"

    @property
    def sides(self) -> tuple[Side, Side]:
        """Left and right."""
        return self.left, self.right


@dataclass(frozen=True)
class Contrast:
    """Pairs whose differences are averaged: one comparison that a claim makes."""

    pairs: tuple[Pair, ...]
    complete: bool = False
    """Every pair is needed; else those that are not run are left out."""
    paper_difference: float | None = None
    """Of the paper's own numbers, on the average of the pairs."""
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

    @property
    def paper_relative(self) -> float | None:
        """The paper's difference in percent of its right side's error."""
        right = self.paper_right
        if right is None:
            errors = [
                numbers.error_of(pair.right.test, label(pair.right.net), "top1_error")
                for pair in self.pairs
            ]
            known = [error for error in errors if error is not None]
            right = sum(known) / len(known) if len(known) == len(errors) else None
        if self.paper_difference is None or right is None:
            return None
        return 100 * self.paper_difference / right


def side_words(sides: Iterable[Side]) -> str:
    """The words for one side of several pairs, as in `B-S256,D-S256/single_scale`."""
    nets: dict[str, list[str]] = {}
    for side in sides:
        nets.setdefault(side.testing, []).append(label(side.net))
    return ", ".join(
        "/".join(word for word in (",".join(dict.fromkeys(group)), testing) if word)
        for testing, group in nets.items()
    )


def errors_of(side: Side, comparison: Comparison) -> Errors:
    """The error of each test image on one side, by seed; a rise is a difference of errors."""
    if not side.q:
        return _errors(_measured(side, comparison))
    at = {q: _errors(comparison.cells(side.net, side.test, str(q))) for q in (*side.q, *side.above)}
    seeds = set.intersection(*(set(found) for found in at.values()))

    def mean(qs: Sequence[int], seed: int) -> NDArray[np.float64]:
        return np.asarray(np.mean([at[q][seed] for q in qs], axis=0))

    return {
        seed: mean(side.q, seed) - (mean(side.above, seed) if side.above else 0) for seed in seeds
    }


def _measured(side: Side, comparison: Comparison) -> list[Measured]:
    if isinstance(side.net, tuple):
        return comparison.fusion(side.net, side.test)
    return comparison.cells(side.net, side.test)


def _errors(cells: Sequence[Measured]) -> Errors:
    return {one.seed: one.wrong.astype(np.float64) for one in cells}


@dataclass(frozen=True)
class Pooled:
    """What was measured of a contrast."""

    pairs: tuple[Pair, ...]
    gaps: NDArray[np.float64]
    """(seeds, images), left minus right, the mean over the pairs."""
    right: float
    """The right side's mean error in percent."""
    words: str
    """Which pairs stand behind it and which do not; empty for a claim of one pair."""


def pool(contrast: Contrast, comparison: Comparison) -> Pooled | None:
    """The mean over a contrast's pairs, or None where too little was measured.

    Seeds are those that all measured pairs have. Where there is none, some pairs are left out: of
    all seeds the one that most pairs have decides which stay (of several such, the lowest).
    """
    found, asked = {}, set()
    for wanted in contrast.pairs:
        for pair in _ways(wanted, comparison):
            left, right = (errors_of(side, comparison) for side in pair.sides)
            if seeds := set(left) & set(right):
                found[pair] = {seed: (left[seed], right[seed]) for seed in seeds}
                asked.add(wanted)
                break
    if not found or (contrast.complete and len(found) < len(contrast.pairs)):
        return None
    seeds = set.intersection(*(set(by_seed) for by_seed in found.values()))
    apart: list[Pair] = []
    if not seeds:
        if contrast.complete:
            return None
        counts = Counter(seed for by_seed in found.values() for seed in by_seed)
        seed = min(counts, key=lambda seed: (-counts[seed], seed))
        apart = [pair for pair, by_seed in found.items() if seed not in by_seed]
        found = {pair: by_seed for pair, by_seed in found.items() if seed in by_seed}
        seeds = set.intersection(*(set(by_seed) for by_seed in found.values()))
    tables = [[by_seed[seed] for seed in sorted(seeds)] for by_seed in found.values()]
    values = np.array(tables).mean(axis=0)  # (seeds, sides, images)
    open_pairs = [pair for pair in contrast.pairs if pair not in asked]
    return Pooled(
        pairs=tuple(found),
        gaps=values[:, 0] - values[:, 1],
        right=100 * float(values[:, 1].mean()),
        words=pooled_words(contrast, list(found), open_pairs, apart),
    )


def _ways(pair: Pair, comparison: Comparison) -> tuple[Pair, ...]:
    """A pair as a setting's nets start, or, where one of its nets cannot, both by the recipe's own.

    So B, whose first layers may come from a trained A, is never compared with a net that has no
    layer to take them.
    """
    if comparison.usual.copy_from is None or len({side.net for side in pair.sides}) == 1:
        return (pair,)
    own = comparison.config.recipe.init
    return pair, Pair(*(replace(side, net=_started(side.net, own)) for side in pair.sides))


def _started(nets: Nets, init: str) -> Nets:
    found = tuple(replace(net, init=init) for net in members(nets))
    return found if isinstance(nets, tuple) else found[0]


def pooled_words(
    contrast: Contrast, used: Sequence[Pair], missing: Sequence[Pair], apart: Sequence[Pair] = ()
) -> str:
    """The pairs behind a number, as in `C-jitter - C-S256; not run: E-jitter - E-S256`.

    Empty for a contrast of one pair.


    Args:
        contrast: what is compared.
        used: its pairs that were measured.
        missing: those that were not.
        apart: those that were, and have no seed in common with the ones used.
    """
    if len(contrast.pairs) < 2:
        return ""
    words = [", ".join(map(str, used))]
    words += [f"not run: {', '.join(map(str, missing))}"] if missing else []
    words += [f"no seed in common: {', '.join(map(str, apart))}"] if apart else []
    return "; ".join(words)
