"""The figures of the ablations."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from repro.analysis.experiments import Experiment, compared_nets, measured_nets
from repro.analysis.figures import COLOURS, STYLE, Drawn, bars, drawn, read_log
from repro.analysis.measured import Spread, members, spread
from repro.analysis.settings import Comparison
from repro.analysis.tables import OPEN, cell, net_title
from repro.paper import published
from repro.spec.scales import EACH_Q
from repro.store.runs import ACTIVATIONS, Run

INTERVALS = "bars are 95% intervals (one seed: Wilson's over test images; several: Student's)"


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
    nets = compared_nets(experiment, comparison)
    tests = experiment.tests
    rows = [
        _Row(
            _short(net) + (f", {test.replace('_', ' ')}" if len(tests) > 1 else ""),
            spread(cells) if (cells := comparison.cells(net, test)) else None,
            cell(comparison, net, test),
            published.error_of(test, net, "top1_error"),
            COLOURS[number % len(COLOURS)],
        )
        for net, (number, test) in itertools.product(nets, enumerate(tests))
    ]
    rows = [row for row in rows if row.words != OPEN]
    values = [row.value for row in rows if row.value is not None]
    if not values:
        return None
    paper = any(row.paper is not None for row in rows)
    figure = Figure(figsize=(8, 1.0 + 0.24 * len(rows)), layout="constrained")
    panels = figure.subplots(1, 2 if paper else 1, sharey=True, squeeze=False)[0]
    for place, row in enumerate(rows):
        _draw_row(panels, place, row)
    panels[0].set_yticks(range(len(rows)), [row.title for row in rows])
    panels[0].set_ylim(len(rows) - 0.5, -0.5)
    panels[0].set_title(f"here: {comparison.setting.data}", fontsize=9)
    if paper:
        panels[1].set_title("the paper: ImageNet, 1000 classes", fontsize=9)
    for panel in panels:
        panel.set_xlabel("top-1 error (%)")
        panel.margins(x=0.12)
        panel.set_xlim(left=max(0.0, panel.get_xlim()[0]))
    n = sorted({value.seeds for value in values})
    seeds = f"{n[0]}" if len(n) == 1 else f"{n[0]} to {n[-1]}"
    caption = (
        f"{experiment.question}: top-1 error on {values[0].images:,} test images, seeds: {seeds}; "
        f"{INTERVALS}."
    )
    caption += " The two panels are different tasks." if paper else ""
    return drawn(f"experiment-{experiment.name}", caption, figure)


@dataclass(frozen=True)
class _Row:
    title: str
    value: Spread | None
    words: str
    """What the table says of it, for nets that have no error."""
    paper: float | None
    colour: str


def _draw_row(panels: Sequence[Axes], place: int, row: _Row) -> None:
    ours = panels[0]
    if row.value is None:
        beside = ours.get_yaxis_transform()
        ours.text(0.02, place, row.words, transform=beside, va="center", fontsize=8, color="grey")
    else:
        length = bars([row.value])
        ours.errorbar(
            row.value.mean, place, xerr=length, fmt="o", ms=5, capsize=3, color=row.colour
        )
    if row.paper is not None:
        panels[1].plot(row.paper, place, "s", color=row.colour)


def _short(net: str) -> str:
    count = len(members(net))
    return f"{count} nets" if count > 3 else net_title(net)


def curves(experiment: Experiment, comparison: Comparison) -> Drawn | None:
    """Error against test scale Q, a panel for each configuration, a line for each S."""
    nets = measured_nets(experiment, comparison)
    test = experiment.tests[0]
    tested = [net for net in nets if len({one.q for one in comparison.cells(net, test)}) > 1]
    archs = list(dict.fromkeys(net.split("-")[0] for net in tested))
    if not archs:
        return None
    figure = Figure(figsize=(8, 3.0), layout="constrained")
    panels = figure.subplots(1, len(archs), sharey=True, squeeze=False)[0]
    scales = list(dict.fromkeys(net.split("-", 1)[1] for net in tested))
    for panel, arch in zip(panels, archs, strict=True):
        for number, scale in enumerate(scales):
            cells = {q: comparison.cells(f"{arch}-{scale}", test, str(q)) for q in EACH_Q}
            values = {q: spread(found) for q, found in cells.items() if found}
            if not values:
                continue
            means = [value.mean for value in values.values()]
            colour = COLOURS[number]
            panel.plot(list(values), means, ".-", color=colour, label=_trained(scale), lw=1.3)
            ends = [(value.low, value.high) for value in values.values()]
            low, high = np.transpose(ends)
            panel.fill_between(list(values), low, high, color=colour, alpha=0.12, lw=0)
        panel.set_title(arch, fontsize=9)
        panel.set_xlabel("test scale Q (paper pixels)")
        panel.set_xticks([224, 256, 320, 384, 448, 512])
        panel.tick_params(axis="x", labelsize=7)
    panels[0].set_ylabel("top-1 error (%)")
    panels[0].set_ylim(bottom=0)
    figure.legend(
        *panels[0].get_legend_handles_labels(),
        loc="outside upper right",
        ncols=len(scales),
        frameon=False,
    )
    caption = (
        "Error against the test scale Q (dense), nets trained at S=256, S=384 and jittered S; "
        "bands are 95% intervals of each point. The paper tests a few of these Q."
    )
    return drawn(f"experiment-{experiment.name}", caption, figure)


def _trained(scale: str) -> str:
    return f"trained at {net_title(f'x-{scale}').split(', ', 1)[1]}"


def activations(experiment: Experiment, comparison: Comparison) -> Drawn | None:
    """Root mean square after each layer before training, for each initialisation."""
    found: dict[str, list[tuple[str, pd.DataFrame]]] = {}
    for net in measured_nets(experiment, comparison):
        for run in comparison.nets[comparison.plain(net)]:
            table = _activations(run)
            if table is not None:
                for kind, rows in table.groupby("net", sort=False):
                    lines = found.setdefault(f"{run.config.arch.name}, {kind}", [])
                    lines.append((run.config.init.name, rows))
                break
    if not found:
        return None
    panels = sorted(found, key=lambda title: (title.split(", ")[1] != "full width", title))
    half = -(-len(panels) // 2)
    figure = Figure(figsize=(8, 2.8 * half), layout="constrained")
    grid = figure.subplots(half, 2, squeeze=False)
    colours: dict[str, str] = {}
    for panel, title in zip(grid.flat, panels, strict=False):
        for init, table in found[title]:
            colour = colours.setdefault(init, COLOURS[len(colours) % len(COLOURS)])
            panel.plot(range(1, len(table) + 1), table["rms"], ".-", color=colour, lw=1.2)
        panel.set_yscale("log")
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.set_title(title, fontsize=9)
        panel.set_xlabel("weight layer")
        panel.set_ylabel("RMS before rectification")
    for panel in grid.flat[len(panels) :]:
        panel.set_axis_off()
    marks = [Line2D([], [], color=colour) for colour in colours.values()]
    figure.legend(marks, list(colours), loc="outside upper center", ncols=len(marks), frameon=False)
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
