"""The figures of the report: each is drawn once, and none is drawn of nothing."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullFormatter
from numpy.typing import NDArray

from repro.analysis.built import TABLE1, at_full_size
from repro.analysis.measured import Spread, spread
from repro.analysis.settings import Comparison
from repro.analysis.tables import in_order, net_title, ordered, scale_label
from repro.paper import published
from repro.spec.scales import ONE_NUMBER, PICTURED
from repro.store.runs import Run

# Okabe and Ito's colours and two of Paul Tol's, told apart by colour-blind readers too.
COLOURS = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"),
    *("#999933", "#882255"),
)
STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "svg.fonttype": "none",
    # The same store gives the same bytes.
    "svg.hashsalt": "vgg-repro",
}


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
    figure.savefig(png, format="png", dpi=160, metadata={"Software": None})
    figure.savefig(svg, format="svg", metadata={"Date": None})
    return Drawn(name, caption, png.getvalue(), svg.getvalue())


def figures(comparison: Comparison) -> list[Drawn]:
    """The figures of a setting that it has something for."""
    drawers: list[Callable[[Comparison], Drawn | None]]
    drawers = [error_against_depth, all_errors, learning_curves, training_crops]
    with mpl.rc_context(STYLE):
        found = [drawer(comparison) for drawer in drawers]
    return [figure for figure in found if figure is not None]


def error_against_depth(comparison: Comparison) -> Drawn | None:
    """Error of the nets of Table 1 at S=256 and one test scale: measured beside published."""
    values = _spreads(comparison, "single_scale")
    if not values:
        return None
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    ours, theirs = figure.subplots(1, 2)
    for net, value in values.items():
        colour = COLOURS[TABLE1.index(net)]
        ours.errorbar(
            _place(net), value.mean, bars([value]), fmt="o", ms=5, capsize=3, color=colour
        )
        ours.annotate(net, (_place(net), value.mean), **_label(net))
    for net in TABLE1:
        error = published.error_of("single_scale", f"{net}-S256", "top1_error") or 0.0
        theirs.plot(_place(net), error, "s", color=COLOURS[TABLE1.index(net)])
        theirs.annotate(net, (_place(net), error), **_label(net))
    images = next(iter(values.values())).images
    ours.set_title(f"here: {comparison.setting.data}, {images:,} test images, dense", fontsize=9)
    theirs.set_title("the paper: ImageNet, 50,000 images, 1000 classes", fontsize=9)
    for axes in (ours, theirs):
        axes.set_xlabel("weight layers")
        axes.set_ylabel("top-1 error (%)")
        axes.set_xlim(10, 20.5)
        axes.set_xticks([11, 13, 16, 19])
        axes.margins(y=0.2)
    ours.set_ylim(bottom=0)
    seeds = ", ".join(f"{net} {value.seeds}" for net, value in values.items())
    caption = (
        "Top-1 error against depth at S=256, one test scale. Left: measured here, bars are 95% "
        "intervals (one seed: Wilson's over test images; several: Student's over seeds); seeds: "
        f"{seeds}. Right: Table 3 of the paper (dense). The two axes are different tasks: "
        "compare the order of the nets, not the heights."
    )
    return drawn("error-against-depth", caption, figure)


def _spreads(comparison: Comparison, protocol: str) -> dict[str, Spread]:
    """By net, in the order of Table 1."""
    cells = {net: comparison.cells(f"{net}-S256", protocol) for net in TABLE1}
    return {net: spread(found) for net, found in cells.items() if found}


def bars(values: Sequence[Spread]) -> list[list[float]]:
    """The lengths of error bars below and above, as matplotlib takes them."""
    return [[v.mean - v.low for v in values], [v.high - v.mean for v in values]]


def _place(net: str) -> float:
    # Nets of one depth stand side by side.
    aside = {"A-LRN": 0.5, "C": -0.35, "D": 0.35}.get(net, 0.0)
    return at_full_size(net).weight_layers + aside


def _label(net: str) -> dict[str, Any]:
    # Aside of its own bar, and A-LRN's above, where B's bar is near.
    place, side = {
        "A": ((-7, -3), "right"),
        "C": ((-7, -3), "right"),
        "A-LRN": ((4, 6), "left"),
    }.get(net, ((7, -3), "left"))
    return {"xytext": place, "textcoords": "offset points", "ha": side}


def all_errors(comparison: Comparison) -> Drawn | None:
    """Every net by every protocol that gives one number, with intervals."""
    nets = ordered(comparison)
    cells = {
        (net, protocol): spread(found)
        for net in nets
        for protocol in ONE_NUMBER
        if (found := comparison.cells(net, protocol))
    }
    if not cells:
        return None
    nets = [net for net in nets if any(cell[0] == net for cell in cells)]
    colours = dict(zip(ONE_NUMBER, COLOURS, strict=False))
    # A line for each number, and half a line between nets.
    places: dict[tuple[str, str], float] = {}
    for number, cell in enumerate(cells):
        places[cell] = number + 0.5 * nets.index(cell[0])
    height = len(cells) + 0.5 * len(nets)
    figure = Figure(figsize=(8, 1.2 + 0.13 * height), layout="constrained")
    axes = figure.subplots()
    for protocol in ONE_NUMBER:
        chosen = {cell: value for cell, value in cells.items() if cell[1] == protocol}
        if chosen:
            axes.errorbar(
                [value.mean for value in chosen.values()],
                [places[cell] for cell in chosen],
                xerr=bars(list(chosen.values())),
                fmt="o",
                ms=4,
                capsize=2,
                label=protocol.replace("_", " "),
                color=colours[protocol],
            )
    middles = [np.mean([places[cell] for cell in cells if cell[0] == net]) for net in nets]
    axes.set_yticks(middles, [net_title(net) for net in nets])
    axes.set_ylim(height, -1)
    axes.set_xlim(left=0)
    axes.set_xlabel("top-1 test error (%)")
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, title="protocol")
    images = comparison.measured[0].images
    caption = (
        f"Top-1 error of every net and protocol on {images:,} test images of "
        f"{comparison.setting.data}; bars are 95% intervals (one seed: Wilson's over test images, "
        f"several: Student's over seeds). {len(comparison.runs)} runs."
    )
    return drawn("errors", caption, figure)


def learning_curves(comparison: Comparison) -> Drawn | None:
    """Training and validation error by epoch, a panel for each configuration."""
    usual = comparison.usual.name
    logs = [
        (run, log)
        for run in comparison.runs
        if run.config.init.name in (usual, run.config.recipe.init)
        and (log := read_log(run)) is not None
    ]
    if not logs:
        return None
    names = sorted({run.config.arch.name for run, _ in logs}, key=in_order)
    rows = -(-len(names) // 3)
    figure = Figure(figsize=(8, 2.3 * rows + 0.7), layout="constrained")
    grid = figure.subplots(rows, 3, sharex=True, sharey=True, squeeze=False)
    scales = sorted({run.config.scale.name for run, _ in logs})
    colours = dict(zip(scales, itertools.cycle(COLOURS), strict=False))
    for panel, name in zip(grid.flat, names, strict=False):
        chosen = [pair for pair in logs if pair[0].config.arch.name == name]
        _curves(panel, chosen, name, colours)
    # Shared by all panels: room below the best, and up to where every net starts.
    lowest_error = min(panel.dataLim.y0 for panel in grid.flat[: len(names)])
    grid[0][0].set_ylim(0.8 * lowest_error, 100)
    for panel in grid.flat[len(names) :]:
        panel.set_axis_off()
    for row in grid:
        row[0].set_ylabel("top-1 error (%)")
    for column in range(min(3, len(names))):
        lowest = max(r for r in range(rows) if r * 3 + column < len(names))
        grid[lowest][column].set_xlabel("epoch")
        grid[lowest][column].tick_params(labelbottom=True)
    marks = {"training crops": ("--", "grey"), "validation": ("-", "grey")}
    marks |= {f"S={scale_label(scale)}": ("-", colour) for scale, colour in colours.items()}
    lines = [Line2D([], [], ls=style, color=colour) for style, colour in marks.values()]
    figure.legend(lines, list(marks), loc="outside upper center", ncols=4, frameon=False)
    caption = (
        "Learning curves: error on the training crops as they came (with dropout) and on the "
        f"centre crops of {comparison.runs[0].result['data']['validation']:,} validation images; "
        f"{len(logs)} runs. The error axis is logarithmic."
    )
    return drawn("learning-curves", caption, figure)


def _curves(
    panel: Axes, logs: list[tuple[Run, pd.DataFrame]], title: str, colours: dict[str, str]
) -> None:
    for run, log in logs:
        colour = colours[run.config.scale.name]
        floor = 100 / run.result["data"]["validation"] / 2
        for column, style in (("train_error", "--"), ("validation_error", "-")):
            values = np.maximum(log[column], floor)
            panel.plot(log["epoch"], values, style, marker=".", color=colour, lw=1.2)
    panel.set_title(title, fontsize=9)
    panel.set_yscale("log")
    panel.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    panel.yaxis.set_major_locator(FixedLocator([0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100]))
    panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panel.yaxis.set_minor_formatter(NullFormatter())


def read_log(run: Run) -> pd.DataFrame | None:
    """A run's log, a row an epoch, or None where no epoch was finished or it is damaged."""
    wanted = {"epoch", "train_error", "validation_error"}
    try:
        log = pd.read_csv(run.folder / "log.csv")
    except (OSError, ValueError):
        return None
    return log if len(log) and wanted <= set(log.columns) else None


def training_crops(comparison: Comparison) -> Drawn | None:
    """Crops of the same images at S=256, S=384 and jittered, as a run left them."""
    image = next((found for run in comparison.runs if (found := _picture(run)) is not None), None)
    if image is None:
        return None
    height, width = image.shape[:2]
    share = 0.84
    figure = Figure(figsize=(8, 8 * share * height / width + 0.1))
    axes = figure.add_axes((0.99 - share, 0.01, share, 0.98))
    axes.imshow(image, interpolation="none")
    rows = range(len(PICTURED))
    labels = [f"S = {low}" if low == high else f"S in [{low}; {high}]" for low, high in PICTURED]
    axes.set_yticks([height * (row + 0.5) / len(rows) for row in rows], labels)
    axes.set_xticks([])
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    config = comparison.config
    caption = (
        f"Training crops of {config.size.crop} pixels of the same images of {config.data.name} at "
        "three training scales (paper pixels): the larger S, the smaller the part of the image."
    )
    return drawn("training-crops", caption, figure)


def _picture(run: Run) -> NDArray[np.uint8] | None:
    from PIL import Image

    try:
        with Image.open(run.folder / "crops.png") as file:
            return np.asarray(file.convert("RGB"))
    except OSError:
        return None
