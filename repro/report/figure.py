"""The one way in which every figure is drawn: the marks of a chart become panels of a PNG."""

import io
from collections import defaultdict
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, MaxNLocator
from PIL import Image

from repro.report.intervals import CONTRADICTED, REPRODUCED, UNDECIDED, UNTESTABLE
from repro.report.marks import TEMPLATES, Chart

Joined = defaultdict[tuple[str, str, str], list[tuple[float, float]]]
"""Points of the marks of a panel that look alike, by kind, part and colour: one line draws them."""
# Okabe and Ito's colours and some of Paul Tol's, told apart by colour-blind readers too.
COLOURS = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"),
    *("#999933", "#882255", "#6b747c", "#44AA99", "#AA4466"),
)
NAMED = {
    **{REPRODUCED: "#00795A", CONTRADICTED: "#C04E00", UNDECIDED: "#0072B2"},
    **{UNTESTABLE: "#6b747c", "the paper": "#000000"},
}
"""The colours of groups that always have the same."""
GREY, SHADE, HOLDS = "#6b747c", "#f1f3f5", "#cfe8df"
WIDTH, DPI = 8.0, 160
LANE, LINE, GAP = 0.17, 0.15, 0.12
"""Inches between two groups of a row, between two lines of its name, and between two rows."""
STYLE = TEMPLATES / "figure.mplstyle"
POINTS: dict[str, dict[str, Any]] = {
    "mean": {"marker": "o", "ms": 5, "ls": "-"},
    "one seed": {"marker": "o", "ms": 5, "mfc": "white", "ls": "--"},
    "seed": {"marker": "o", "ms": 3, "ls": "", "alpha": 0.55, "mew": 0},
    "paper": {"marker": "x", "ms": 6, "mew": 1.8, "ls": ""},
}
"""How a mark looks that is a point."""
CURVES = {"line": "-", "dotted": ":"}
"""How a mark looks that joins the points of a `line`."""
LEGEND = {
    "mean": "mean of several seeds, 95% interval",
    "one seed": "one seed, interval over images",
    "seed": "a seed",
    "paper": "the paper",
    "field": "where the claim holds",
    "dotted": "on training crops",
}


def png(chart: Chart) -> bytes:
    """A chart as a file; the same frame gives the same bytes."""
    with mpl.rc_context(fname=STYLE):
        # Drawn once: `savefig` draws once more, to lay it out.
        canvas: Any = FigureCanvasAgg(figure(chart))
        canvas.draw()
    file = io.BytesIO()
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    picture.save(file, "PNG", dpi=(DPI, DPI), compress_level=3)
    return file.getvalue()


def figure(chart: Chart) -> Figure:
    """A chart as Matplotlib has it."""
    groups = [group for group in dict.fromkeys(chart.marks.group) if group]
    taken = {NAMED.get(group) for group in groups}
    left = iter([colour for colour in COLOURS if colour not in taken])
    colours = {one: NAMED.get(one) or next(left, GREY) for one in groups}
    drawn = (_lines if chart.y else _rows)(chart, list(dict.fromkeys(chart.marks.facet)), colours)
    _legend(drawn, chart.marks, colours)
    return drawn


def _rows(chart: Chart, facets: list[str], colours: dict[str, str]) -> Figure:
    """A row for each name, its groups below each other."""
    groups = {
        str(name): [g for g in dict.fromkeys(part.group) if g]
        for name, part in chart.marks.groupby("y", sort=False)
    }
    heights = [
        max(LANE * max(1, len(own)), LINE * (1 + name.count("\n"))) + GAP
        for name, own in groups.items()
    ]
    ends = np.cumsum([0, *heights])
    spans = {name: (ends[n], ends[n + 1]) for n, name in enumerate(groups)}
    figure = Figure(figsize=(WIDTH, ends[-1] + 1.1), dpi=DPI, layout="constrained")
    panels = figure.subplots(1, len(facets), squeeze=False)[0]
    for panel, facet, limits in zip(panels, facets, _limits(chart, facets), strict=True):
        panel.set(title=facet, xlabel=chart.x, xlim=limits, ylim=(ends[-1], 0))
        panel.grid(visible=False, axis="y")
        panel.set_yticks([])
        for span in list(spans.values())[::2]:
            panel.axhspan(*span, color=SHADE, lw=0, zorder=0)
        lines = Joined(list)
        for mark in chart.marks[chart.marks.facet == facet].to_dict("records"):
            own, span = groups[mark["y"]], spans[mark["y"]]
            lane = own.index(mark["group"]) if mark["group"] in own else (len(own) - 1) / 2
            place = sum(span) / 2 + LANE * (lane - (len(own) - 1) / 2)
            _row_mark(panel, mark, place, span, colours.get(mark["group"], GREY), lines)
        _draw(panel, lines)
        if chart.signed:
            panel.axvline(0, color="black", lw=0.9, zorder=1)
    middles = [sum(span) / 2 for span in spans.values()]
    panels[0].set_yticks(middles, list(spans))
    panels[0].tick_params(axis="y", length=0)
    return figure


def _row_mark(
    panel: Axes,
    mark: dict[Any, Any],
    place: float,
    span: tuple[float, float],
    colour: str,
    lines: Joined,
) -> None:
    kind, (left, right) = mark["mark"], panel.get_xlim()
    look: dict[str, Any]
    if kind == "field":
        ends = max(mark["low"], left), min(mark["high"], right)
        panel.fill_betweenx((span[0] + 0.02, span[1] - 0.02), *ends, color=HOLDS, lw=0, zorder=0)
    elif kind == "beside":
        look = {"transform": panel.get_yaxis_transform(), "va": "center", "weight": "bold"}
        panel.text(1.01, sum(span) / 2, mark["words"], color=colour, **look)
    else:
        low, high = (np.clip(mark[end], left, right) for end in ("low", "high"))
        if POINTS[kind]["ls"] and low < high:
            lines[kind, "interval", colour] += [(low, place), (high, place), (np.nan, np.nan)]
        if left <= mark["x"] <= right:
            lines[kind, "point", colour].append((mark["x"], place))
            # Arrows at the edge too, where an interval goes on beyond the axis.
            if mark["low"] < left:
                lines[kind, "<", colour].append((left, place))
            if mark["high"] > right:
                lines[kind, ">", colour].append((right, place))
        elif kind != "seed":
            # An arrow at the edge, with its number, for a value outside of the axis.
            edge, words, side = (right, "{:.0f} >", "right")
            if mark["x"] < left:
                edge, words, side = (left, "< {:.0f}", "left")
            look = {"ha": side, "va": "center", "color": colour, "weight": "bold"}
            panel.text(edge, place, words.format(mark["x"]), **look)


def _draw(panel: Axes, lines: Joined) -> None:
    for (kind, part, colour), points in lines.items():
        # A mean lies above its seeds.
        look = POINTS[kind] | {"ls": "", "zorder": 3 + (kind != "seed")}
        if part == "interval":
            look = {"ls": POINTS[kind]["ls"], "lw": 1.6}
        elif part != "point":
            look |= {"marker": part, "mfc": colour}
        panel.plot(*np.transpose(points), color=colour, **look)


def _limits(chart: Chart, facets: list[str]) -> list[tuple[float, float]]:
    """The ends of each panel's axis; panels of different tasks show one range in shares of it."""
    ends = []
    for facet in facets:
        part = chart.marks[(chart.marks.facet == facet) & chart.marks.mark.isin(list(POINTS))]
        part = part[["x", "low", "high"]].astype(float)
        # A few nets that did not learn are pointed at, so that the others can be told apart.
        near = part[part.x.abs() <= (60.0 if chart.signed else 4 * part.x.abs().median())]
        first, last = near.x.min(), near.x.max()
        reach = last - first or 1.0
        low = near.low.fillna(near.x).clip(lower=first - reach).min()
        high = near.high.fillna(near.x).clip(upper=last + reach).max()
        ends.append((min(low, first), max(high, last)))
    if chart.signed:
        ends = [(min(low, 0.0), max(high, 0.0)) for low, high in ends]
        return [(low - 0.06 * (high - low), high + 0.06 * (high - low)) for low, high in ends]
    share = 1.08 * max(0.02, *((high - low) / (low + high) for low, high in ends))
    middles = [(low + high) / 2 for low, high in ends]
    return [
        (max(0.0, middle * (1 - share)), min(100.0, middle * (1 + share))) for middle in middles
    ]


def _lines(chart: Chart, facets: list[str], colours: dict[str, str]) -> Figure:
    """Panels in rows of three that share their axes."""
    rows, columns = -(-len(facets) // 3), min(3, len(facets))
    figure = Figure(figsize=(WIDTH, 2.4 * rows + 0.8), dpi=DPI, layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    frame = chart.marks.astype(dict.fromkeys(("x", "y", "low", "high"), float))
    for panel in grid.flat[len(facets) :]:
        panel.set_axis_off()
    xs: list[float] = np.unique(frame.x.dropna()).tolist()
    for number, facet in enumerate(facets):
        panel = grid.flat[number]
        parts = frame[frame.facet == facet].groupby(["group", "mark", "line"], sort=False)
        for (group, kind, _), part in parts:
            colour = colours.get(str(group), GREY)
            if kind in CURVES:
                panel.plot(part.x, part.y, CURVES[str(kind)], color=colour, lw=1.3)
            elif kind == "band":
                panel.fill_between(part.x, part.low, part.high, color=colour, alpha=0.18, lw=0)
            else:
                panel.vlines(part.x, part.low, part.high, colour, lw=1, alpha=0.6)
                look = POINTS[str(kind)] | {"color": colour, "ls": "", "ms": 3.5}
                panel.plot(part.x, part.y, **look)
        panel.set_title(facet)
        few = len(xs) <= 12
        panel.xaxis.set_major_locator(FixedLocator(xs) if few else MaxNLocator(6, integer=True))
        panel.tick_params(axis="x", labelrotation=90 * (xs[-1] > 99 and len(xs) * columns > 15))
        panel.tick_params(labelbottom=number + columns >= len(facets))
        if number % columns == 0:
            panel.set_ylabel(chart.y)
    figure.supxlabel(chart.x, fontsize="medium")
    return figure


def _legend(figure: Figure, frame: pd.DataFrame, colours: dict[str, str]) -> None:
    """The legend of colours and marks, above all panels, in as few rows as fit."""
    handles: dict[str, Any] = {}
    for group, colour in colours.items():
        kinds = set(frame[frame.group == group].mark)
        look: dict[str, Any] = POINTS["paper"] if kinds == {"paper"} else {"ls": "-", "lw": 2.5}
        # What is written beside a row needs no entry.
        if "beside" not in kinds:
            handles[group] = Line2D([], [], color=colour, **look)
    for kind in [kind for kind in LEGEND if kind in set(frame.mark)]:
        # A group of its own is named by it already.
        look = POINTS.get(kind) or {"ls": CURVES.get(kind), "lw": 1.3}
        point = Patch(color=HOLDS) if kind == "field" else Line2D([], [], color=GREY, **look)
        handles.setdefault(LEGEND[kind], point)
    if handles:
        # So many columns as fit, each as wide as the longest entry.
        across = max(1, min(5, 100 // (8 + max(map(len, handles)))))
        figure.legend([*handles.values()], [*handles], loc="outside upper center", ncols=across)
