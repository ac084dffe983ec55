"""Others' nets beside the paper's: who else sees that depth helps, and that it saturates?"""

from __future__ import annotations

import pandas as pd

from repro.paper import numbers
from repro.protocol.protocols import TABLE3

STEPS = (("A", "B"), ("B", "D"), ("D", "E"))
"""Neighbours in depth among the nets that others trained, the shallower first (Section 4.1)."""
NORMALISED = "-BN"
"""Ends the name of a configuration with batch normalisation."""


def replications() -> pd.DataFrame:
    """A row for each net of others, its errors in percent, beside Table 3's at S=256."""
    rows = [
        {
            **{key: theirs[key] for key in ("net", "weights", "framework", "protocol")},
            **{key: round(theirs[key], 2) for key in ("top1_error", "top5_error")},
            "paper": numbers.error_of(TABLE3, f"{theirs['net']}-S256", "top1_error"),
            "source": theirs["source"],
        }
        for theirs in numbers.replications()
    ]
    return pd.DataFrame(rows)


def depth_gains() -> pd.DataFrame:
    """What each step in depth takes off the top-1 error, by whose nets and in the paper.

    A row for each step that somebody's nets have both ends of: `points`, and `relative` in percent
    of the shallower net's error; negative where the deeper net's error is higher.
    """
    rows = []
    for whose, errors in (_papers() | _others()).items():
        for left, right in STEPS:
            if left in errors and right in errors:
                points = errors[left] - errors[right]
                gain = {
                    "points": round(points, 2),
                    "relative": round(100 * points / errors[left], 1),
                }
                rows.append({"nets": whose, "step": f"{left} to {right}"} | gain)
    return pd.DataFrame(rows)


def shown_gains(gains: pd.DataFrame) -> pd.DataFrame:
    """The gains for readers, a column for each step, as in `0.9 (3.0%)`."""
    words = [f"{row.points:g} ({row.relative:g}%)" for row in gains.itertuples()]
    table = gains.assign(words=words).pivot(index="nets", columns="step", values="words")
    return table.reindex(gains.nets.unique()).fillna("-").rename_axis(None, axis=1).reset_index()


def _papers() -> dict[str, dict[str, float]]:
    return {
        f"the paper, Table 3, {named}, dense": {
            row["net"]: row["top1_error"] for row in numbers.rows(3) if row["scale"] == scale
        }
        for scale, named in (("S256", "S=256"), ("jitter", "S=[256; 512]"))
    }


def _others() -> dict[str, dict[str, float]]:
    """Top-1 errors of each family of weights, as somebody tested them, by configuration."""
    found: dict[str, dict[str, float]] = {}
    for row in numbers.replications():
        net, whose = row["net"].removesuffix(NORMALISED), row["weights"]
        whose += "" if row["framework"] in whose else f", by {row['framework']}"
        whose += "" if net == row["net"] else ", with batch normalisation"
        found.setdefault(f"{whose}, centre crop", {})[net] = row["top1_error"]
    return found
