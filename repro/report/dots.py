"""Errors of nets as rows of dots: a line for each protocol, a mark for each seed."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from repro.paper import numbers as published
from repro.protocol.protocols import PROTOCOLS, summarised
from repro.report.drawing import (
    COLOURS,
    GREY,
    READING,
    SHADE,
    WIDTH,
    Drawn,
    Point,
    drawn,
    legend,
    limits,
    mark,
    seed_marks,
)
from repro.report.experiments import experiments, nets_of
from repro.report.net import Net, Nets, label
from repro.report.settings import Comparison
from repro.report.tables import OPEN, cell, net_title, ordered

RATIOS = [5, 3]
"""How wide the panels of ours and of the paper are."""


@dataclass(frozen=True)
class Line:
    """One net by one protocol."""

    net: Nets
    protocol: str
    point: Point | None
    words: str
    """What the table says of it, for nets that have no error."""
    paper: float | None


def lines(comparison: Comparison, nets: Sequence[Nets], tests: Sequence[str]) -> list[Line]:
    """The lines of a figure: each net by each protocol that it was tested by, net by net."""
    found = []
    for net, test in itertools.product(nets, tests):
        cells = comparison.cells(net, test)
        words = cell(comparison, net, test)
        if words != OPEN:
            paper = published.error_of(test, label(net), "top1_error")
            found.append(Line(net, test, Point.of(cells) if cells else None, words, paper))
    return found


def errors(comparison: Comparison) -> Drawn | None:
    """The figure of Tables 3 and 4: each net by the protocols of the summary.

    Nets of an ablation only are in its own figure.
    """
    tests = [protocol.name for protocol in summarised()]
    paper = {Net(row["net"], row["scale"]) for n in (3, 4) for row in published.cells(n)}
    theirs = {comparison.plain(net) for one in experiments() for net in nets_of(one, comparison)}
    nets = [net for net in ordered(comparison) if net in paper or net not in theirs]
    shown = lines(comparison, nets, tests)
    return dot_plot("errors", "Top-1 error of the nets of Tables 3 and 4", comparison, shown)


def dot_plot(
    name: str, title: str, comparison: Comparison, shown: Sequence[Line], *, paper: bool = False
) -> Drawn | None:
    """A figure of some nets by some protocols.

    Args:
        name: of the figure.
        title: the beginning of its caption.
        comparison: the setting.
        shown: at most six protocols.
        paper: put the paper's errors beside, where it has two of them at least.

    Returns:
        None where there are not two numbers to compare.
    """
    points = [line.point for line in shown if line.point is not None]
    if len(points) < 2:
        return None
    paper = paper and sum(line.paper is not None for line in shown) > 1
    places, colours = _places(shown), _colours(line.protocol for line in shown)
    figure = Figure(figsize=(WIDTH, 1.1 + 0.155 * (places[-1] + 1.5)), layout="constrained")
    ratios = RATIOS if paper else [1]
    panels = figure.subplots(1, len(ratios), sharey=True, squeeze=False, width_ratios=ratios)[0]
    _rows(panels, shown, places)
    theirs = [line.paper for line in shown if line.paper is not None] if paper else []
    _limits(panels, points, theirs)
    for place, line in zip(places, shown, strict=True):
        _line(panels[0], place, line, colours[line.protocol])
        if paper and line.paper is not None:
            panels[1].plot(line.paper, place, "x", mew=1.8, color=colours[line.protocol])
    if paper:
        panels[0].set_title(f"here: {comparison.setting.data}")
        panels[1].set_title("the paper: ImageNet")
    for panel in panels:
        panel.set_xlabel("top-1 error (%)")
    legend(figure, _marks(colours, points, paper=paper))
    images = max(one.images for one in (*comparison.measured, *comparison.fused))
    caption = f"{title}: {images:,} test images. {READING}."
    caption += " Both panels have one scale relative to their mean error." if paper else ""
    return drawn(name, caption, figure)


def _colours(protocols: Iterable[str]) -> dict[str, str]:
    """The colour of each protocol, the same in every figure unless one before it has it there."""
    names, found = list(PROTOCOLS), dict[str, str]()
    asked = list(dict.fromkeys(protocols))
    for protocol in sorted(asked, key=names.index):
        own = COLOURS[names.index(protocol) % len(COLOURS)]
        found[protocol] = next((c for c in (own, *COLOURS) if c not in found.values()), own)
    return {protocol: found[protocol] for protocol in asked}


def _marks(colours: dict[str, str], points: Sequence[Point], *, paper: bool) -> dict[str, Line2D]:
    marks = {
        PROTOCOLS[protocol].legend: Line2D([], [], color=colour, lw=3)
        for protocol, colour in colours.items()
    }
    marks = (marks if len(marks) > 1 else {}) | seed_marks(points)
    if paper:
        marks["the paper"] = Line2D([], [], color=GREY, marker="x", ls="", mew=1.8)
    return marks


def _limits(panels: Sequence[Axes], points: Sequence[Point], paper: Sequence[float]) -> None:
    """An inch is the same share of the mean error in both panels, which are different tasks."""
    low, high = limits(points)
    if not paper:
        panels[0].set_xlim(low, high)
        return
    shown = [point.middle for point in points if low <= point.middle <= high]
    ours, theirs = float(np.mean(shown)), float(np.mean(paper))
    ends = (min(paper), max(paper))
    needed = 1.2 * RATIOS[0] / RATIOS[1] * (ends[1] - ends[0]) / theirs * ours
    more = max(0.0, needed - (high - low)) / 2
    low, high = max(0.0, low - more), high + more
    panels[0].set_xlim(low, high)
    half = (high - low) / ours * theirs * RATIOS[1] / RATIOS[0] / 2
    centre = sum(ends) / 2
    panels[1].set_xlim(centre - half, centre + half)


def _places(shown: Sequence[Line]) -> list[float]:
    """A line each, and room between nets."""
    places, place, before = [], 0.0, shown[0].net
    for line in shown:
        place += 0.7 * (line.net != before)
        places.append(place)
        place, before = place + 1, line.net
    return places


def _rows(panels: Sequence[Axes], shown: Sequence[Line], places: Sequence[float]) -> None:
    nets = list(dict.fromkeys(line.net for line in shown))
    held = {
        net: [p for p, line in zip(places, shown, strict=True) if line.net == net] for net in nets
    }
    panels[0].set_yticks([float(np.mean(held[net])) for net in nets], [_title(n) for n in nets])
    panels[0].set_ylim(places[-1] + 0.85, -0.85)
    for panel in panels:
        panel.grid(visible=False, axis="y")
        panel.tick_params(axis="y", length=0)
        for net in nets[::2]:
            low, high = min(held[net]) - 0.85, max(held[net]) + 0.85
            panel.axhspan(low, high, color=SHADE, lw=0, zorder=0)


def _title(net: Nets) -> str:
    return f"{len(net)} nets" if isinstance(net, tuple) and len(net) > 3 else net_title(net)


def _line(axes: Axes, place: float, line: Line, colour: str) -> None:
    if line.point is not None:
        mark(axes, place, line.point, colour)
        return
    beside = axes.get_yaxis_transform()
    axes.text(0.02, place, line.words, transform=beside, va="center", color=GREY)
