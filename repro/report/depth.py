"""The figure of error against depth: the nets of Table 1 relative to A, here and in the paper."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from repro.paper import numbers as published
from repro.protocol.protocols import TABLE3
from repro.report.built import TABLE1, at_full_size
from repro.report.drawing import COLOURS, WIDTH, Drawn, Point, drawn, legend, mark, seed_marks
from repro.report.intervals import difference
from repro.report.net import Net
from repro.report.settings import Comparison

BASE = TABLE1[0]
"""The net that the others are compared with."""
FURTHEST = 200.0
"""Percent; what lies beyond is pointed at."""


def error_against_depth(comparison: Comparison) -> Drawn | None:
    """Top-1 error of the nets of Table 1 at S=256 and one test scale, in percent of A's."""
    points = {net: point for net in TABLE1[1:] if (point := _relative(comparison, net))}
    if not points:
        return None
    nets = [BASE, *points]
    figure = Figure(figsize=(WIDTH, 3.6), layout="constrained")
    axes = figure.subplots()
    theirs = {net: value for net in nets if (value := _paper(net)) is not None}
    _limits(axes, list(points.values()), list(theirs.values()))
    axes.axhline(0, color="black", lw=0.9)
    axes.plot(0, 0, "s", color="black", ms=5)
    for net, point in points.items():
        mark(axes, nets.index(net) - 0.12, point, COLOURS[0], upright=True)
    for net, value in theirs.items():
        axes.plot(nets.index(net) + 0.12, value, "x", color=COLOURS[1], ms=7, mew=2)
    layers = [at_full_size(net).weight_layers for net in nets]
    ticks = [f"{net}\n{count} layers" for net, count in zip(nets, layers, strict=True)]
    axes.set_xticks(range(len(nets)), ticks)
    axes.set_xlim(-0.6, len(nets) - 0.4)
    axes.grid(visible=False, axis="x")
    axes.set_ylabel(f"top-1 error relative to {BASE}'s (%)")
    marks = {f"here, {words}": line for words, line in seed_marks(list(points.values())).items()}
    for line in marks.values():
        line.set_color(COLOURS[0])
    marks["the paper (Table 3)"] = Line2D([], [], color=COLOURS[1], marker="x", ls="", mew=2)
    legend(figure, marks)
    return drawn("error-against-depth", _caption(comparison, points), figure)


def _caption(comparison: Comparison, points: dict[str, Point]) -> str:
    a = comparison.cells(Net(BASE, "S256"), TABLE3)
    error = float(np.mean([100 * one.wrong.mean() for one in a]))
    paper = published.error_of(TABLE3, f"{BASE}-S256", "top1_error")
    seeds = ", ".join(f"{net} {len(point.seeds)}" for net, point in points.items())
    return (
        "Top-1 error against depth at S=256 and one test scale (dense), relative to net "
        f"{BASE} (here {error:.1f}% on {a[0].images:,} test images, in the paper {paper:.1f}%). "
        f"Lines are 95% intervals of the paired difference from {BASE}, over seeds and images "
        "where there are several seeds, over the images alone where there is one (hollow, dashed); "
        f"small dots are seeds. Seeds in common with {BASE}: {seeds}."
    )


def _relative(comparison: Comparison, net: str) -> Point | None:
    """The error less A's in percent of A's, paired by seed and image."""
    found = [
        {one.seed: one.wrong for one in comparison.cells(Net(name, "S256"), TABLE3)}
        for name in (net, BASE)
    ]
    theirs, of_a = found
    seeds = sorted(theirs.keys() & of_a.keys())
    base = 100 * float(np.mean([of_a[seed].mean() for seed in seeds])) if seeds else 0.0
    if not base:
        return None
    gaps = np.array([theirs[s].astype(np.float64) - of_a[s].astype(np.float64) for s in seeds])
    gap = difference(gaps)
    shown = gap.interval(configuration=len(seeds) > 1)
    middle, low, high = (100 * value / base for value in (gap.middle, shown.low, shown.high))
    return Point(middle, low, high, tuple(100 * 100 * float(gap.mean()) / base for gap in gaps))


def _paper(net: str) -> float | None:
    of_a = published.error_of(TABLE3, f"{BASE}-S256", "top1_error")
    value = published.error_of(TABLE3, f"{net}-S256", "top1_error")
    return None if value is None or of_a is None else 100 * (value / of_a - 1)


def _limits(axes: Axes, points: list[Point], paper: list[float]) -> None:
    """Room for all of the paper's numbers, and for ours and half as much of their intervals."""
    ours = [value for point in points for value in (point.middle, *point.seeds)]
    reach = 1.5 * max(map(abs, [*ours, *paper]))
    ours += [value for point in points for value in (point.low, point.high) if abs(value) < reach]
    low = max(-FURTHEST, min(*ours, *paper))
    high = min(FURTHEST, max(*ours, *paper, 0.0))
    margin = 0.08 * (high - low)
    axes.set_ylim(low - margin, high + margin)
