"""The paper's conclusions as tests on what was measured, each with its intervals and its n."""

from __future__ import annotations

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
    *("primary", "family", "about", "nets_low", "nets_high", "verdict_nets"),
    *("configuration_low", "configuration_high", "verdict_configuration"),
    *("relative", "relative_low", "relative_high", "paper_relative", "paper_relative_other"),
    *("pooled", "one_seed", "paper_shows", "images_for_power", "seeds_for_power", "reason"),
    *("seen_before", "experiment", "ours", "premise"),
    *("data", "size", "recipe", "init", "precision"),
]
WHOLE = ("n_images", "n_seeds", "images_for_power", "seeds_for_power")
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
    margin: float = 0.0
    """In percent of the right side's value."""
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
    return Claim(**words, contrasts=tuple(_contrast(one) for one in each))


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


def judge(comparison: Comparison) -> pd.DataFrame:
    """The table `claims.csv` of one setting: a row for each claim with both sides measured."""
    found = [row for claim in claims() if (row := _judge(claim, comparison)) is not None]
    # Many tests are those that open the report, and of them those that something could decide.
    tested = [row for row in found if row["primary"] and row["p"] is not None]
    for row, holds in zip(tested, holm([row["p"] for row in tested]), strict=True):
        row["verdict_holm"] = row["verdict"] if holds else UNDECIDED
    # Whole numbers of which some are missing stay whole.
    return pd.DataFrame(found, columns=COLUMNS).astype(dict.fromkeys(WHOLE, "Int64"))


def _judge(claim: Claim, comparison: Comparison) -> dict[str, Any] | None:
    found = [FINDERS[claim.kind](one, claim.rule, comparison) for one in claim.contrasts]
    there = [one for one in found if one is not None]
    if len(there) < len(found):
        return None
    finding = least_favourable(there, claim.about)
    verdict, p, reason = _judged(claim, finding)
    return {
        "claim": claim.claim,
        "section": claim.section,
        "kind": claim.kind,
        "left": finding.left,
        "right": finding.right,
        "metric": finding.metric,
        "n_images": finding.images,
        "n_seeds": finding.seeds,
        "verdict": verdict,
        "verdict_holm": verdict if claim.primary else "",
        "p": p,
        "primary": claim.primary,
        "family": claim.family,
        "about": claim.about,
        "verdict_nets": _word(finding, finding.nets),
        "verdict_configuration": _word(finding, finding.configuration),
        "pooled": finding.pooled,
        "one_seed": finding.seeds == 1,
        "paper_shows": claim.paper_shows,
        "reason": reason,
        "seen_before": claim.seen_before,
        "experiment": claim.experiment,
        "ours": claim.ours,
        "premise": claim.premise,
        **_numbers(claim, finding),
        **_power(claim, finding),
        **_setting(comparison),
    }


def _judged(claim: Claim, finding: Finding) -> tuple[str, float | None, str]:
    """Verdict, its level where there is a test, and why there is none."""
    if finding.obstacle:
        return UNTESTABLE, None, finding.obstacle
    answer = finding.answer(claim.about)
    if answer is None:
        return UNDECIDED, None, ONE_SEED
    return answer.verdict, answer.p, ""


def _word(finding: Finding, answer: Answer | None) -> str:
    if answer is None:
        return ""
    return UNTESTABLE if finding.obstacle else answer.verdict


def _numbers(claim: Claim, finding: Finding) -> dict[str, float | None]:
    """The difference, its intervals, and all of it in percent of the right side's value."""
    nets, whole = _interval(finding.nets), _interval(finding.configuration)
    shown = _interval(finding.answer(claim.about)) or nets
    share = 100 / finding.value if finding.value else None
    relative = None
    if shown is not None and share is not None:
        relative = Interval(share * shown.low, share * shown.high)
    numbers = {
        "margin": finding.margin,
        "paper_difference": finding.paper_difference,
        "difference": finding.difference,
        **_ends("ci", shown),
        **_ends("nets", nets),
        **_ends("configuration", whole),
        "relative": share and share * finding.difference,
        **_ends("relative", relative),
        "paper_relative": finding.paper_relative,
        "paper_relative_other": claim.paper_relative_other,
    }
    return {key: None if value is None else round(value, 4) for key, value in numbers.items()}


def _interval(answer: Answer | None) -> Interval | None:
    return None if answer is None else answer.interval


def _ends(name: str, interval: Interval | None) -> dict[str, float | None]:
    if interval is None:
        return {f"{name}_low": None, f"{name}_high": None}
    return {f"{name}_low": interval.low, f"{name}_high": interval.high}


def _power(claim: Claim, finding: Finding) -> dict[str, int | None]:
    """What would show the paper's relative difference here, where something can be shown."""
    relative, value, spread = finding.paper_relative, finding.value, finding.spread
    if claim.kind != "better" or finding.obstacle or not relative or not value or spread is None:
        return {"images_for_power": None, "seeds_for_power": None}
    effect = relative / 100 * value
    return {
        "images_for_power": spread.images_for(effect),
        "seeds_for_power": spread.seeds_for(effect),
    }


def _setting(comparison: Comparison) -> dict[str, str]:
    shared = comparison.setting
    return {
        "data": shared.data,
        "size": shared.size,
        "recipe": shared.recipe,
        "init": comparison.usual.name,
        "precision": shared.precision,
    }
