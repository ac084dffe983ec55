"""The first figure of the report: the primary claims, here and in the paper, as a forest plot."""

from __future__ import annotations

import math
from collections.abc import Sequence
from textwrap import wrap
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.transforms import blended_transform_factory

from repro.report.claims import CONTRADICTED, REPRODUCED, UNDECIDED, UNTESTABLE
from repro.report.drawing import GREY, SHADE, STYLE, WIDTH, Drawn, drawn, over, span
from repro.report.verdicts import Rule

VERDICTS = {
    REPRODUCED: "#00795A",
    CONTRADICTED: "#C04E00",
    UNDECIDED: "#0072B2",
    UNTESTABLE: GREY,
}
HOLDS = "#cfe8df"
FURTHEST = 50.0
"""Percent; what lies beyond is pointed at."""
LEFT, RIGHT = 3.2, 1.55
"""Inches for the sentences and for the verdicts."""
TOP, BOTTOM = 0.6, 0.7
_LINE = 0.155
NUMBERS = [
    *("margin", "difference", "ci_low", "ci_high", "relative", "relative_low", "relative_high"),
    *("paper_relative", "paper_relative_other"),
]
Row = dict[Any, Any]


def primary_figure(judged: pd.DataFrame, sentences: dict[str, str]) -> Drawn | None:
    """The relative effects of the primary claims, with their intervals and the paper's effects.

    Args:
        judged: a row for each claim, as `repro.report.claims.judge` returns them.
        sentences: what each claim says, by its name, in the claims' order.

    Returns:
        None where no primary claim was judged.
    """
    numbers = judged[NUMBERS].apply(pd.to_numeric)
    rows = [row for row in judged.assign(**numbers).to_dict("records") if row["primary"]]
    if not rows:
        return None
    order = list(sentences)
    rows.sort(key=lambda row: order.index(row["claim"]))
    with mpl.rc_context(STYLE):
        return _drawn(rows, sentences)


def _drawn(rows: list[Row], sentences: dict[str, str]) -> Drawn:
    texts = [wrap(sentences[row["claim"]], 46) for row in rows]
    lines = [max(2, len(t), len(_words(r).split("\n"))) for r, t in zip(rows, texts, strict=True)]
    heights = [0.12 + _LINE * count for count in lines]
    height = TOP + sum(heights) + BOTTOM
    figure = Figure(figsize=(WIDTH, height))
    axes = figure.add_axes(
        (
            LEFT / WIDTH,
            BOTTOM / height,
            1 - (LEFT + RIGHT) / WIDTH,
            1 - (TOP + BOTTOM) / height,
        )
    )
    _axis(axes, rows, sum(heights))
    beside = blended_transform_factory(figure.transFigure, axes.transData)
    top = 0.0
    for row, text, tall in zip(rows, texts, heights, strict=True):
        middle = top + tall / 2
        rule: dict[str, Any] = {"color": "#d5dadf", "lw": 0.7, "clip_on": False, "zorder": 0}
        axes.plot([0.01, 0.99], [top, top], transform=beside, **rule)
        look: dict[str, Any] = {"transform": beside, "va": "center", "linespacing": 1.15}
        axes.text(0.1 / WIDTH, middle, "\n".join(text), **look)
        colour = VERDICTS[row["verdict"]]
        words = 1 - (RIGHT - 0.12) / WIDTH
        axes.text(words, middle, _words(row), color=colour, weight="bold", **look)
        if _known(row["relative"]):
            _effect(axes, row, middle, tall)
        else:
            _no_effect(axes, row, top, tall)
        top += tall
    handles = _legend(rows)
    figure.legend(handles=handles, loc="upper center", ncols=-(-len(handles) // 2), handlelength=3)
    return drawn("primary-claims", _caption(rows), figure)


def _known(value: Any) -> bool:
    return not pd.isna(value)


def _axis(axes: Axes, rows: Sequence[Row], height: float) -> None:
    ours = ("relative", "relative_low", "relative_high")
    paper = ("paper_relative", "paper_relative_other")
    # Costs differ by far more than errors do: they are pointed at, so that errors can be read.
    shown = [row for row in rows if _known(row["relative"]) and row["kind"] != "cheaper"]
    values = [float(row[key]) for row in shown for key in (*ours, *paper) if _known(row[key])]
    low = max(-FURTHEST, min([*values, -10.0]))
    high = min(FURTHEST, max([*values, 10.0]))
    margin = 0.06 * (high - low)
    axes.set_xlim(low - margin, high + margin)
    axes.set_ylim(height, 0)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.axvline(0, color="black", lw=0.9, zorder=1)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:+.0f}" if value else "0")
    axes.set_xlabel("change of the error,\nin percent of what it is compared with")


def _effect(axes: Axes, row: Row, middle: float, tall: float) -> None:
    """Ours above, the paper's below it, and behind both where the claim holds."""
    low, high = axes.get_xlim()
    ours, theirs = middle - min(0.07, tall / 6), middle + min(0.1, tall / 4)
    begin, end = _holds(row)
    if begin < high and end > low:
        place = (middle - tall / 2 + 0.02, middle + tall / 2 - 0.02)
        axes.fill_betweenx(place, max(begin, low), min(end, high), color=HOLDS, lw=0, zorder=0)
    colour, one = VERDICTS[row["verdict"]], bool(row["one_seed"])
    if _known(row["relative_low"]) and _known(row["relative_high"]):
        span(axes, ours, (row["relative_low"], row["relative_high"]), colour, dashed=one)
    if low <= row["relative"] <= high:
        axes.plot(row["relative"], ours, "o", ms=6.5, color=colour, mfc="white" if one else colour)
    else:
        over(axes, ours, row["relative"], colour)
    for key, shade in (("paper_relative_other", "#9b9b9b"), ("paper_relative", "black")):
        if not _known(row[key]):
            continue
        if low <= row[key] <= high:
            axes.plot(row[key], theirs, "x", color=shade, ms=6, mew=1.8)
        else:
            over(axes, theirs, row[key], shade)


def _holds(row: Row) -> tuple[float, float]:
    """Between which relative changes the claim holds, in percent."""
    widths = [row["relative_high"] - row["relative_low"], row["ci_high"] - row["ci_low"]]
    # The margin stands in the unit of the difference.
    if not row["margin"]:
        margin = 0.0
    else:
        margin = row["margin"] * widths[0] / widths[1] if widths[1] else math.nan
    return Rule(row["kind"], margin).edges(100.0)


def _no_effect(axes: Axes, row: Row, top: float, tall: float) -> None:
    beside = axes.get_yaxis_transform()
    axes.fill_between(
        [0, 1], top + 0.02, top + tall - 0.02, color=SHADE, transform=beside, zorder=2
    )
    words = str(row["reason"]) if _known(row["reason"]) and row["reason"] else "no relative change"
    if row["kind"] == "counts" and _known(row["difference"]):
        words = f"share of seeds that learn: {row['difference']:+.0f} points"
        if _known(row["ci_low"]) and _known(row["ci_high"]):
            words += f" [{row['ci_low']:+.0f}; {row['ci_high']:+.0f}]"
    lines = wrap(words, 50)
    held = max(1, int((tall - 0.05) / _LINE))
    text = "\n".join(lines[:held]) + (" …" if len(lines) > held else "")
    look: dict[str, Any] = {"transform": beside, "va": "center", "linespacing": 1.1}
    axes.text(0.02, top + tall / 2, text, color="#3c444b", zorder=3, **look)


def _words(row: Row) -> str:
    with_holm = row["verdict_holm"]
    if not with_holm or pd.isna(with_holm) or with_holm == row["verdict"]:
        return str(row["verdict"])
    return f"{row['verdict']}\n(with Holm:\n{with_holm})"


def _legend(rows: Sequence[Row]) -> list[Line2D | Patch]:
    shown = [row for row in rows if _known(row["relative"])]
    look: dict[str, Any] = {"color": GREY, "marker": "o", "ms": 6.5, "lw": 1.6}
    marks: list[tuple[bool, Line2D | Patch]] = [
        (
            any(not row["one_seed"] for row in shown),
            Line2D([], [], label="here, several seeds: 95% interval", **look),
        ),
        (
            any(row["one_seed"] for row in shown),
            Line2D([], [], label="here, one seed: images only", ls="--", mfc="white", **look),
        ),
        (
            any(_known(row["paper_relative"]) for row in shown),
            Line2D([], [], label="the paper", color="black", marker="x", ls="", mew=1.8),
        ),
        (
            any(_known(row["paper_relative_other"]) for row in shown),
            Line2D([], [], label="its other reading", color="#9b9b9b", marker="x", ls="", mew=1.8),
        ),
        (bool(shown), Patch(color=HOLDS, label="where the claim holds")),
    ]
    return [mark for there, mark in marks if there]


def _caption(rows: Sequence[Row]) -> str:
    caption = (
        "The primary claims: by how many percent the error is lower or higher than that of what it "
        "is compared with (the time, for the claim on cost). A claim is reproduced where its whole "
        "interval lies in its green field, contradicted where it lies outside of it, else not "
        "decided. Arrows point at what lies beyond the axis."
    )
    if any(row["one_seed"] for row in rows):
        caption += " Dashed: one seed, so the interval is of these nets, not of the configuration."
    return caption
