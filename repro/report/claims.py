"""The paper's conclusions as tests on what was measured, each with its intervals and its n."""

import dataclasses
import math
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from repro.config.choices import STORED, names
from repro.errors import RequestError
from repro.paper import numbers
from repro.report.findings import FINDERS, Finding, least_favourable
from repro.report.intervals import UNDECIDED, UNTESTABLE, VERDICTS, Answer, Edges, Interval, holm
from repro.report.net import images_of, named, worded
from repro.report.settings import Comparison
from repro.report.sides import Contrast, Side, side_words

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
CONTRAST = ("pairs", "tests", "q", "above", "complete", "paper_difference", "paper_right")
OPEN = "not run"
TRANSFER = "transfer"
ONE_SEED = "one seed: it holds for these nets, and says nothing about other seeds"
SHOWS = {"tie": " (a tie)", "no": " (its numbers disagree)"}
"""The note on a claim that the paper's own numbers do not show."""


@dataclass(frozen=True)
class Claim:
    """A sentence that the paper concludes, as a test: see the head of `repro/paper/claims.yaml`."""

    claim: str
    text: str
    section: str
    family: str
    experiment: str
    kind: str
    contrasts: tuple[Contrast, ...]
    seeds: int
    margin: float = 0.0
    primary: bool = False
    ours: bool = False
    premise: bool = False
    paper_shows: str = ""
    paper_relative_other: float | None = None
    seen_before: str = ""
    note: str = ""

    @property
    def about(self) -> str:
        """The question: `nets` of tests, ensembles or costs of given nets, else `configuration`."""
        given = all(one.given for one in self.contrasts)
        return "nets" if given or self.kind == "cheaper" else "configuration"

    @property
    def edges(self) -> Edges:
        """The two effects between which the claim holds, in log-odds or in percent of a cost."""
        kinds = {"no_improvement": (-self.margin, math.inf)}
        kinds["equal_within"] = (-self.margin, self.margin)
        return kinds.get(self.kind, (-math.inf, -self.margin))


@lru_cache
def registered() -> tuple[dict[str, Any], ...]:
    """The rows of `repro/paper/claims.yaml`."""
    path = Path(numbers.__file__).with_name("claims.yaml")
    return tuple(yaml.load(path.read_text(encoding="utf-8"), STORED))


@lru_cache
def claims() -> tuple[Claim, ...]:
    """The claims on errors and costs, the primary ones first (others: `transfer_claims`)."""
    return tuple(read_claim(row) for row in registered() if row["family"] != TRANSFER)


def read_claim(row: dict[str, Any]) -> Claim:
    """A claim by its row; raises RequestError where it names what there is not."""
    where = f"claims.yaml, {row.get('claim')}:"
    for key, known in (("kind", FINDERS), ("experiment", names("experiments"))):
        if (word := row.get(key)) not in known:
            choose = ", ".join(known)
            raise RequestError(f"{where} {key}={word} is not known: choose from {choose}")
    words = {key: value for key, value in row.items() if key not in (*CONTRAST, "each")}
    try:
        each = tuple(_contrast(row | own) for own in row.get("each", [{}]))
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
        left, right = (Side(named(net), test, tuple(q), above) for net, test, q in both)
        pairs.append((left, right))
    return Contrast(tuple(pairs), **{key: row[key] for key in CONTRAST[4:] if key in row})


def judge(
    comparisons: Sequence[Comparison], asked: Sequence[Claim] | None = None
) -> list[pd.DataFrame]:
    """The rows of `claims.csv` of each setting: claims, registered or `asked`, with both sides."""
    wanted = claims() if asked is None else asked
    found = [[_judge(claim, comparison) for claim in wanted] for comparison in comparisons]
    # Many tests are those that open the report, and of them those that something could decide.
    rows = [row for of_setting in found for row in of_setting if row is not None]
    tested = [row for row in rows if row["primary"] and row["p"] is not None]
    for row, holds in zip(tested, holm([row["p"] for row in tested]), strict=True):
        if not holds and row["verdict"] != UNDECIDED:
            row["verdict_holm"] = UNDECIDED
            row["reason"] = f"{row['verdict']} by itself (p = {row['p']:.3f}), not with Holm's rule"
    return [framed(of_setting) for of_setting in found]


def framed(rows: Sequence[Mapping[str, Any] | None]) -> pd.DataFrame:
    """The rows of `claims.csv` that there are, as a frame."""
    frame = pd.DataFrame([row for row in rows if row is not None], columns=COLUMNS)
    # Whole numbers of which some are missing stay whole.
    return frame.astype({"n_images": "Int64", "n_seeds": "Int64"})


def _judge(claim: Claim, comparison: Comparison) -> dict[str, Any] | None:
    finder = FINDERS[claim.kind]
    every = [finder(one, claim.edges, comparison, claim.seeds) for one in claim.contrasts]
    found = [one for one in every if one is not None]
    if len(found) < len(every):
        return None
    finding = least_favourable(found, claim.about)
    answer, p = finding.answers.get(claim.about), None
    if finding.obstacle:
        said, reason = UNTESTABLE, finding.obstacle
    elif finding.seeds < claim.seeds:
        said, reason = UNDECIDED, f"{finding.seeds} of {claim.seeds} seeds"
    elif answer is None:
        said, reason = UNDECIDED, "one seed says nothing about the configuration"
    else:
        said, p, reason = answer.verdict, answer.p, ""
    left, right = (side_words(pair[n] for pair in finding.pairs) for n in (0, 1))
    verdicts = {"verdict_nets": "", "verdict_configuration": ""}
    for about, to in finding.answers.items():
        verdicts[f"verdict_{about}"] = UNTESTABLE if finding.obstacle else to.verdict
    return {
        **{key: getattr(claim, key) for key in COLUMNS if hasattr(claim, key)},
        **verdicts,
        "left": left,
        "right": right,
        "metric": finding.metric,
        "p": p,
        "reason": reason,
        "n_images": finding.images,
        "n_seeds": finding.seeds,
        "one_seed": finding.seeds == 1,
        "verdict": said,
        "verdict_holm": said,
        "pooled": "; ".join(finding.words),
        **_numbers(finding, answer or finding.answers.get("nets")),
        "init": comparison.usual.name,
        **dataclasses.asdict(comparison.setting),
    }


def _numbers(finding: Finding, shown: Answer | None) -> dict[str, float | None]:
    """The effect in points, in log-odds and in percent, its intervals, and the paper's."""
    share = 100 / finding.value if finding.value else None
    paper_relative, paper_log_odds = finding.contrast.paper
    found = {
        "paper_difference": finding.contrast.paper_difference,
        "difference": finding.difference,
        "log_odds": finding.log_odds,
        "paper_log_odds": paper_log_odds,
        "relative": share and share * finding.difference,
        "paper_relative": paper_relative,
    }
    ends: dict[str, Interval | None] = {
        about: answer.points for about, answer in finding.answers.items()
    }
    if shown is not None:
        ends |= {"ci": shown.points, "log_odds": shown.odds, "class": shown.by_class}
        if share:
            ends["relative"] = Interval(share * shown.points.low, share * shown.points.high)
    for name, one in ends.items():
        found[f"{name}_low"], found[f"{name}_high"] = (one.low, one.high) if one else (None, None)
    return {key: None if value is None else round(value, 4) for key, value in found.items()}


def primary(judged: pd.DataFrame) -> pd.DataFrame:
    """The primary claims that were judged, in the order in which they were written down."""
    return judged[judged.primary.astype(bool)]


def counted(judged: pd.DataFrame) -> list[str]:
    """How many claims have each verdict, as in `3 reproduced`."""
    counts = Counter(judged.verdict_holm)
    return [f"{counts[one]} {one}" for one in VERDICTS if counts[one]]


def answer(judged: pd.DataFrame, comparison: Comparison) -> str:
    """One sentence: how many primary claims there are, and what became of them."""
    if not comparison.has_papers_nets:
        return "None of the paper's nets was run here, so none of its claims is judged."
    every, found = sum(claim.primary for claim in claims()), primary(judged)
    words = counted(found) + [f"{every - len(found)} {OPEN}"] * (every > len(found))
    return f"Of {every} primary claims: {', '.join(words)}."


def table(judged: pd.DataFrame) -> pd.DataFrame:
    """Claims for readers: what the paper's numbers say and ours, the interval, n, the verdict."""
    known, rows = {row["claim"]: row for row in registered()}, []
    for row in judged.astype(object).where(judged.notna(), None).to_dict("records"):
        claim, points = known[row["claim"]], row["family"] == TRANSFER
        theirs = [row["paper_relative"], row["paper_relative_other"]]
        paper = [f"{value:+.1f}%" for value in theirs if value is not None]
        if points and row["paper_difference"] is not None:
            paper = [f"{row['paper_difference']:+.1f} points"]
        notes = [row["reason"], f"measured: {row['pooled']}" if row["pooled"] else "", row["note"]]
        if row["one_seed"] and "one seed" not in str(row["reason"]):
            notes.insert(2, ONE_SEED)
        rows.append(
            {
                "claim": claim["text"] + (" (ours)" if claim.get("ours") else ""),
                **({"data": images_of(row["data"])} if points else {"section": row["section"]}),
                **({"size": worded(row["size"])} if points else {}),
                "the paper": (" or ".join(paper) or "-")
                + SHOWS.get(claim.get("paper_shows", ""), ""),
                "here": change(row),
                "paper's effect inside": _holds_the_papers(row),
                "seeds": str(row["n_seeds"]),
                "images": "-" if row["n_images"] is None else f"{row['n_images']:,}",
                "verdict": row["verdict_holm"],
                "note": "; ".join(filter(None, notes)),
            }
        )
    return pd.DataFrame(rows)


def _holds_the_papers(row: Mapping[Hashable, Any]) -> str:
    """Whether the claim's interval holds the paper's effect: of errors in log-odds, else points."""
    keys = ["paper_log_odds", "log_odds_low", "log_odds_high"]
    if row["family"] == TRANSFER:
        keys = ["paper_difference", "ci_low", "ci_high"]
    paper, low, high = (row[key] for key in keys)
    if any(pd.isna(value) for value in (paper, low, high)):
        return "-"
    return "yes" if low <= paper <= high else "no"


def change(row: Mapping[Hashable, Any]) -> str:
    """A relative change with its interval, or a difference in points where there is none."""
    keys, unit = ("relative", "relative_low", "relative_high"), "%"
    if pd.isna(row["relative"]):
        keys, unit = ("difference", "ci_low", "ci_high"), " points"
    middle, low, high = (float(row[key]) for key in keys)
    return f"{middle:+.1f}{unit} [{low:+.1f}; {high:+.1f}]"
