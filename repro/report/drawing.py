"""How every figure of the report looks: colours, marks, edges, and both formats of the file."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter

from repro.report.measured import Measured, Spread, spread

# Okabe and Ito's colours and two of Paul Tol's, told apart by colour-blind readers too.
COLOURS = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"),
    *("#999933", "#882255"),
)
OF_SCALE = dict(zip(("S256", "S384", "jitter", "S224"), COLOURS, strict=False))
"""The colour of a training scale is the same in every figure."""
GREY = "#6b747c"
SHADE = "#f1f3f5"
WIDTH = 8.0
"""Of every figure, in inches."""
DPI = 160
"""So that a figure is 1,280 pixels wide."""
LINES = 6
"""As many as a reader tells apart in one panel."""
STYLE: Any = {
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "svg.fonttype": "none",
    # The same store gives the same bytes.
    "svg.hashsalt": "vgg-repro",
}
READING = (
    "Small dots are seeds, the tick their mean, the line Student's 95% interval over seeds; "
    "hollow and dashed is one seed with Wilson's interval over test images, which says nothing "
    "about other seeds"
)


@dataclass(frozen=True)
class Drawn:
    """A figure in both formats, and what it shows."""

    name: str
    caption: str
    png: bytes
    svg: bytes


def drawn(name: str, caption: str, figure: Figure) -> Drawn:
    """A figure in both formats."""
    png, svg = io.BytesIO(), io.BytesIO()
    figure.savefig(png, format="png", dpi=DPI, metadata={"Software": None})
    figure.savefig(svg, format="svg", metadata={"Date": None})
    return Drawn(name, caption, png.getvalue(), svg.getvalue())


@dataclass(frozen=True)
class Point:
    """A number with its interval and with what each seed gave, all in the unit of the axis."""

    middle: float
    low: float
    high: float
    seeds: tuple[float, ...]

    @classmethod
    def of(cls, cells: Sequence[Measured]) -> Point:
        """The error of a cell, in percent."""
        value: Spread = spread(cells)
        errors = tuple(100 * float(one.wrong.mean()) for one in cells)
        return cls(value.mean, value.low, value.high, errors)


def mark(axes: Axes, place: float, point: Point, colour: str, *, upright: bool = False) -> None:
    """Draw a number; what lies outside of the axis is pointed at, with its value.

    Args:
        axes: with the limits of the axis of values set already.
        place: on the other axis.
        point: the number.
        colour: of all of it.
        upright: values go along the y axis.
    """
    one = len(point.seeds) < 2
    bottom, top = axes.get_ylim() if upright else axes.get_xlim()
    look: dict[str, Any] = {} if one else {"alpha": 0.55}
    span(axes, place, (point.low, point.high), colour, dashed=one, upright=upright, **look)
    if bottom <= point.middle <= top:
        tick = "_" if upright else "|"
        look = {"mfc": "white", "ms": 5.5} if one else {"mew": 2, "ms": 9}
        kind = "o" if one else tick
        _plot(axes, [point.middle], [place], upright, kind, color=colour, zorder=4, **look)
    inside = [value for value in point.seeds if bottom <= value <= top]
    if not one:
        dots = {"ms": 4.2, "mew": 0.5, "mec": "white", "color": colour}
        _plot(axes, inside, [place] * len(inside), upright, "o", **dots)
    outside = len(point.seeds) - len(inside)
    if inside and outside:
        words = f"{outside} of {len(point.seeds)} seeds"
        words += "" if upright else f" beyond, mean {point.middle:.0f}"
        over(axes, place, max(point.seeds, key=abs), colour, words=words, upright=upright)
    elif not bottom <= point.middle <= top:
        over(axes, place, point.middle, colour, upright=upright)


def _plot(
    axes: Axes,
    values: Sequence[float],
    places: Sequence[float],
    upright: bool,
    style: str,
    **look: Any,
) -> None:
    if upright:
        axes.plot(places, values, style, **look)
    else:
        axes.plot(values, places, style, **look)


def span(
    axes: Axes,
    place: float,
    ends: tuple[float, float],
    colour: str,
    *,
    dashed: bool,
    upright: bool = False,
    **look: Any,
) -> None:
    """Draw an interval; an end outside of the axis is an arrowhead at its edge."""
    bottom, top = axes.get_ylim() if upright else axes.get_xlim()
    low, high = np.clip(ends, bottom, top)
    if low < high:
        style = "--" if dashed else "-"
        _plot(axes, [low, high], [place, place], upright, style, color=colour, lw=1.6, **look)
    heads = ("v", "^") if upright else ("<", ">")
    for edge, head, there in zip(
        (bottom, top), heads, (ends[0] < bottom, ends[1] > top), strict=True
    ):
        if there and low < high:
            _plot(axes, [edge], [place], upright, head, color=colour, ms=4.5, clip_on=False, **look)


def over(
    axes: Axes, place: float, value: float, colour: str, *, words: str = "", upright: bool = False
) -> None:
    """Draw an arrow at the edge for a value outside of the axis, with its number or other words."""
    bottom, top = axes.get_ylim() if upright else axes.get_xlim()
    above = value > top
    edge = top if above else bottom
    arrow = ("^" if above else "v") if upright else (">" if above else "<")
    _plot(axes, [edge], [place], upright, arrow, color=colour, ms=6, clip_on=False, zorder=5)
    look: dict[str, Any] = {"textcoords": "offset points", "color": colour, "zorder": 5}
    look["bbox"] = {"fc": "white", "ec": "none", "pad": 0.8}
    words = words or f"{value:.0f}"
    if upright:
        look |= {"ha": "center", "va": "top" if above else "bottom"}
        axes.annotate(words, (place, edge), xytext=(0, -8 if above else 8), **look)
    else:
        look |= {"ha": "right" if above else "left", "va": "center_baseline"}
        axes.annotate(words, (edge, place), xytext=(-8 if above else 8, 0), **look)


def limits(points: Sequence[Point]) -> tuple[float, float]:
    """The ends of an axis of errors; a few nets that did not learn lie outside of it.

    Args:
        points: errors in percent, one at least.
    """
    usual = 4 * float(np.median([point.middle for point in points]))
    shown = [point for point in points if point.middle <= usual]
    highest = max(max(point.middle, *_not_above(point.seeds, usual)) for point in shown)
    # Two seeds have intervals of many times their difference.
    top = max(highest, *(min(point.high, 1.6 * highest) for point in shown))
    bottom = min(min(point.low, *point.seeds) for point in shown)
    margin = 0.06 * (top - max(0.0, bottom)) or 1.0
    return (0.0 if bottom < 0.4 * top else bottom - margin), top + margin


def _not_above(values: Sequence[float], edge: float) -> list[float]:
    return [value for value in values if value <= edge] or [0.0]


def seed_marks(points: Sequence[Point], several: str = "|") -> dict[str, Line2D]:
    """The entries of a legend for the marks of one seed and of several, where there are such.

    Args:
        points: what is drawn.
        several: the mark of the mean of several seeds.
    """
    found = {}
    if any(len(point.seeds) > 1 for point in points):
        look: dict[str, Any] = {"ms": 9, "mew": 2, "lw": 1.6} if several == "|" else {"lw": 1.6}
        found["several seeds"] = Line2D([], [], color=GREY, marker=several, **look)
    if any(len(point.seeds) == 1 for point in points):
        found["one seed"] = Line2D([], [], color=GREY, marker="o", mfc="white", ls="--", lw=1.5)
    return found


def legend(figure: Figure, marks: dict[str, Line2D], columns: int = 6) -> None:
    """Draw a legend above all panels, in as few rows as fit into the figure's width."""
    entries = [*marks.values()], [*marks]
    fewest = -(-len(marks) // columns)
    for rows in range(fewest, len(marks) + 1) if marks else ():
        across = -(-len(marks) // rows)
        found = figure.legend(*entries, loc="outside upper center", ncols=across)
        if found.get_window_extent().width <= figure.bbox.width or across == 1:
            break
        found.remove()


def grid_of(titles: Sequence[str], *, height: float) -> tuple[Figure, list[Axes]]:
    """Panels in rows of three with one axis of errors, and a figure that they fill.

    Args:
        titles: one for each panel.
        height: of a row, in inches.
    """
    columns = min(3, len(titles))
    rows = -(-len(titles) // columns)
    figure = Figure(figsize=(WIDTH, height * rows + 0.6), layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for panel in grid.flat[len(titles) :]:
        panel.set_axis_off()
    for panel in grid[:, 0]:
        panel.set_ylabel("top-1 error (%)")
    return figure, list(grid.flat[: len(titles)])


def error_axis(figure: Figure, panels: Sequence[Axes], below: str, lowest: float) -> None:
    """Give panels in rows of three one logarithmic axis of errors.

    Args:
        figure: of `grid_of`.
        panels: of `grid_of`, drawn already.
        below: the title of the other axis.
        lowest: the error (%) that the axis begins a little below.
    """
    figure.supxlabel(below, fontsize=STYLE["font.size"])
    highest = max(panel.dataLim.y1 for panel in panels)
    panels[0].set_yscale("log")
    panels[0].set_ylim(0.9 * lowest, min(1.1 * highest, 100))
    low, high = panels[0].get_ylim()
    ticks = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100]
    if sum(low <= tick <= high for tick in ticks) < 3:
        ticks = [*ticks[:7], 15, 20, 30, 40, 50, 60, 70, 80, 90, 100]
    for number, panel in enumerate(panels):
        panel.yaxis.set_major_locator(FixedLocator(ticks))
        panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        panel.yaxis.set_minor_formatter(NullFormatter())
        panel.tick_params(labelbottom=number + 3 >= len(panels))
