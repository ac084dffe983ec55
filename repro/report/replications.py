"""Others' nets beside the paper's: who else sees that depth helps, and that it saturates?"""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from repro.paper import numbers as published
from repro.protocol.protocols import TABLE3

PAIRS = (("A", "B"), ("B", "D"), ("D", "E"))
"""Neighbours in depth among the nets that others trained, the shallower first (Section 4.1)."""
NORMALISED = "-BN"
"""Ends the name of a configuration with batch normalisation."""


def replications() -> pd.DataFrame:
    """A row for each net of others, its errors in percent, beside Table 3's at S=256."""
    rows = []
    for theirs in published.replications():
        paper = published.error_of(TABLE3, f"{theirs['net']}-S256", "top1_error")
        rows.append(
            {
                "net": theirs["net"],
                "weights": theirs["weights"],
                "tested with": theirs["framework"],
                "protocol": theirs["protocol"],
                "top-1 (%)": _plain(theirs["top1_error"]),
                "top-5 (%)": _plain(theirs["top5_error"]),
                "paper, Table 3, S=256, dense, top-1 (%)": "-" if paper is None else f"{paper:.1f}",
                "source": theirs["source"],
            }
        )
    return pd.DataFrame(rows)


def _plain(error: float) -> str:
    """As far as it was published, but hundredths at most: as in `28.5`."""
    return f"{round(error, 2):g}"


def depth_gains() -> pd.DataFrame:
    """What each step in depth takes off the top-1 error, by whose nets and in the paper.

    In points, and in percent of the shallower net's error; a negative number is a deeper net that
    errs more. Only steps that somebody's nets have both ends of.
    """
    rows = [
        {"nets": whose} | {f"{left} - {right}": _gain(errors, left, right) for left, right in PAIRS}
        for whose, errors in (*_papers(), *_others().items())
    ]
    return pd.DataFrame([row for row in rows if set(list(row.values())[1:]) != {"-"}])


def _gain(errors: Mapping[str, float], left: str, right: str) -> str:
    if left not in errors or right not in errors:
        return "-"
    points = errors[left] - errors[right]
    return f"{round(points, 2):+g} ({100 * points / errors[left]:+.1f}%)"


def _papers() -> list[tuple[str, dict[str, float]]]:
    found = []
    for scale, named in (("S256", "S=256"), ("jitter", "S=[256; 512]")):
        errors = {
            row["net"]: row["top1_error"] for row in published.rows(3) if row["scale"] == scale
        }
        found.append((f"the paper, Table 3, {named}, dense", errors))
    return found


def _others() -> dict[str, dict[str, float]]:
    """Top-1 errors of each family of weights, as somebody tested them, by configuration."""
    found: dict[str, dict[str, float]] = {}
    for row in published.replications():
        net = row["net"].removesuffix(NORMALISED)
        whose = (
            row["weights"]
            if row["framework"] in row["weights"]
            else (f"{row['weights']}, by {row['framework']}")
        )
        if net != row["net"]:
            whose += ", with batch normalisation"
        found.setdefault(f"{whose}, centre crop", {})[net] = row["top1_error"]
    return found
