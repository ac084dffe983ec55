"""The figure of all claims: an interval each, as in a forest plot."""

from __future__ import annotations

import math
from collections.abc import Sequence
from textwrap import wrap
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from repro.analysis.claims import CONTRADICTED, REPRODUCED, UNDECIDED, UNTESTABLE
from repro.analysis.drawing import COLOURS, STYLE, Drawn, drawn

VERDICTS = {
    REPRODUCED: COLOURS[2],
    CONTRADICTED: COLOURS[1],
    UNDECIDED: COLOURS[0],
    UNTESTABLE: "#9aa4ae",
}


def claims_figure(judged: pd.DataFrame, sentences: dict[str, str]) -> Drawn | None:
    """All claims as intervals, the paper's value marked on each.

    Args:
        judged: a row for each claim, as in `claims.csv`.
        sentences: what each claim says, by its name.
    """
    if judged.empty:
        return None
    with mpl.rc_context(STYLE):
        return _claims_figure(judged.to_dict("records"), sentences)


def _claims_figure(rows: list[dict[Any, Any]], sentences: dict[str, str]) -> Drawn:
    figure = Figure(figsize=(8, 1.3 + 0.27 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for place, row in enumerate(rows):
        # What cannot be tested is shown and stays in the background.
        look: dict[str, Any] = {"color": VERDICTS[row["verdict"]]}
        look["alpha"] = 0.5 if row["verdict"] == UNTESTABLE else 1.0
        axes.plot([row["ci_low"], row["ci_high"]], [place, place], "-", lw=1.6, **look)
        # Hollow: does not hold over all claims together.
        hollow = None if row["verdict"] == row["verdict_holm"] else "white"
        axes.plot(row["difference"], place, "o", ms=4, mfc=hollow, **look)
        if not pd.isna(row["paper_difference"]):
            axes.plot(row["paper_difference"], place, "x", color="black", ms=5, mew=1.2)
    _claims_axes(axes, rows, sentences)
    caption = (
        "Every claim with both sides measured: left minus right in points of top-1 error with its "
        "95% interval (of the configuration where there are several seeds and the claim is about "
        "one, else of these nets), and the paper's own difference. Hollow: not with Holm. Points "
        "of two tasks: compare signs, and sizes only by the relative changes in the table. The "
        "axis is linear up to two points and logarithmic beyond."
    )
    return drawn("claims", caption, figure)


def _claims_axes(axes: Axes, rows: Sequence[dict[Any, Any]], sentences: dict[str, str]) -> None:
    axes.axvline(0, color="black", lw=0.8)
    axes.set_yticks(
        range(len(rows)),
        ["\n".join(wrap(sentences[row["claim"]], 66)[:2]) for row in rows],
        fontsize=6.5,
    )
    axes.set_ylim(len(rows) - 0.5, -0.5)
    tested = [row for row in rows if row["verdict"] != UNTESTABLE] or rows
    reach = [abs(row[key]) for row in tested for key in ("ci_low", "ci_high")]
    reach += [abs(row["paper_difference"]) for row in rows if not pd.isna(row["paper_difference"])]
    edge = 1.05 * max(reach)
    # Linear around zero, where most claims lie, and then by orders of magnitude.
    axes.set_xscale("symlog", linthresh=2.0)
    ticks = [tick for tick in (1, 2, 5, 10, 20, 50, 100) if tick < edge]
    ticks = [*(-tick for tick in reversed(ticks)), 0, *ticks]
    axes.set_xticks(ticks, [f"{tick:+d}" if tick else "0" for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.set_xlim(-edge, edge)
    for place, row in enumerate(rows):
        # What lies outside, which only untested claims do, is pointed at.
        if abs(row["difference"]) > edge:
            side = math.copysign(0.98 * edge, row["difference"])
            axes.plot(side, place, ">" if side > 0 else "<", color=VERDICTS[UNTESTABLE], ms=4)
    axes.set_xlabel("difference (points of top-1 error); below zero: the left side errs less")
    for verdict, colour in VERDICTS.items():
        if any(row["verdict"] == verdict for row in rows):
            axes.plot([], [], "o-", color=colour, ms=4, label=verdict)
    axes.plot([], [], "x", color="black", label="the paper")
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=5, frameon=False, fontsize=7)
