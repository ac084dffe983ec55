"""The paper's conclusions as tests on what was measured, each with its intervals and its n."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from repro.config.choices import names
from repro.errors import RequestError
from repro.paper import numbers
from repro.report.findings import FINDERS, Finding, least_favourable
from repro.report.intervals import Interval, holm
from repro.report.net import named
from repro.report.settings import Comparison
from repro.report.sides import Contrast, Pair, Side
from repro.report.verdicts import (
    CONTRADICTED,
    ONE_SEED,
    REPRODUCED,
    UNDECIDED,
    UNTESTABLE,
    Answer,
    Rule,
)

__all__ = ["COLUMNS", "CONTRADICTED", "REPRODUCED", "UNDECIDED", "UNTESTABLE", "Claim"]
__all__ += ["claims", "judge"]

COLUMNS = [
    *("claim", "section", "kind", "margin", "left", "right", "metric", "paper_difference"),
    *("difference", "ci_low", "ci_high", "n_images", "n_seeds", "verdict", "verdict_holm"),
    # What stands above is enough to read a verdict; what follows is for those who check it.
    *("log_odds", "log_odds_low", "log_odds_high", "class_low", "class_high", "interval_of"),
    *("paper_log_odds", "holds_paper", "p", "seeds"),
    *("primary", "family", "about", "nets_low", "nets_high", "verdict_nets"),
    *("configuration_low", "configuration_high", "verdict_configuration"),
    *("relative", "relative_low", "relative_high", "paper_relative", "paper_relative_other"),
    *("pooled", "one_seed", "paper_shows", "images_for_power", "seeds_for_power", "reason"),
    *("seen_before", "experiment", "ours", "premise", "note"),
    *("data", "size", "recipe", "init", "precision"),
]
WHOLE = ("n_images", "n_seeds", "images_for_power", "seeds_for_power")
SAID = [
    *("claim", "section", "kind", "margin", "seeds", "primary", "family", "about", "paper_shows"),
    *("paper_relative_other", "seen_before", "experiment", "ours", "premise", "note"),
]
"""The columns that stand in the claim itself."""
CONTRAST = ("pairs", "tests", "q", "above", "complete", "paper_difference", "paper_right")
"""What a claim says of one comparison that it makes."""


@dataclass(frozen=True)
class Claim:
    """A sentence that the paper concludes, as a test: a row of `repro/paper/claims.yaml`."""

    claim: str
    text: str
    section: str
    family: str
    experiment: str
    kind: str
    contrasts: tuple[Contrast, ...]
    """The comparisons that it makes; several must all hold."""
    seeds: int
    """So many count, the first ones; with fewer it is not decided."""
    margin: float = 0.0
    """In log-odds of the error; of a cost in percent of the right side's."""
    primary: bool = False
    ours: bool = False
    """The paper makes no such comparison."""
    premise: bool = False
    """The paper says so and measures nothing of it."""
    paper_shows: str = ""
    """Whether the paper's own numbers show it: `yes`, `tie`, `no`; empty where it has none."""
    paper_relative_other: float | None = None
    """The paper's relative difference, in percent, where its words can be read another way."""
    seen_before: str = ""
    """What of this had been measured when the claim was written."""
    note: str = ""
    """What a reader of its verdict must know."""

    @property
    def about(self) -> str:
        """The question that the claim asks.

        `nets`: it compares tests, ensembles or costs of nets that are given. `configuration`: all
        other claims, where another training would give other nets.
        """
        given = all(one.same_nets or one.fused for one in self.contrasts)
        return "nets" if given or self.kind == "cheaper" else "configuration"

    @property
    def rule(self) -> Rule:
        """When the claim holds, by its kind and its margin."""
        return Rule(self.kind, self.margin)


@lru_cache
def claims() -> tuple[Claim, ...]:
    """The claims, the primary ones first, as `repro/paper/claims.yaml` words them."""
    path = Path(numbers.__file__).with_name("claims.yaml")
    return tuple(map(read_claim, yaml.safe_load(path.read_text(encoding="utf-8"))))


def read_claim(row: dict[str, Any]) -> Claim:
    """A claim by its row.

    Raises:
        RequestError: its kind or its experiment is none that there is.
    """
    for key, known in (("kind", FINDERS), ("experiment", names("experiments"))):
        if (word := row.get(key)) not in known:
            raise RequestError(
                f"claims.yaml, {row.get('claim')}: {key}={word} is not known: choose from "
                f"{', '.join(known)}"
            )
    words = {key: value for key, value in row.items() if key not in (*CONTRAST, "each")}
    shared = {key: row[key] for key in CONTRAST if key in row}
    each = [shared | own for own in row.get("each", [{}])]
    try:
        return Claim(**words, contrasts=tuple(_contrast(one) for one in each))
    except (TypeError, KeyError) as error:
        raise RequestError(f"claims.yaml, {row.get('claim')}: {error}") from None


def _contrast(row: dict[str, Any]) -> Contrast:
    tests = row.get("tests", "")
    tests = [tests, tests] if isinstance(tests, str) else tests
    scales: list[list[int]] = row.get("q", [[], []])
    above = tuple(row.get("above", ()))
    pairs = []
    for nets in row["pairs"]:
        both = zip([nets, nets] if isinstance(nets, str) else nets, tests, scales, strict=True)
        pairs.append(Pair(*(Side(named(net), test, tuple(q), above) for net, test, q in both)))
    rest = {key: row[key] for key in CONTRAST[4:] if key in row}
    return Contrast(tuple(pairs), **rest)


def judge(comparison: Comparison, asked: Sequence[Claim] | None = None) -> pd.DataFrame:
    """The table `claims.csv` of one setting: a row for each claim with both sides measured.

    Args:
        comparison: the runs of a setting.
        asked: the claims; None: all that are registered.
    """
    asked = claims() if asked is None else asked
    found = [row for claim in asked if (row := _judge(claim, comparison)) is not None]
    # Many tests are those that open the report, and of them those that something could decide.
    tested = [row for row in found if row["primary"] and row["p"] is not None]
    for row, holds in zip(tested, holm([row["p"] for row in tested]), strict=True):
        if not holds and row["verdict"] != UNDECIDED:
            row["verdict_holm"] = UNDECIDED
            row["reason"] = f"{row['verdict']} by itself (p = {row['p']:.3f}), not with Holm's rule"
    # Whole numbers of which some are missing stay whole.
    return pd.DataFrame(found, columns=COLUMNS).astype(dict.fromkeys(WHOLE, "Int64"))


def _judge(claim: Claim, comparison: Comparison) -> dict[str, Any] | None:
    finder = FINDERS[claim.kind]
    found = [finder(one, claim.rule, comparison, claim.seeds) for one in claim.contrasts]
    there = [one for one in found if one is not None]
    if len(there) < len(found):
        return None
    finding = least_favourable(there, claim.about)
    verdict, p, reason = _judged(claim, finding)
    return {
        **{key: getattr(claim, key) for key in SAID},
        "left": finding.left,
        "right": finding.right,
        "metric": finding.metric,
        "n_images": finding.images,
        "n_seeds": finding.seeds,
        "verdict": verdict,
        "verdict_holm": verdict,
        "p": p,
        "verdict_nets": _word(finding, finding.nets),
        "verdict_configuration": _word(finding, finding.configuration),
        "pooled": finding.pooled,
        "one_seed": finding.seeds == 1,
        "reason": reason,
        "interval_of": _interval_of(claim, finding, comparison),
        **_numbers(claim, finding),
        **_power(claim, finding),
        "init": comparison.usual.name,
        **dataclasses.asdict(comparison.setting),
    }


def _judged(claim: Claim, finding: Finding) -> tuple[str, float | None, str]:
    """Verdict, its level where there is a test, and why there is none."""
    if finding.obstacle:
        return UNTESTABLE, None, finding.obstacle
    if finding.seeds < claim.seeds:
        return UNDECIDED, None, f"{finding.seeds} of {claim.seeds} seeds"
    answer = finding.answer(claim.about)
    if answer is None:
        return UNDECIDED, None, ONE_SEED
    return answer.verdict, answer.p, ""


def _word(finding: Finding, answer: Answer | None) -> str:
    if answer is None:
        return ""
    return UNTESTABLE if finding.obstacle else answer.verdict


def _interval_of(claim: Claim, finding: Finding, comparison: Comparison) -> str:
    """What the interval is of: all that is not named is a sample of nothing."""
    if finding.images is None:
        return "these runs"
    trained = (
        "other seeds" if finding.answer(claim.about) is finding.configuration else "these nets"
    )
    return f"{trained}, these {comparison.classes} classes"


def _numbers(claim: Claim, finding: Finding) -> dict[str, Any]:
    """The effect in points, in log-odds and in percent, its intervals, and the paper's."""
    shown = finding.answer(claim.about) or finding.nets
    odds, points = (shown.odds, shown.points) if shown else (None, None)
    share = 100 / finding.value if finding.value else None
    relative = Interval(share * points.low, share * points.high) if share and points else None
    paper = finding.contrast.paper_log_odds if finding.contrast else None
    found = {
        "paper_difference": finding.contrast.paper_difference if finding.contrast else None,
        "difference": finding.difference,
        "log_odds": finding.odds.centre if finding.odds else None,
        "paper_log_odds": paper,
        "relative": share and share * finding.difference,
        "paper_relative": finding.contrast.paper_relative if finding.contrast else None,
        **_ends("ci", points),
        **_ends("log_odds", odds),
        **_ends("class", shown.by_class if shown else None),
        **_ends("nets", finding.nets.points if finding.nets else None),
        **_ends("configuration", finding.configuration.points if finding.configuration else None),
        **_ends("relative", relative),
    }
    rounded = {key: None if value is None else round(value, 4) for key, value in found.items()}
    return rounded | {"holds_paper": None if paper is None or odds is None else odds.holds(paper)}


def _ends(name: str, interval: Interval | None) -> dict[str, float | None]:
    if interval is None:
        return {f"{name}_low": None, f"{name}_high": None}
    return {f"{name}_low": interval.low, f"{name}_high": interval.high}


def _power(claim: Claim, finding: Finding) -> dict[str, int | None]:
    """What would show the paper's effect here, where something can be shown."""
    paper = finding.contrast.paper_log_odds if finding.contrast else None
    if claim.kind != "better" or finding.obstacle or not paper or finding.odds is None:
        return {"images_for_power": None, "seeds_for_power": None}
    return {
        "images_for_power": finding.odds.images_for(paper),
        "seeds_for_power": finding.odds.seeds_for(paper),
    }
