"""Error against the test scale Q: a panel for each net and way of testing."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from repro.protocol.protocols import EACH_Q, ENTRIES
from repro.report.drawing import (
    COLOURS,
    LINES,
    OF_SCALE,
    Drawn,
    Point,
    drawn,
    error_axis,
    grid_of,
    legend,
    seed_marks,
)
from repro.report.experiments import Experiment, measured_nets
from repro.report.net import Net
from repro.report.settings import Comparison
from repro.report.tables import scale_label

Curve = dict[int, Point]
"""By Q in paper pixels."""


def curves(experiment: Experiment, comparison: Comparison) -> Drawn | None:
    """Error against Q for the nets of an experiment, a line for each training scale."""
    at_each = [protocol for protocol in ENTRIES if not protocol.one_number]
    panels = {
        f"{arch}, {protocol.method}": found
        for protocol, (arch, nets) in product(at_each, _by_arch(experiment, comparison).items())
        if (found := _curves(comparison, nets, protocol.name))
    }
    if not panels:
        return None
    figure, grid = grid_of(list(panels), height=2.5)
    there = {scale for found in panels.values() for scale in found}
    scales = [*(s for s in OF_SCALE if s in there), *sorted(there - OF_SCALE.keys())][:LINES]
    others = iter(COLOURS[len(OF_SCALE) :])
    colours = {scale: OF_SCALE.get(scale) or next(others) for scale in scales}
    for axes, (title, found) in zip(grid, panels.items(), strict=True):
        axes.set_title(title)
        axes.set_xticks([256, 320, 384, 448, 512])
        axes.set_xlim(EACH_Q[0] - 16, EACH_Q[-1] + 16)
        for number, scale in enumerate(scale for scale in scales if scale in found):
            _curve(axes, found[scale], colours[scale], aside=5 * (number - (len(found) - 1) / 2))
    points = [p for found in panels.values() for curve in found.values() for p in curve.values()]
    # The lowest end of an interval, unless it is one that two seeds take to zero.
    ends, middles = (min(getattr(one, of) for one in points) for of in ("low", "middle"))
    lowest = max(0.1, ends, 0.6 * middles)
    error_axis(figure, grid, "test scale Q (paper pixels)", lowest)
    marks = {
        f"trained at S={scale_label(scale)}": Line2D([], [], color=colour, lw=2)
        for scale, colour in colours.items()
    }
    legend(figure, marks | seed_marks(points, "o"), 3)
    caption = (
        "Error against the test scale Q. A line joins neighbouring Q only: where it is open, no "
        "net was tested between. Upright lines are 95% intervals (several seeds: Student's; one, "
        "hollow and dashed: Wilson's over test images); lines of one Q stand side by side. The "
        "error axis is logarithmic. The paper tests a few of these Q."
    )
    return drawn(f"experiment-{experiment.name}", caption, figure)


def _by_arch(experiment: Experiment, comparison: Comparison) -> dict[str, list[Net]]:
    found: dict[str, list[Net]] = {}
    for net in measured_nets(experiment, comparison):
        config = comparison.nets[comparison.plain(net)][0].config
        found.setdefault(config.arch.name, []).append(net)
    return found


def _curves(comparison: Comparison, nets: Sequence[Net], test: str) -> dict[str, Curve]:
    """By training scale; a net that was tested at one Q only has no curve."""
    found = {}
    for net in nets:
        cells = {q: comparison.cells(net, test, str(q)) for q in EACH_Q}
        curve = {q: Point.of(there) for q, there in cells.items() if there}
        if len(curve) > 1:
            scale = comparison.nets[comparison.plain(net)][0].config.scale.name
            found[scale] = curve
    return found


def _curve(axes: Axes, curve: Curve, colour: str, aside: float) -> None:
    # What is not a number opens the line.
    middles = [curve[q].middle if q in curve else float("nan") for q in EACH_Q]
    one = all(len(point.seeds) == 1 for point in curve.values())
    axes.plot([q + aside for q in EACH_Q], middles, "--" if one else "-", color=colour, lw=1.4)
    for q, point in curve.items():
        face = "white" if len(point.seeds) == 1 else colour
        axes.plot([q + aside] * 2, [point.low, point.high], color=colour, lw=1, alpha=0.6)
        axes.plot(q + aside, point.middle, "o", ms=3.5, color=colour, mfc=face)
