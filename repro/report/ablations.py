"""The figures that experiments ask for by name, in the comment of their file."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from repro.errors import RequestError
from repro.report.built import noted_activations
from repro.report.curves import curves
from repro.report.dots import dot_plot, lines
from repro.report.drawing import COLOURS, LINES, STYLE, WIDTH, Drawn, drawn, legend
from repro.report.experiments import Experiment, compared_nets, measured_nets
from repro.report.figures import OF_SETTING
from repro.report.learning import read_log
from repro.report.settings import Comparison


def figures_of(experiment: Experiment, comparison: Comparison) -> list[Drawn]:
    """The figures that an experiment has of its own; none where nothing of it was measured.

    Raises:
        RequestError: it asks for a figure that there is not.
    """
    wanted = experiment.figures or ("curves" if experiment.curve else "compared",)
    for name in {*wanted} - {*FIGURES, *OF_SETTING}:
        raise RequestError(
            f"conf/experiments/{experiment.name}.yaml asks for the figure {name}: expected some of "
            f"{', '.join([*FIGURES, *OF_SETTING])}"
        )
    with mpl.rc_context(STYLE):
        found = [FIGURES[name](experiment, comparison) for name in wanted if name in FIGURES]
    return [figure for figure in found if figure is not None]


def compared(experiment: Experiment, comparison: Comparison) -> Drawn | None:
    """A row of dots for each net of an experiment and each of its protocols, beside the paper's."""
    shown = lines(comparison, compared_nets(experiment, comparison), experiment.tests)
    name = f"experiment-{experiment.name}"
    return dot_plot(name, experiment.question, comparison, shown, paper=True)


def activations(experiment: Experiment, comparison: Comparison) -> Drawn | None:
    """The size of activations after each layer before training, a line an initialisation."""
    found: dict[str, dict[str, pd.DataFrame]] = {}
    for net in measured_nets(experiment, comparison):
        for run in comparison.nets[comparison.plain(net)]:
            table = noted_activations(run)
            if table is not None:
                for kind, part in table.groupby("net", sort=False):
                    of_kind = found.setdefault(f"{run.config.arch.name}, {kind}", {})
                    of_kind[run.config.init.name] = part
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


def blog(experiment: Experiment, comparison: Comparison) -> Drawn | None:
    """The blog's own curves: accuracy by epoch, and its loss beside the right one."""
    runs = [run for net in measured_nets(experiment, comparison) for run in comparison.nets[net]]
    logs = [log for run in runs if (log := read_log(run)) is not None]
    if not any(len(log) > 1 for log in logs):
        return None
    figure = Figure(figsize=(WIDTH, 3.0), layout="constrained")
    accuracy, loss = figure.subplots(1, 2)
    columns = {"train": "train_error", "validation": "validation_error", "test": "test_error"}
    for place, (name, column) in enumerate(columns.items()):
        right = [100 - log.set_index("epoch")[column] for log in logs if column in log]
        _seeds(accuracy, right, COLOURS[place], "-", name)
    losses = [log.set_index("epoch").train_loss for log in logs if "train_loss" in log]
    _seeds(loss, losses, COLOURS[0], "-", "mean over the epoch")
    _seeds(loss, [one / one.index for one in losses], COLOURS[1], "--", "as the blog prints it")
    accuracy.set_ylabel("accuracy (%)")
    loss.set_ylabel("training loss (nats)")
    for axes in (accuracy, loss):
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        axes.legend()
    caption = (
        "The blog's program: accuracy on the training images as they came, with dropout, on "
        "validation and on test images after each epoch (none of them steers anything), and its "
        "printed loss, which divides by the batches of all epochs so far, beside the mean loss of "
        f"the epoch. {len(logs)} runs: each is a line, or, where a panel would hold more than "
        f"{LINES}, the line is their mean and the band goes from the lowest to the highest."
    )
    return drawn("blog", caption, figure)


def _seeds(
    axes: Axes, seeds: Sequence[pd.Series[float]], colour: str, style: str, name: str
) -> None:
    """One number of every run by epoch."""
    if not seeds:
        return
    table = pd.concat(seeds, axis=1).sort_index()
    if 3 * len(seeds) <= LINES:
        table.columns = pd.Index([name, *[f"_{name}"] * (len(seeds) - 1)])
        for label, values in table.items():
            axes.plot(values.index, values, f".{style}", color=colour, lw=1.2, label=str(label))
        return
    axes.plot(table.index, table.mean(axis=1), f".{style}", color=colour, label=name)
    low, high = table.min(axis=1), table.max(axis=1)
    axes.fill_between(table.index, low, high, color=colour, alpha=0.18, lw=0)


FIGURES: dict[str, Callable[[Experiment, Comparison], Drawn | None]] = {
    "compared": compared,
    "curves": curves,
    "activations": activations,
    "blog": blog,
}
"""What an experiment may ask for by name, beside the figures of its setting."""
