"""The paper's conclusions as tests on measured errors, each with its intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray

from repro.analysis.intervals import Difference, Interval, difference, holm
from repro.analysis.measured import Measured, members
from repro.analysis.settings import INSTEAD, Comparison
from repro.paper import published
from repro.spec.scales import PROTOCOLS, pixels

COLUMNS = [
    *("claim", "section", "kind", "margin", "left", "right", "metric", "paper_difference"),
    *("difference", "ci_low", "ci_high", "n_images", "n_seeds", "verdict", "verdict_holm"),
    # What stands above is enough to read a verdict; what follows is for those who check it.
    *("about", "nets_low", "nets_high", "configuration_low", "configuration_high"),
    *("relative_change", "paper_relative_change", "paper_shows", "decides_from"),
    *("images_for_power", "seeds_for_power", "reason", "ours", "experiment"),
    *("data", "size", "recipe", "init", "precision"),
]
REPRODUCED, CONTRADICTED = "reproduced", "contradicted"
UNDECIDED, UNTESTABLE = "not decided", "not testable here"


@dataclass(frozen=True)
class Side:
    """One side of a claim: a net (or an ensemble), how it is tested, at which scales."""

    net: str
    test: str
    q: tuple[int, ...] = ()
    """The mean error over these test scales; empty: the protocol's own."""
    above: tuple[int, ...] = ()
    """Its rise above the mean error over these."""

    def __str__(self) -> str:
        words = f"{self.net}/{self.test}"
        if self.q:
            words += f"@{','.join(map(str, self.q))}"
        return words + (f" above @{','.join(map(str, self.above))}" if self.above else "")


@dataclass(frozen=True)
class Claim:
    """A sentence that the paper concludes, as a test: a row of `repro/paper/claims.yaml`."""

    claim: str
    experiment: str
    text: str
    section: str
    kind: str
    margin: float
    """In percent of the right side's error."""
    left: Side
    right: Side
    paper_difference: float | None = None
    paper_shows: str = ""
    """Whether the paper's own numbers show it: `yes`, `tie`, `no`; empty where it has none."""
    ours: bool = False
    """The paper makes no such comparison."""

    @property
    def about(self) -> str:
        """`nets`, of test protocols and ensembles of given nets; `configuration` of all others."""
        fusion = len(members(self.left.net)) + len(members(self.right.net)) > 2
        return "nets" if fusion or self.left.net == self.right.net else "configuration"

    @property
    def paper_relative(self) -> float | None:
        """The paper's difference in percent of its right side's error."""
        error = published.error_of(self.right.test, self.right.net, "top1_error")
        if self.paper_difference is None or error is None:
            return None
        return 100 * self.paper_difference / error

    def edges(self, error: float) -> tuple[float, float]:
        """Between which differences, in points, the claim holds; `error` is the right side's."""
        margin = self.margin * error / 100
        return {
            "better": (-math.inf, -margin),
            "no_improvement": (-margin, math.inf),
            "equal_within": (-margin, margin),
        }[self.kind]


@lru_cache
def claims() -> tuple[Claim, ...]:
    """The claims, in the paper's order, as `repro/paper/claims.yaml` words them."""
    path = Path(published.__file__).with_name("claims.yaml")
    rows: list[dict[str, Any]] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return tuple(Claim(**{**row, **_sides(row)}) for row in rows)


def _sides(row: dict[str, Any]) -> dict[str, Side]:
    return {
        name: Side(
            row[name]["net"],
            row[name]["test"],
            tuple(row[name].get("q", ())),
            tuple(row[name].get("above", ())),
        )
        for name in ("left", "right")
    }


def judge(comparison: Comparison) -> pd.DataFrame:
    """`claims.csv` for the nets of one setting: a row for each claim with both sides measured."""
    found = [row for claim in claims() if (row := _judge(claim, comparison)) is not None]
    # What nothing could decide is no test among many.
    tested = [row for row in found if row["p"] is not None]
    for row, holds in zip(tested, holm([row["p"] for row in tested]), strict=True):
        row["verdict_holm"] = row["verdict"] if holds else UNDECIDED
    return pd.DataFrame(found, columns=COLUMNS)


def _judge(claim: Claim, comparison: Comparison) -> dict[str, Any] | None:
    left, right = _sides_here(claim, comparison)
    sides = [values(side, comparison) for side in (left, right)]
    seeds = sorted(set(sides[0]) & set(sides[1]))
    if not seeds:
        return None
    found = difference(np.stack([sides[0][seed] - sides[1][seed] for seed in seeds]))
    error = 100 * float(np.mean([sides[1][seed].mean() for seed in seeds]))
    obstacle = untestable(claim, left, right, comparison)
    verdict, p, reason = _judged(claim, found, error, obstacle)
    return {
        "claim": claim.claim,
        "section": claim.section,
        "kind": claim.kind,
        "margin": round(claim.margin * error / 100, 4),
        "left": str(left),
        "right": str(right),
        "metric": "top1_error_rise" if claim.left.above else "top1_error",
        "paper_difference": claim.paper_difference,
        "n_images": found.images,
        "n_seeds": found.seeds,
        "verdict": verdict,
        "verdict_holm": verdict,
        "p": p,
        "about": claim.about,
        "paper_shows": claim.paper_shows,
        "reason": reason,
        "ours": claim.ours,
        "experiment": claim.experiment,
        **_numbers(claim, found, None if claim.left.above else error, reason, obstacle),
        **_setting(comparison),
    }


def _numbers(
    claim: Claim, found: Difference, error: float | None, reason: str, obstacle: str | None
) -> dict[str, Any]:
    """Both intervals, the relative change, and what it would take; `error` is the right side's."""
    several = found.seeds > 1
    nets = found.interval(configuration=False)
    whole = found.interval(configuration=True) if several else None
    shown = whole if whole is not None and claim.about == "configuration" else nets
    relative = 100 * found.middle / error if error else None
    effect = 0.0
    if claim.kind == "better" and claim.paper_relative is not None and error and obstacle is None:
        effect = claim.paper_relative / 100 * error
    numbers = {
        "difference": found.middle,
        **_ends("ci", shown),
        **_ends("nets", nets),
        **_ends("configuration", whole),
        "relative_change": relative,
        "paper_relative_change": claim.paper_relative,
        "decides_from": None if reason else shown.half,
    }
    return {key: None if value is None else round(value, 4) for key, value in numbers.items()} | {
        "images_for_power": found.images_for(effect) if effect else None,
        "seeds_for_power": found.seeds_for(effect) if effect else None,
    }


def _ends(name: str, interval: Interval | None) -> dict[str, float | None]:
    if interval is None:
        return {f"{name}_low": None, f"{name}_high": None}
    return {f"{name}_low": interval.low, f"{name}_high": interval.high}


def _setting(comparison: Comparison) -> dict[str, str]:
    shared = comparison.setting
    return {
        "data": shared.data,
        "size": shared.size,
        "recipe": shared.recipe,
        "init": comparison.usual.name,
        "precision": shared.precision,
    }


def _sides_here(claim: Claim, comparison: Comparison) -> tuple[Side, Side]:
    """Below a crop of 128 pixels crops stand for dense evaluation, where both sides can."""
    sides = claim.left, claim.right
    if not all(side.test in INSTEAD for side in sides):
        return sides
    left, right = (replace(side, test=comparison.instead(side.test)) for side in sides)
    return left, right


def values(side: Side, comparison: Comparison) -> dict[int, NDArray[np.float64]]:
    """By seed, the error (0 to 1) of each test image, in the order of image ids."""
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
    if len(members(side.net)) > 1:
        return comparison.fusion(side.net, side.test)
    return comparison.cells(side.net, side.test)


def _errors(cells: Sequence[Measured]) -> dict[int, NDArray[np.float64]]:
    return {one.seed: one.wrong.astype(np.float64) for one in cells}


def untestable(claim: Claim, left: Side, right: Side, comparison: Comparison) -> str | None:
    """Why the geometry or the data cannot carry a claim, by rule, or None where they can."""
    kinds = {kind for side in (left, right) for kind in PROTOCOLS[side.test].kinds}
    if not comparison.dense and kinds & {"dense", "windows"}:
        return (
            f"dense evaluation at a crop of {comparison.crop} pixels: its windows hang over the "
            "image as the paper's never do"
        )
    if claim.experiment == "scale":
        # Of the images as they came: above that a larger S only blurs.
        native = comparison.runs[0].result["data"].get("smallest_side")
        largest = pixels(384, comparison.crop)
        if native is not None and native < largest:
            return (
                f"images of {native} pixels have no more detail to show at S=384, "
                f"{largest} pixels here"
            )
    return None


def _judged(
    claim: Claim, found: Difference, error: float, obstacle: str | None
) -> tuple[str, float | None, str]:
    """Verdict, its level where there is a test, and why there is none."""
    if obstacle is not None:
        return UNTESTABLE, None, obstacle
    if claim.about == "configuration" and found.seeds < 2:
        return UNDECIDED, None, "one seed says nothing about the configuration"
    return *_verdict(claim, found, error), ""


def _verdict(claim: Claim, found: Difference, error: float) -> tuple[str, float]:
    """The verdict, and the level at which its interval would no longer give one."""
    configuration = claim.about == "configuration"
    interval = found.interval(configuration=configuration)
    edges = above, below = claim.edges(error)
    inside = above < interval.low and interval.high < below
    outside = interval.low > below or interval.high < above
    p = max(
        (
            found.p_value(edge, configuration=configuration)
            for edge in edges
            if math.isfinite(edge) and (not outside or (edge == below) == (found.middle > below))
        ),
        default=1.0,
    )
    if inside or outside:
        return (REPRODUCED if inside else CONTRADICTED), p
    return UNDECIDED, p
