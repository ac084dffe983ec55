"""The figure of all verdicts: a row for each claim, a column for each question."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from repro.report.claims import CONTRADICTED, REPRODUCED, UNDECIDED, UNTESTABLE
from repro.report.drawing import STYLE, WIDTH, Drawn, drawn

CELLS = {
    REPRODUCED: ("R", "#009E73", "white"),
    CONTRADICTED: ("C", "#D55E00", "white"),
    UNDECIDED: ("?", "#A6CEE8", "black"),
    UNTESTABLE: ("–", "#dde1e5", "black"),
}
"""How a verdict's cell looks: its letter, the colour of the cell, the colour of the letter."""
QUESTIONS = {
    "verdict_nets": "these\nnets",
    "verdict_configuration": "configu-\nration",
    "verdict_holm": "with\nHolm",
}
"""The columns of the grid: which column of the claims each shows, and its title."""
CELL = 0.62
"""Inches; a row is as high as its sentence has lines."""
ROW, LINE, FAMILY = 0.23, 0.15, 0.3
TOP, BOTTOM = 0.72, 0.1
CHARACTERS = 88
Row = dict[Any, Any]


def verdicts_figure(judged: pd.DataFrame, sentences: dict[str, str]) -> Drawn | None:
    """What was decided of every claim, family by family.

    Args:
        judged: a row for each claim, as `repro.report.claims.judge` returns them.
        sentences: what each claim says, by its name, in the claims' order.

    Returns:
        None where no claim was judged.
    """
    if judged.empty:
        return None
    order = list(sentences)
    rows = sorted(judged.to_dict("records"), key=lambda row: order.index(row["claim"]))
    families: dict[str, list[Row]] = {}
    for row in rows:
        families.setdefault(str(row["family"]), []).append(row)
    with mpl.rc_context(STYLE):
        return _drawn(families, sentences)


def _drawn(families: dict[str, list[Row]], sentences: dict[str, str]) -> Drawn:
    texts = {
        row["claim"]: wrap(sentences[row["claim"]], CHARACTERS - 8 * bool(row["primary"]))
        for rows in families.values()
        for row in rows
    }
    body = FAMILY * len(families) + sum(map(_height, texts.values()))
    height = TOP + body + BOTTOM
    figure = Figure(figsize=(WIDTH, height))
    axes = figure.add_axes((0, BOTTOM / height, 1, body / height))
    axes.set_axis_off()
    axes.set_xlim(0, WIDTH)
    axes.set_ylim(body, 0)
    place = 0.0
    for family, rows in families.items():
        axes.text(0.1, place + FAMILY - 0.06, family, va="bottom", weight="bold", color="#3c444b")
        place += FAMILY
        axes.plot([0.1, WIDTH - 0.1], [place - 0.04] * 2, color="#b6bec5", lw=0.8)
        for row in rows:
            tall = _height(texts[row["claim"]])
            _row(axes, row, "\n".join(texts[row["claim"]]), place, tall)
            place += tall
    for number, title in enumerate(QUESTIONS.values()):
        axes.text(_left(number) + CELL / 2, -0.05, title, ha="center", va="bottom")
    found = {row[key] for rows in families.values() for row in rows for key in QUESTIONS}
    figure.legend(handles=_legend(found), loc="upper center", ncols=4, handlelength=1.4)
    return drawn("verdicts", _caption([row for rows in families.values() for row in rows]), figure)


def _height(text: Sequence[str]) -> float:
    return ROW + LINE * (len(text) - 1)


def _left(column: int) -> float:
    """Where a column of cells begins, in inches."""
    return WIDTH - 0.1 - CELL * (len(QUESTIONS) - column)


def _row(axes: Axes, row: Row, text: str, place: float, tall: float) -> None:
    middle = place + tall / 2
    primary = bool(row["primary"])
    look: dict[str, Any] = {"va": "center", "linespacing": 1.1}
    axes.text(0.25, middle, text, weight="bold" if primary else "normal", **look)
    if primary:
        axes.plot(0.16, middle, marker="D", ms=4, color="black")
    for number, key in enumerate(QUESTIONS):
        verdict = row[key]
        if key == "verdict_holm" and not primary:
            continue
        corner = (_left(number) + 0.02, place + 0.015)
        letter, face, ink = CELLS.get(verdict, ("", "white", "black"))
        box = Rectangle(corner, CELL - 0.04, tall - 0.03, fc=face, ec="#c4cbd1", lw=0.6)
        axes.add_patch(box)
        centre = _left(number) + CELL / 2
        axes.text(centre, middle, letter, ha="center", color=ink, weight="bold", **look)


def _legend(found: set[Any]) -> list[Patch]:
    return [
        Patch(fc=face, ec="#c4cbd1", label=f"{letter}  {verdict}")
        for verdict, (letter, face, _) in CELLS.items()
        if verdict in found
    ]


def _caption(rows: Sequence[Row]) -> str:
    primary = sum(bool(row["primary"]) for row in rows)
    caption = (
        f"The verdicts on {len(rows)} claims, family by family: for these nets, only the test "
        "images being a sample, and for the configuration, other seeds being one too (empty: one "
        "seed, which cannot say)."
    )
    if primary:
        caption += (
            f" Bold, with a mark: the {primary} primary claims, which also have the verdict that "
            "holds for all of them together (Holm; empty: not tested)."
        )
    return caption
