"""The answer that the report opens with: what became of the primary claims, in one look."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import pandas as pd

from repro.report.claims import claims
from repro.report.experiments import commands_of
from repro.report.settings import Comparison
from repro.report.verdicts import CONTRADICTED, REPRODUCED, VERDICTS

DECIDED = (REPRODUCED, CONTRADICTED)
JUDGED_BY = {"nets": "these nets", "configuration": "configuration"}
"""The question that a claim is about, as its column is called."""


def primary(judged: pd.DataFrame) -> pd.DataFrame:
    """The primary claims that were judged, in the order in which they were written down."""
    return judged[judged.primary.astype(bool)]


def decided(judged: pd.DataFrame) -> int:
    """How many primary claims are decided, either way."""
    return int(primary(judged).verdict.isin(DECIDED).sum())


def counted(judged: pd.DataFrame) -> str:
    """How many claims have each verdict, as in `3 reproduced (2 with Holm), 2 not decided`.

    Holm's correction is over the primary claims, so only they have that number.
    """
    counts, held = Counter(judged.verdict), Counter(judged.verdict_holm)
    words = []
    for verdict in VERDICTS:
        holm = f" ({held[verdict]} with Holm)" if verdict in DECIDED else ""
        words += [f"{counts[verdict]} {verdict}{holm}"] if counts[verdict] else []
    return ", ".join(words)


def answer(judged: pd.DataFrame, comparison: Comparison) -> str:
    """One sentence: how many primary claims there are, and what became of them."""
    if not comparison.has_papers_nets:
        return "None of the paper's nets was run here, so none of its claims is judged."
    every = sum(claim.primary for claim in claims())
    found = primary(judged)
    open_ = every - len(found)
    words = [counted(found)] if len(found) else []
    words += [f"{open_} not run"] if open_ else []
    return f"Of {every} primary claims: {', '.join(words)}."


def not_judged(judged: pd.DataFrame, comparison: Comparison) -> str:
    """The primary claims with a side that nobody has run, and the commands that run it."""
    known = set(judged.claim)
    absent: dict[str, list[str]] = {}
    for claim in claims():
        if claim.primary and claim.claim not in known:
            absent.setdefault(claim.experiment, []).append(claim.text.rstrip("."))
    return "; ".join(
        f"{'; '.join(sentences)} (`{'` and `'.join(commands_of(experiment, comparison))}`)"
        for experiment, sentences in absent.items()
    )


def table(judged: pd.DataFrame) -> pd.DataFrame:
    """The primary claims for readers: relative changes, n, and a verdict for each question."""
    words = {claim.claim: claim.text for claim in claims()}
    rows = [
        {
            "claim": words[row["claim"]],
            "the paper": _paper(row["paper_relative"], row["paper_relative_other"]),
            "here": change(row),
            "these nets": row["verdict_nets"] or "-",
            "configuration": row["verdict_configuration"] or "-",
            "judged by": JUDGED_BY[row["about"]],
            "with Holm": row["verdict_holm"] or "-",
            "seeds": str(row["n_seeds"]),
            "images": "-" if pd.isna(row["n_images"]) else f"{int(row['n_images']):,}",
        }
        for row in primary(judged).to_dict("records")
    ]
    return pd.DataFrame(rows)


def change(row: Mapping[Hashable, Any]) -> str:
    """A relative change with its interval, or a difference in points where there is none."""
    if pd.isna(row["relative"]):
        return _interval([row["difference"], row["ci_low"], row["ci_high"]], " points")
    return _interval([row["relative"], row["relative_low"], row["relative_high"]], "%")


def _interval(values: Sequence[object], unit: str) -> str:
    middle, low, high = (float(str(value)) for value in values)
    return f"{middle:+.1f}{unit} [{low:+.1f}; {high:+.1f}]"


def _paper(*values: float) -> str:
    known = [f"{value:+.1f}%" for value in values if not pd.isna(value)]
    return " or ".join(known) if known else "-"


def what_ran(comparison: Comparison) -> str:
    """One sentence on the runs of a setting."""
    runs, config = comparison.runs, comparison.config
    counts = runs[0].result["data"]
    seeds = sorted({run.config.seed for run in runs})
    left_out = counts.get("left_out", 0)
    lost = f" {left_out} image files could not be decoded and were left out." if left_out else ""
    return (
        f"{len(runs)} run{'s'[: len(runs) > 1]} of {len(comparison.nets)} "
        f"net{'s'[: len(comparison.nets) > 1]}, {_seeds(seeds)}, on {config.data.name}: "
        f"{counts['train']:,} training, {counts['validation']:,} validation and "
        f"{counts['test']:,} test images of {counts['classes']} classes.{lost} "
        f"Size {config.size.name} (crop {config.size.crop} pixels, {config.size.poolings} of 5 "
        f"poolings, width {config.size.width:g}), recipe {config.recipe.name}, initialisation "
        f"{comparison.usual.name} where a net's name does not say otherwise."
    )


def _seeds(seeds: Sequence[int]) -> str:
    if len(seeds) > 2 and seeds[-1] - seeds[0] + 1 == len(seeds):
        return f"seeds {seeds[0]} to {seeds[-1]}"
    return f"seed{'s'[: len(seeds) > 1]} {', '.join(map(str, seeds))}"
