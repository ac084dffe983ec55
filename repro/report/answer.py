"""The answer that the report opens with: what became of the claims, in one look."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import pandas as pd

from repro.report.claims import Claim, claims
from repro.report.experiments import commands_of, experiments
from repro.report.settings import Comparison
from repro.report.tables import missing
from repro.report.verdicts import CONTRADICTED, REPRODUCED, VERDICTS

DECIDED = (REPRODUCED, CONTRADICTED)
OPEN = "not run"
ONE_SEED = "one seed: it holds for these nets, and says nothing about other seeds"


def primary(judged: pd.DataFrame) -> pd.DataFrame:
    """The primary claims that were judged, in the order in which they were written down."""
    return judged[judged.primary.astype(bool)]


def verdict(row: Mapping[Hashable, Any]) -> str:
    """The one verdict of a claim: of a primary one that which holds for all of them (Holm)."""
    return str(row["verdict"] if missing(row["verdict_holm"]) else row["verdict_holm"])


def decided(judged: pd.DataFrame) -> int:
    """How many primary claims are decided, either way."""
    return sum(verdict(row) in DECIDED for row in primary(judged).to_dict("records"))


def counted(judged: pd.DataFrame) -> str:
    """How many claims have each verdict, as in `3 reproduced, 2 not decided`."""
    counts = Counter(map(verdict, judged.to_dict("records")))
    known = [*VERDICTS, *(counts.keys() - set(VERDICTS))]
    return ", ".join(f"{counts[one]} {one}" for one in known if counts[one])


def answer(judged: pd.DataFrame, comparison: Comparison) -> str:
    """One sentence: how many primary claims there are, and what became of them."""
    if not comparison.has_papers_nets:
        return "None of the paper's nets was run here, so none of its claims is judged."
    every, found = sum(claim.primary for claim in claims()), primary(judged)
    open_ = every - len(found)
    words = [*filter(None, [counted(found)]), *([f"{open_} {OPEN}"] if open_ else [])]
    return f"Of {every} primary claims: {', '.join(words)}."


def grid(judged: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The primary claims against the settings: a verdict in each cell.

    Args:
        judged: the claims of each setting, by its name for readers.
    """
    rows = []
    for claim in (one for one in claims() if one.primary):
        row = {"claim": claim.text}
        for setting, frame in judged.items():
            found = frame[frame.claim == claim.claim].to_dict("records")
            row[setting] = verdict(found[0]) if found else OPEN
        rows.append(row)
    return pd.DataFrame(rows)


def table(judged: pd.DataFrame) -> pd.DataFrame:
    """Claims for readers: what the paper's numbers say and ours, the interval, n, the verdict."""
    known = {claim.claim: claim for claim in claims()}
    rows = [
        {
            "claim": sentence(known[row["claim"]]),
            "section": row["section"],
            "the paper": _paper(row, known[row["claim"]]),
            "here": change(row),
            "seeds": str(row["n_seeds"]),
            "images": "-"
            if missing(row["n_images"]) or row["n_images"] is pd.NA
            else (f"{int(row['n_images']):,}"),
            "verdict": verdict(row),
            "note": "; ".join(caveats(row)) or "-",
        }
        for row in judged.to_dict("records")
    ]
    return pd.DataFrame(rows)


def caveats(row: Mapping[Hashable, Any]) -> list[str]:
    """Why there is no test, and what to know of one that there is."""
    found = [] if missing(row["reason"]) else [str(row["reason"])]
    if not missing(row["pooled"]):
        found.append(f"measured: {row['pooled']}")
    if row["one_seed"] and ONE_SEED.split(":")[0] not in "; ".join(found):
        found.append(ONE_SEED)
    if not missing(row["note"]):
        found.append(str(row["note"]))
    return found


def change(row: Mapping[Hashable, Any]) -> str:
    """A relative change with its interval, or a difference in points where there is none."""
    keys, unit = ("relative", "relative_low", "relative_high"), "%"
    if missing(row["relative"]):
        keys, unit = ("difference", "ci_low", "ci_high"), " points"
    middle, low, high = (float(row[key]) for key in keys)
    return f"{middle:+.1f}{unit} [{low:+.1f}; {high:+.1f}]"


def _paper(row: Mapping[Hashable, Any], claim: Claim) -> str:
    values = (row["paper_relative"], row["paper_relative_other"])
    known = [f"{float(value):+.1f}%" for value in values if not missing(value)]
    shows = {"yes": "", "tie": " (a tie)", "no": " (its numbers disagree)"}
    return (" or ".join(known) or "-") + shows.get(claim.paper_shows, "")


def sentence(claim: Claim) -> str:
    """What a claim says, and whether the paper says it."""
    return f"{claim.text} (ours)" if claim.ours else claim.text


def not_judged(judged: pd.DataFrame, comparison: Comparison) -> list[tuple[str, str]]:
    """The experiments with primary claims that have a side which nobody has run.

    Returns:
        For each what its claims say, and the commands that run it.
    """
    known = set(judged.claim)
    found = []
    for experiment in experiments():
        absent: Sequence[str] = [
            claim.text
            for claim in claims()
            if claim.primary and claim.experiment == experiment.name and claim.claim not in known
        ]
        if absent:
            found.append((" ".join(absent), "; ".join(commands_of(experiment, comparison))))
    return found
