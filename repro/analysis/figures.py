"""The figures of the report: each is drawn once, and none is drawn of nothing."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter
from numpy.typing import NDArray

from repro.analysis.built import TABLE1, at_full_size
from repro.analysis.measured import Measured, Spread, spread
from repro.analysis.tables import in_order, scale_label
from repro.paper import published
from repro.spec.scales import PROTOCOLS
from repro.store.runs import Run

# Okabe and Ito's colours, told apart by colour-blind readers too.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
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


def _drawn(name: str, caption: str, figure: Figure) -> Drawn:
    png, svg = io.BytesIO(), io.BytesIO()
    figure.savefig(png, format="png", dpi=160, metadata={"Software": None})
    figure.savefig(svg, format="svg", metadata={"Date": None})
    return Drawn(name, caption, png.getvalue(), svg.getvalue())


def figures(runs: Sequence[Run], measured: Sequence[Measured]) -> list[Drawn]:
    """All figures that the runs of one setting have something for."""
    drawers: list[Callable[[Sequence[Run], Sequence[Measured]], Drawn | None]]
    drawers = [error_against_depth, all_errors, learning_curves, training_crops]
    with mpl.rc_context(STYLE):
        drawn = [drawer(runs, measured) for drawer in drawers]
    return [figure for figure in drawn if figure is not None]


def error_against_depth(runs: Sequence[Run], measured: Sequence[Measured]) -> Drawn | None:
    """Error of the nets of Table 1 at S=256 and one test scale: measured beside published."""
    chosen = [one for one in measured if _at(one.run) in {(net, "S256") for net in TABLE1}]
    dense = _spreads(chosen, "single_scale")
    if not dense:
        return None
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    ours, theirs = figure.subplots(1, 2)
    for net, value in dense.items():
        _point(ours, net, value, "o", COLOURS[TABLE1.index(net)], aside=-0.1)
        ours.annotate(net, (_place(net), value.mean), **_label(net))
    for net, value in _spreads(chosen, "centre").items():
        _point(ours, net, value, "D", COLOURS[TABLE1.index(net)], aside=0.1, mfc="white")
    for net in TABLE1:
        error = published.error("single_scale", net, "S256", "top1_error") or 0.0
        theirs.plot(_place(net), error, "s", color=COLOURS[TABLE1.index(net)])
        theirs.annotate(net, (_place(net), error), **_label(net))
    images = next(iter(dense.values())).images
    ours.set_title(f"here: {runs[0].config.data.name}, {images:,} test images", fontsize=9)
    ours.plot([], [], "o", color="grey", label="dense (as the paper)")
    ours.plot([], [], "D", color="grey", mfc="white", label="centre crop")
    figure.legend(fontsize=8, loc="outside lower left", frameon=False, ncols=2)
    theirs.set_title("the paper: ImageNet, 50,000 images, 1000 classes", fontsize=9)
    for axes in (ours, theirs):
        axes.set_xlabel("weight layers")
        axes.set_ylabel("top-1 error (%)")
        axes.set_xlim(10, 20.5)
        axes.set_xticks([11, 13, 16, 19])
        axes.margins(y=0.2)
    ours.set_ylim(bottom=0)
    seeds = ", ".join(f"{net} {value.seeds}" for net, value in dense.items())
    caption = (
        "Top-1 error against depth at S=256, one test scale. Left: measured here, bars are 95% "
        "intervals (one seed: Wilson's over test images; several: Student's over seeds); seeds: "
        f"{seeds}. Right: Table 3 of the paper. The two axes are different tasks: compare the "
        "order of the nets, not the heights."
    )
    return _drawn("error-against-depth", caption, figure)


def _spreads(measured: Sequence[Measured], protocol: str) -> dict[str, Spread]:
    """By net, in the order of Table 1, all layers trained."""
    chosen = [m for m in measured if (m.protocol, m.run.config.finetune) == (protocol, "all")]
    members = {net: [m for m in chosen if m.run.config.arch.name == net] for net in TABLE1}
    return {net: spread(cells) for net, cells in members.items() if cells}


def _point(
    axes: Axes, net: str, value: Spread, marker: str, colour: str, *, aside: float, **style: Any
) -> None:
    bars = [[value.mean - value.low], [value.high - value.mean]]
    place = _place(net) + aside
    axes.errorbar(place, value.mean, bars, fmt=marker, ms=5, capsize=3, color=colour, **style)


def _place(net: str) -> float:
    # Nets of one depth stand side by side.
    aside = {"A-LRN": 0.5, "C": -0.35, "D": 0.35}.get(net, 0.0)
    return at_full_size(net).weight_layers + aside


def _label(net: str) -> dict[str, Any]:
    left = net in ("A", "C")
    place = (-7, -3) if left else (7, -3)
    return {"xytext": place, "textcoords": "offset points", "ha": "right" if left else "left"}


def _at(run: Run) -> tuple[str, str]:
    return run.config.arch.name, run.config.scale.name


def all_errors(runs: Sequence[Run], measured: Sequence[Measured]) -> Drawn | None:
    """Every net by every protocol, with intervals."""
    if not measured:
        return None
    key = _cell
    groups = {cell: list(members) for cell, members in groupby(sorted(measured, key=key), key)}
    protocols = [name for name in PROTOCOLS if any(cell[3] == name for cell in groups)]
    nets = list(dict.fromkeys(cell[:3] for cell in groups))
    figure = Figure(
        figsize=(8, 1.2 + (0.1 + 0.1 * len(protocols)) * len(nets)), layout="constrained"
    )
    axes = figure.subplots()
    step = 0.75 / len(protocols)
    for number, protocol in enumerate(protocols):
        places, values = [], []
        for row, net in enumerate(nets):
            if (*net, protocol) in groups:
                places.append(row + step * (number - (len(protocols) - 1) / 2))
                values.append(spread(groups[(*net, protocol)]))
        means = [value.mean for value in values]
        bars = [[v.mean - v.low for v in values], [v.high - v.mean for v in values]]
        label = protocol.replace("_", " ")
        colour = COLOURS[number % len(COLOURS)]
        axes.errorbar(means, places, xerr=bars, fmt="o", ms=4, capsize=2, label=label, color=colour)
    axes.set_yticks(range(len(nets)), [_net_label(net) for net in nets])
    axes.set_ylim(len(nets) - 0.5, -0.5)
    axes.set_xlim(left=0)
    axes.set_xlabel("top-1 test error (%)")
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, title="protocol")
    images = measured[0].images
    caption = (
        f"Top-1 error of every net and protocol on {images:,} test images of "
        f"{runs[0].config.data.name}; bars are 95% intervals (one seed: Wilson's over test images, "
        f"several: Student's over seeds). {len(runs)} runs."
    )
    return _drawn("errors", caption, figure)


def _cell(one: Measured) -> tuple[str, str, str, str]:
    config = one.run.config
    return config.arch.name, config.scale.name, config.finetune, one.protocol


def _net_label(net: tuple[str, str, str]) -> str:
    label = f"{net[0]}, S={scale_label(net[1])}"
    return label if net[2] == "all" else f"{label}, FC layers tuned"


def learning_curves(runs: Sequence[Run], measured: Sequence[Measured]) -> Drawn | None:
    """Training and validation error by epoch, a panel for each configuration."""
    logs = [(run, log) for run in runs if (log := read_log(run)) is not None]
    if not logs:
        return None
    names = sorted({run.config.arch.name for run, _ in logs}, key=in_order)
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(2.8 * columns + 0.4, 2.3 * rows + 0.4), layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    scales = sorted({run.config.scale.name for run, _ in logs})
    colours = dict(zip(scales, itertools.cycle(COLOURS), strict=False))
    for panel, name in zip(grid.flat, names, strict=False):
        chosen = [pair for pair in logs if pair[0].config.arch.name == name]
        _curves(panel, chosen, name, colours)
    for panel in grid.flat[len(names) :]:
        panel.set_axis_off()
    for row in grid:
        row[0].set_ylabel("top-1 error (%)")
    for column in range(columns):
        lowest = max(r for r in range(rows) if r * columns + column < len(names))
        grid[lowest][column].set_xlabel("epoch")
        grid[lowest][column].tick_params(labelbottom=True)
    marks = {"training crops": ("--", "grey"), "validation": ("-", "grey")}
    marks |= {f"S={scale_label(scale)}": ("-", colour) for scale, colour in colours.items()}
    lines = [Line2D([], [], ls=style, color=colour) for style, colour in marks.values()]
    figure.legend(lines, list(marks), loc="outside upper right", ncols=len(marks), frameon=False)
    caption = (
        "Learning curves: error on the training crops as they came (with dropout) and on the "
        f"centre crops of {runs[0].result['data']['validation']:,} validation images; "
        f"{len(logs)} runs. The error axis is logarithmic."
    )
    return _drawn("learning-curves", caption, figure)


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


def training_crops(runs: Sequence[Run], measured: Sequence[Measured]) -> Drawn | None:
    """Crops of the same images at S=256, S=384 and jittered, as a run left them."""
    image = next((found for run in runs if (found := _picture(run)) is not None), None)
    if image is None:
        return None
    height, width = image.shape[:2]
    share = 0.84
    figure = Figure(figsize=(8, 8 * share * height / width + 0.1))
    axes = figure.add_axes((0.99 - share, 0.01, share, 0.98))
    axes.imshow(image, interpolation="none")
    axes.set_yticks([height * (row + 0.5) / 3 for row in range(3)],
                    ["S = 256", "S = 384", "S in [256; 512]"])  # fmt: skip
    axes.set_xticks([])
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    config = runs[0].config
    caption = (
        f"Training crops of {config.size.crop} pixels of the same images of {config.data.name} at "
        "three training scales (paper pixels): the larger S, the smaller the part of the image."
    )
    return _drawn("training-crops", caption, figure)


def _picture(run: Run) -> NDArray[np.uint8] | None:
    from PIL import Image

    try:
        with Image.open(run.folder / "crops.png") as file:
            return np.asarray(file.convert("RGB"))
    except OSError:
        return None
