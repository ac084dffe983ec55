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
from repro.report.verdicts import UNDECIDED, UNTESTABLE, Answer, Rule

COLUMNS = [
    *("claim", "section", "kind", "margin", "left", "right", "metric", "paper_difference"),
    *("difference", "ci_low", "ci_high", "n_images", "n_seeds", "verdict", "verdict_holm"),
    # What stands above is enough to read a verdict; what follows is for those who check it.
    *("log_odds", "log_odds_low", "log_odds_high", "class_low", "class_high", "paper_log_odds"),
    *("p", "seeds", "primary", "family", "about", "nets_low", "nets_high", "verdict_nets"),
    *("configuration_low", "configuration_high", "verdict_configuration"),
    *("relative", "relative_low", "relative_high", "paper_relative", "paper_relative_other"),
    *("pooled", "one_seed", "paper_shows", "reason"),
    *("seen_before", "experiment", "ours", "premise", "note"),
    *("data", "size", "recipe", "init", "precision"),
]
SAID = [
    *("claim", "section", "kind", "margin", "seeds", "primary", "family", "about", "paper_shows"),
    *("paper_relative_other", "seen_before", "experiment", "ours", "premise", "note"),
]
"""The columns that stand in the claim itself."""
CONTRAST = ("pairs", "tests", "q", "above", "complete", "paper_difference", "paper_right")
"""The keys of one comparison that a claim makes."""


@dataclass(frozen=True)
class Claim:
    """A sentence that the paper concludes, as a test: a row of `repro/paper/claims.yaml`.

    The head of that file says what its keys mean.
    """

    claim: str
    text: str
    section: str
    family: str
    experiment: str
    kind: str
    contrasts: tuple[Contrast, ...]
    """The comparisons that it makes; several must all hold."""
    seeds: int
    margin: float = 0.0
    primary: bool = False
    ours: bool = False
    premise: bool = False
    paper_shows: str = ""
    paper_relative_other: float | None = None
    """The paper's relative difference, in percent, where its words can be read another way."""
    seen_before: str = ""
    note: str = ""

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
    """A claim by its row; raises RequestError where it names what there is not."""
    where = f"claims.yaml, {row.get('claim')}:"
    for key, known in (("kind", FINDERS), ("experiment", names("experiments"))):
        if (word := row.get(key)) not in known:
            choose = ", ".join(known)
            raise RequestError(f"{where} {key}={word} is not known: choose from {choose}")
    words = {key: value for key, value in row.items() if key not in (*CONTRAST, "each")}
    shared = {key: row[key] for key in CONTRAST if key in row}
    try:
        each = tuple(_contrast(shared | own) for own in row.get("each", [{}]))
        return Claim(**words, contrasts=each)
    except (TypeError, KeyError) as error:
        raise RequestError(f"{where} {error}") from None


def _contrast(row: dict[str, Any]) -> Contrast:
    tests, scales = row.get("tests", ""), row.get("q", [[], []])
    tests = [tests, tests] if isinstance(tests, str) else tests
    above = tuple(row.get("above", ()))
    pairs = []
    for nets in row["pairs"]:
        both = zip([nets, nets] if isinstance(nets, str) else nets, tests, scales, strict=True)
        pairs.append(Pair(*(Side(named(net), test, tuple(q), above) for net, test, q in both)))
    return Contrast(tuple(pairs), **{key: row[key] for key in CONTRAST[4:] if key in row})


def judge(comparison: Comparison, asked: Sequence[Claim] | None = None) -> pd.DataFrame:
    """The table `claims.csv` of one setting: a row for each claim with both sides measured.

    The claims are those that are registered, unless others are asked for.
    """
    found = [_judge(claim, comparison) for claim in (claims() if asked is None else asked)]
    rows = [row for row in found if row is not None]
    # Many tests are those that open the report, and of them those that something could decide.
    tested = [row for row in rows if row["primary"] and row["p"] is not None]
    for row, holds in zip(tested, holm([row["p"] for row in tested]), strict=True):
        if not holds and row["verdict"] != UNDECIDED:
            row["verdict_holm"] = UNDECIDED
            row["reason"] = f"{row['verdict']} by itself (p = {row['p']:.3f}), not with Holm's rule"
    # Whole numbers of which some are missing stay whole.
    return pd.DataFrame(rows, columns=COLUMNS).astype({"n_images": "Int64", "n_seeds": "Int64"})


def _judge(claim: Claim, comparison: Comparison) -> dict[str, Any] | None:
    finder, found = FINDERS[claim.kind], []
    for contrast in claim.contrasts:
        if (one := finder(contrast, claim.rule, comparison, claim.seeds)) is None:
            return None
        found.append(one)
    finding = least_favourable(found, claim.about)
    verdict, p, reason = _judged(claim, finding)
    left, right = finding.sides
    return {
        **{key: getattr(claim, key) for key in SAID},
        **{"left": left, "right": right, "metric": finding.metric},
        **{"n_images": finding.images, "n_seeds": finding.seeds},
        **{"verdict": verdict, "verdict_holm": verdict, "p": p, "reason": reason},
        "verdict_nets": _word(finding, finding.nets),
        "verdict_configuration": _word(finding, finding.configuration),
        **{"pooled": finding.pooled, "one_seed": finding.seeds == 1},
        **_numbers(claim, finding),
        "init": comparison.usual.name,
        **dataclasses.asdict(comparison.setting),
    }


def _judged(claim: Claim, finding: Finding) -> tuple[str, float | None, str]:
    """Verdict, its level where there is a test, and why there is none."""
    answer = finding.answer(claim.about)
    if finding.obstacle:
        return UNTESTABLE, None, finding.obstacle
    if finding.seeds < claim.seeds:
        return UNDECIDED, None, f"{finding.seeds} of {claim.seeds} seeds"
    if answer is None:
        return UNDECIDED, None, "one seed says nothing about the configuration"
    return answer.verdict, answer.p, ""


def _word(finding: Finding, answer: Answer | None) -> str:
    if answer is None:
        return ""
    return UNTESTABLE if finding.obstacle else answer.verdict


def _numbers(claim: Claim, finding: Finding) -> dict[str, float | None]:
    """The effect in points, in log-odds and in percent, its intervals, and the paper's."""
    nets, configuration, contrast = finding.nets, finding.configuration, finding.contrast
    shown = finding.answer(claim.about) or nets
    points = shown.points if shown else None
    share = 100 / finding.value if finding.value else None
    intervals = {
        "ci": points,
        "log_odds": shown.odds if shown else None,
        "class": shown.by_class if shown else None,
        "nets": nets.points if nets else None,
        "configuration": configuration.points if configuration else None,
        "relative": Interval(share * points.low, share * points.high) if share and points else None,
    }
    found = {
        "paper_difference": contrast.paper_difference,
        "difference": finding.difference,
        "log_odds": finding.log_odds,
        "paper_log_odds": contrast.paper_log_odds,
        "relative": share and share * finding.difference,
        "paper_relative": contrast.paper_relative,
        **{f"{name}_low": one.low if one else None for name, one in intervals.items()},
        **{f"{name}_high": one.high if one else None for name, one in intervals.items()},
    }
    return {key: None if value is None else round(value, 4) for key, value in found.items()}
