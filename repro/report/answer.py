"""The answer that the report opens with: what became of the claims, in one look."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd

from repro.report.claims import claims
from repro.report.intervals import VERDICTS
from repro.report.settings import Comparison
from repro.report.tables import missing

OPEN = "not run"
ONE_SEED = "one seed: it holds for these nets, and says nothing about other seeds"
SHOWS = {"tie": " (a tie)", "no": " (its numbers disagree)"}
"""What the paper's own numbers say of a claim, where they do not show it."""


def primary(judged: pd.DataFrame) -> pd.DataFrame:
    """The primary claims that were judged, in the order in which they were written down."""
    return judged[judged.primary.astype(bool)]


def verdict(row: Mapping[Hashable, Any]) -> str:
    """The one verdict of a claim: of a primary one that which holds for all of them (Holm)."""
    return str(row["verdict"] if missing(row["verdict_holm"]) else row["verdict_holm"])


def counted(judged: pd.DataFrame) -> list[str]:
    """How many claims have each verdict, as in `3 reproduced`."""
    counts = Counter(map(verdict, judged.to_dict("records")))
    return [f"{counts[one]} {one}" for one in VERDICTS if counts[one]]


def answer(judged: pd.DataFrame, comparison: Comparison) -> str:
    """One sentence: how many primary claims there are, and what became of them."""
    if not comparison.has_papers_nets:
        return "None of the paper's nets was run here, so none of its claims is judged."
    every, found = sum(claim.primary for claim in claims()), primary(judged)
    words = counted(found) + [f"{every - len(found)} {OPEN}"] * (every > len(found))
    return f"Of {every} primary claims: {', '.join(words)}."


def grid(judged: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The primary claims against settings, by their names for readers: a verdict in each cell."""
    rows = []
    for claim in (one for one in claims() if one.primary):
        row = {"claim": claim.text}
        for head, frame in judged.items():
            found = frame[frame.claim == claim.claim].to_dict("records")
            row[head] = verdict(found[0]) if found else OPEN
        rows.append(row)
    return pd.DataFrame(rows)


def table(judged: pd.DataFrame) -> pd.DataFrame:
    """Claims for readers: what the paper's numbers say and ours, the interval, n, the verdict."""
    known = {claim.claim: claim for claim in claims()}
    rows = []
    for row in judged.to_dict("records"):
        claim = known[row["claim"]]
        theirs = [row["paper_relative"], row["paper_relative_other"]]
        paper = " or ".join(f"{value:+.1f}%" for value in theirs if not missing(value)) or "-"
        notes = [row["reason"], f"measured: {row['pooled']}" if row["pooled"] else "", row["note"]]
        if row["one_seed"] and "one seed" not in str(row["reason"]):
            notes.insert(2, ONE_SEED)
        rows.append(
            {
                "claim": claim.text + (" (ours)" if claim.ours else ""),
                "section": row["section"],
                "the paper": paper + SHOWS.get(claim.paper_shows, ""),
                "here": change(row),
                "seeds": str(row["n_seeds"]),
                "images": "-" if pd.isna(row["n_images"]) else f"{int(row['n_images']):,}",
                "verdict": verdict(row),
                "note": "; ".join(str(note) for note in notes if not missing(note)),
            }
        )
    return pd.DataFrame(rows)


def change(row: Mapping[Hashable, Any]) -> str:
    """A relative change with its interval, or a difference in points where there is none."""
    keys, unit = ("relative", "relative_low", "relative_high"), "%"
    if missing(row["relative"]):
        keys, unit = ("difference", "ci_low", "ci_high"), " points"
    middle, low, high = (float(row[key]) for key in keys)
    return f"{middle:+.1f}{unit} [{low:+.1f}; {high:+.1f}]"
