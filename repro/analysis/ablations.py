"""The figures of the ablations."""

from __future__ import annotations

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from repro.analysis.curves import curves
from repro.analysis.dots import dot_plot, lines
from repro.analysis.drawing import COLOURS, LINES, STYLE, WIDTH, Drawn, drawn, legend
from repro.analysis.experiments import Experiment, compared_nets, measured_nets
from repro.analysis.learning import read_log
from repro.analysis.settings import Comparison
from repro.store.runs import ACTIVATIONS, Run


def figure_of(experiment: Experiment, comparison: Comparison) -> list[Drawn]:
    """The figures of an experiment; none where nothing of it was measured."""
    with mpl.rc_context(STYLE):
        if experiment.name == "depth":
            return []  # The report's first figure.
        if experiment.curve:
            found = [curves(experiment, comparison)]
        elif experiment.name == "init":
            found = [activations(experiment, comparison), compared(experiment, comparison)]
        elif experiment.name == "blog":
            found = [blog(experiment, comparison)]
        else:
            found = [compared(experiment, comparison)]
    return [figure for figure in found if figure is not None]


def compared(experiment: Experiment, comparison: Comparison) -> Drawn | None:
    """Each net of an experiment by each of its protocols; the paper's values beside."""
    shown = lines(comparison, compared_nets(experiment, comparison), experiment.tests)
    name = f"experiment-{experiment.name}"
    return dot_plot(name, experiment.question, comparison, shown, paper=True)


def activations(experiment: Experiment, comparison: Comparison) -> Drawn | None:
    """Root mean square after each layer before training, for each initialisation."""
    found: dict[str, dict[str, pd.DataFrame]] = {}
    for net in measured_nets(experiment, comparison):
        for run in comparison.nets[comparison.plain(net)]:
            table = _activations(run)
            if table is not None:
                for kind, rows in table.groupby("net", sort=False):
                    panel = found.setdefault(f"{run.config.arch.name}, {kind}", {})
                    panel[run.config.init.name] = rows
                break
    if not found:
        return None
    panels = sorted(found, key=lambda title: (title.split(", ")[1] != "full width", title))
    rows = -(-len(panels) // 2)
    figure = Figure(figsize=(WIDTH, 2.7 * rows + 0.4), layout="constrained")
    grid = figure.subplots(rows, 2, sharey=True, squeeze=False)
    inits = list(dict.fromkeys(init for tables in found.values() for init in tables))[:LINES]
    colours = dict(zip(inits, COLOURS, strict=False))
    for panel, title in zip(grid.flat, panels, strict=False):
        for init in (init for init in inits if init in found[title]):
            table = found[title][init]
            panel.plot(range(1, len(table) + 1), table["rms"], ".-", color=colours[init], lw=1.3)
        panel.set_yscale("log")
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.set_title(title)
        panel.set_xlabel("weight layer")
    for axes in grid[:, 0]:
        axes.set_ylabel("RMS before rectification")
    for panel in grid.flat[len(panels) :]:
        panel.set_axis_off()
    legend(figure, {init: Line2D([], [], color=c, marker=".") for init, c in colours.items()})
    caption = (
        "Root mean square of what each weight layer puts out before training, one forward pass of "
        "four images: at full width (the paper's net) and as run here. Layers copied from net A "
        "are known at this size only. A line that falls by orders of magnitude is a net whose "
        "first layers hardly hear from the loss."
    )
    return drawn("activations", caption, figure)


def _activations(run: Run) -> pd.DataFrame | None:
    try:
        table = pd.read_csv(run.folder / ACTIVATIONS)
    except (OSError, ValueError):
        return None
    return table if {"net", "layer", "rms"} <= set(table.columns) and len(table) else None


def blog(experiment: Experiment, comparison: Comparison) -> Drawn | None:
    """The blog's own curves: accuracy by epoch, and its loss beside the right one."""
    runs = [run for net in measured_nets(experiment, comparison) for run in comparison.nets[net]]
    logs = [log for run in runs if (log := read_log(run)) is not None]
    if not logs:
        return None
    figure = Figure(figsize=(8, 3.0), layout="constrained")
    accuracy, loss = figure.subplots(1, 2)
    for number, log in enumerate(logs):
        named = {"train": "train_error", "validation": "validation_error", "test": "test_error"}
        for place, (name, column) in enumerate(named.items()):
            if column in log:
                label = name if number == 0 else None
                accuracy.plot(log.epoch, 100 - log[column], ".-", color=COLOURS[place], label=label)
        _loss(loss, log, first=number == 0)
    accuracy.set_ylabel("accuracy (%)")
    loss.set_ylabel("training loss")
    for axes in (accuracy, loss):
        axes.set_xlabel("epoch")
        axes.set_xticks(range(1, 1 + max(int(log.epoch.max()) for log in logs)))
        axes.legend(frameon=False, fontsize=8)
    caption = (
        "The blog's program: accuracy on the training images as they came, with dropout, on "
        "validation and on test images after each epoch (none of them steers anything), and its "
        "printed loss, which divides by the batches of all epochs so far, beside the mean loss of "
        f"the epoch. {len(logs)} runs."
    )
    return drawn("blog", caption, figure)


def _loss(axes: Axes, log: pd.DataFrame, *, first: bool) -> None:
    if "train_loss" not in log:
        return
    labels = ("mean over the epoch", "as the blog prints it") if first else (None, None)
    axes.plot(log.epoch, log.train_loss, ".-", color=COLOURS[0], label=labels[0])
    axes.plot(log.epoch, log.train_loss / log.epoch, ".--", color=COLOURS[1], label=labels[1])
