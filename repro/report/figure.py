"""The one way in which every figure is drawn: a tidy frame of marks becomes panels of a PNG."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import yaml
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullFormatter

MARKS = ["facet", "group", "mark", "line", "x", "y", "low", "high", "words"]
"""The columns of a chart's frame, a row for each mark.

`facet` names the panel, `group` the entry of the legend and so the colour; points of one `line`
are joined; `low` and `high` are an interval along the axis of values; `words` stand where they are
drawn. In a chart of rows `y` is the name of the row and `x` the value, else both are numbers.
"""
# Okabe and Ito's colours and some of Paul Tol's, told apart by colour-blind readers too.
COLOURS = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"),
    *("#999933", "#882255", "#6b747c", "#44AA99", "#AA4466"),
)
OPTIONAL = ("one_seed", "panels", "orphans")
"""Gaps of captions that a sentence may fill."""
GREY, SHADE, HOLDS = "#6b747c", "#f1f3f5", "#cfe8df"
WIDTH, DPI = 8.0, 160
LANE, LINE, GAP = 0.17, 0.15, 0.12
"""Inches between two groups of a row, between two lines of its name, and between two rows."""
STYLE: Any = {
    **{"font.size": 9, "axes.titlesize": 9.5, "legend.frameon": False, "grid.alpha": 0.25},
    **{"axes.spines.top": False, "axes.spines.right": False},
    **{"axes.grid": True, "axes.axisbelow": True},
}
POINTS: dict[str, dict[str, Any]] = {
    "mean": {"marker": "o", "ms": 5, "ls": "-"},
    "one seed": {"marker": "o", "ms": 5, "mfc": "white", "ls": "--"},
    "point": {"marker": "o", "ms": 5, "ls": "-"},
    "seed": {"marker": "o", "ms": 3, "ls": "", "alpha": 0.55, "mew": 0},
    "paper": {"marker": "x", "ms": 6, "mew": 1.8, "ls": ""},
}
"""How a mark looks that is a point."""
CURVES = {"line": "-", "dashed": "--", "dotted": ":"}
"""How a mark looks that joins the points of a `line`."""
LEGEND = {
    "mean": "mean of several seeds, 95% interval",
    "one seed": "one seed, interval over images",
    "seed": "a seed",
    "paper": "the paper",
    "field": "where the claim holds",
}


@dataclass(frozen=True)
class Chart:
    """A figure before it is drawn: its marks, and the words around them."""

    name: str
    caption: str
    marks: pd.DataFrame
    x: str
    y: str = ""
    """The title of the upright axis; empty: a chart of rows."""
    log: bool = False
    """The axis of values is logarithmic."""
    free: bool = False
    """Each panel has an axis of its own, its title says of what."""
    centre: float | None = None
    """A line is drawn at this value, and values lie on both sides of it."""
    colours: Mapping[str, str] = field(default_factory=dict)
    """Of some groups; the others take those that are left."""

    def png(self) -> bytes:
        """The figure as a file; the same frame gives the same bytes."""
        with mpl.rc_context(STYLE):
            figure = self.figure()
            file = io.BytesIO()
            figure.savefig(file, format="png", dpi=DPI, metadata={"Software": None})
        return file.getvalue()

    def figure(self) -> Figure:
        """The figure as Matplotlib has it."""
        colours = self._colours()
        facets = list(dict.fromkeys(self.marks.facet))
        figure = _rows(self, facets, colours) if not self.y else _lines(self, facets, colours)
        _legend(figure, self.marks, colours)
        return figure

    def _colours(self) -> dict[str, str]:
        groups = [group for group in dict.fromkeys(self.marks.group) if group]
        left = iter([one for one in COLOURS if one not in set(self.colours.values())])
        return {group: self.colours.get(group) or next(left, GREY) for group in groups}


@lru_cache
def _captions() -> dict[str, str]:
    path = Path(__file__).with_name("templates") / "captions.yaml"
    found: dict[str, str] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return found


def caption(name: str, **words: Any) -> str:
    """A caption of `templates/captions.yaml` with its gaps filled."""
    optional = {key: f" {word}" if word else "" for key, word in words.items() if key in OPTIONAL}
    return _captions()[name].format(**words | optional)


def marks(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """The frame of a chart from its marks; what one does not say is empty."""
    empty = {"facet": "", "group": "", "line": "", "words": ""}
    return pd.DataFrame([empty | row for row in rows], columns=MARKS)


def _rows(chart: Chart, facets: list[str], colours: dict[str, str]) -> Figure:
    """A row for each name, its groups below each other."""
    rows = {
        name: [g for g in dict.fromkeys(part.group) if g]
        for name, part in chart.marks.groupby("y", sort=False)
    }
    heights = [
        max(LANE * max(1, len(groups)), LINE * (1 + str(name).count("\n"))) + GAP
        for name, groups in rows.items()
    ]
    tops = dict(zip(rows, np.cumsum([0, *heights]), strict=False))
    tall = dict(zip(rows, heights, strict=True))
    figure = Figure(figsize=(WIDTH, sum(heights) + 1.1), layout="constrained")
    panels = figure.subplots(1, len(facets), sharey=True, squeeze=False)[0]
    _value_limits(chart, facets, list(panels))
    for panel, facet in zip(panels, facets, strict=True):
        panel.set(title=facet, xlabel=chart.x, ylim=(sum(heights), 0))
        panel.grid(visible=False, axis="y")
        panel.tick_params(axis="y", length=0)
        for number, name in enumerate(rows):
            if number % 2 == 0:
                panel.axhspan(tops[name], tops[name] + tall[name], color=SHADE, lw=0, zorder=0)
        for mark in chart.marks[chart.marks.facet == facet].to_dict("records"):
            groups, top = rows[mark["y"]], tops[mark["y"]]
            lane = groups.index(mark["group"]) if mark["group"] in groups else (len(groups) - 1) / 2
            place = top + tall[mark["y"]] / 2 + LANE * (lane - (len(groups) - 1) / 2)
            whole = (top + 0.02, top + tall[mark["y"]] - 0.02)
            _row_mark(panel, mark, place, whole, colours.get(mark["group"], GREY))
        if chart.centre is not None:
            panel.axvline(chart.centre, color="black", lw=0.9, zorder=1)
    middles = [tops[name] + tall[name] / 2 for name in rows]
    panels[0].set_yticks(middles, list(rows), multialignment="left")
    _beside(panels[-1], chart.marks, dict(zip(rows, middles, strict=True)), colours)
    return figure


def _beside(
    panel: Axes, frame: pd.DataFrame, middles: Mapping[Any, float], colours: dict[str, str]
) -> None:
    """Words to the right of the last panel."""
    said = frame[frame.mark == "beside"]
    if said.empty:
        return
    axis = panel.secondary_yaxis("right")
    axis.set_yticks([middles[y] for y in said.y], list(said.words))
    axis.tick_params(length=0)
    axis.spines["right"].set_visible(False)
    for label, group in zip(axis.get_yticklabels(), said.group, strict=True):
        label.set(color=colours.get(group, GREY), weight="bold")


def _row_mark(
    panel: Axes, mark: dict[Any, Any], place: float, whole: tuple[float, float], colour: str
) -> None:
    kind, (left, right) = mark["mark"], panel.get_xlim()
    if kind == "field":
        ends = max(mark["low"], left), min(mark["high"], right)
        panel.fill_betweenx(whole, *ends, color=HOLDS, lw=0, zorder=0)
    elif kind == "words":
        look: dict[str, Any] = {"transform": panel.get_yaxis_transform(), "va": "center"}
        look["bbox"] = {"fc": "white", "ec": "none", "alpha": 0.85, "pad": 1.5}
        panel.text(0.02, place, mark["words"], color="#3c444b", zorder=6, **look)
    elif kind in POINTS:
        look = {**POINTS[kind], "color": colour, "zorder": 3}
        style = look.pop("ls")
        low, high = (np.clip(mark[end], left, right) for end in ("low", "high"))
        if style and low < high:
            panel.plot([low, high], [place, place], style, color=colour, lw=1.6)
        if left <= mark["x"] <= right:
            panel.plot(mark["x"], place, **look)
        elif kind != "seed":
            _pointer(panel, mark["x"], place, colour)


def _pointer(panel: Axes, value: float, place: float, colour: str) -> None:
    """An arrow at the edge, with its number, for a value outside of the axis."""
    left, right = panel.get_xlim()
    above = value > right
    panel.plot(right if above else left, place, ">" if above else "<", color=colour, clip_on=False)
    panel.annotate(
        f"{value:.0f}",
        (right if above else left, place),
        xytext=(-8 if above else 8, 0),
        textcoords="offset points",
        ha="right" if above else "left",
        va="center_baseline",
        color=colour,
    )


def _value_limits(chart: Chart, facets: list[str], panels: list[Axes]) -> None:
    """Panels of different tasks have one scale in shares of their middle."""
    ends = {}
    for facet in facets:
        part = chart.marks[(chart.marks.facet == facet) & chart.marks.mark.isin(list(POINTS))]
        values = part.x.astype(float).dropna()
        # A few nets that did not learn are pointed at, so that the others can be told apart.
        furthest = 4 * values.abs().median() if chart.centre is None else 60.0
        near = values[values.abs() <= furthest]
        inner = part[part.x.isin(near)]
        reach = near.max() - near.min() or 1.0
        low = max(inner.low.min(), near.min() - reach) if inner.low.notna().any() else near.min()
        high = min(inner.high.max(), near.max() + reach) if inner.high.notna().any() else near.max()
        ends[facet] = min(low, near.min()), max(high, near.max())
    if chart.centre is not None:
        for panel, (low, high) in zip(panels, ends.values(), strict=True):
            margin = 0.06 * (max(high, chart.centre) - min(low, chart.centre))
            panel.set_xlim(min(low, chart.centre) - margin, max(high, chart.centre) + margin)
        return
    middles = {facet: (low + high) / 2 for facet, (low, high) in ends.items()}
    share = max((high - low) / (low + high) for low, high in ends.values())
    for panel, middle in zip(panels, middles.values(), strict=True):
        half = 1.08 * max(share, 0.02) * middle
        panel.set_xlim(max(0.0, middle - half), middle + half)


def _lines(chart: Chart, facets: list[str], colours: dict[str, str]) -> Figure:
    """Panels in rows of three that share their axes."""
    columns = min(3, len(facets))
    rows = -(-len(facets) // columns)
    figure = Figure(figsize=(WIDTH, 2.4 * rows + 0.8), layout="constrained")
    shared = not chart.free
    grid = figure.subplots(rows, columns, sharex=True, sharey=shared, squeeze=False)
    for panel in grid.flat[len(facets) :]:
        panel.set_axis_off()
    for number, facet in enumerate(facets):
        panel = grid.flat[number]
        for (group, kind, _), part in chart.marks[chart.marks.facet == facet].groupby(
            ["group", "mark", "line"], sort=False
        ):
            _line_mark(panel, str(kind), part.astype({"x": float}), colours.get(str(group), GREY))
        panel.set_title(facet)
        panel.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        panel.tick_params(labelbottom=number + columns >= len(facets))
        if not chart.free and number % columns == 0:
            panel.set_ylabel(chart.y)
    figure.supxlabel(chart.x, fontsize=STYLE["font.size"])
    if chart.log:
        _log_axis(grid.flat[0], list(grid.flat[: len(facets)]), chart.marks)
    return figure


def _line_mark(panel: Axes, kind: str, part: pd.DataFrame, colour: str) -> None:
    if kind in CURVES:
        panel.plot(part.x, part.y.astype(float), CURVES[kind], color=colour, lw=1.3)
    elif kind == "band":
        ends = part.low.astype(float), part.high.astype(float)
        panel.fill_between(part.x, *ends, color=colour, alpha=0.18, lw=0)
    else:
        look = {**POINTS[kind], "ls": "", "ms": 3.5}
        panel.vlines(
            part.x, part.low.astype(float), part.high.astype(float), colour, lw=1, alpha=0.6
        )
        panel.plot(part.x, part.y.astype(float), color=colour, **look)


def _log_axis(first: Axes, panels: list[Axes], frame: pd.DataFrame) -> None:
    """Plain numbers on a logarithmic axis; where it spans decades, Matplotlib's own."""
    values = frame.y.astype(float)
    values = values[values > 0]
    first.set_yscale("log")
    if values.max() > 1000 * values.min():
        return
    first.set_ylim(0.9 * values.min(), 1.1 * values.max())
    low, high = first.get_ylim()
    ticks = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100]
    if sum(low <= tick <= high for tick in ticks) < 3:
        ticks = [*ticks[:7], *range(15, 40, 5), *range(40, 101, 10)]
    for panel in panels:
        panel.yaxis.set_major_locator(FixedLocator(ticks))
        panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        panel.yaxis.set_minor_formatter(NullFormatter())


def _legend(figure: Figure, frame: pd.DataFrame, colours: dict[str, str]) -> None:
    """What colours and marks mean, above all panels, in as few rows as fit."""
    handles: dict[str, Any] = {}
    for group, colour in colours.items() if len(colours) > 1 else ():
        kinds = set(frame[frame.group == group].mark)
        style = next((CURVES[kind] for kind in CURVES if kind in kinds), "-")
        look: dict[str, Any] = POINTS["paper"] if kinds == {"paper"} else {"ls": style, "lw": 2.5}
        # What is written beside a row needs no entry.
        if "beside" not in kinds:
            handles[group] = Line2D([], [], color=colour, **look)
    for kind in [kind for kind in POINTS if kind in LEGEND and kind in set(frame.mark)]:
        # A group of its own is named by it already.
        if LEGEND[kind] not in handles:
            handles[LEGEND[kind]] = Line2D([], [], color=GREY, **POINTS[kind])
    if "field" in set(frame.mark):
        handles[LEGEND["field"]] = Patch(color=HOLDS)
    for across in range(min(5, len(handles)), 0, -1):
        found = figure.legend(
            [*handles.values()], [*handles], loc="outside upper center", ncols=across
        )
        if found.get_window_extent().width <= figure.bbox.width or across == 1:
            break
        found.remove()
