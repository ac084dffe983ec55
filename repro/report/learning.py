"""Learning curves: error by epoch, a panel for each net, its stages after one another."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from repro.config.choices import choice, names
from repro.report.drawing import (
    COLOURS,
    GREY,
    LINES,
    OF_SCALE,
    Drawn,
    drawn,
    error_axis,
    grid_of,
    legend,
)
from repro.report.net import Net
from repro.report.settings import Comparison
from repro.report.tables import in_order, scale_label
from repro.store import runs as stored
from repro.store.runs import Run


@dataclass(frozen=True)
class Stage:
    """All seeds of one net at one training scale."""

    scale: str
    parent: str | None
    logs: list[pd.DataFrame]
    floor: float
    """Half a validation image, in percent: a logarithmic axis has no zero."""

    @property
    def epochs(self) -> int:
        """Of the seed that was trained longest."""
        return max(int(log.epoch.max()) for log in self.logs)

    @property
    def control(self) -> bool:
        """It trains on at its parent's S, for comparison."""
        own = _range(self.scale)
        return own is not None and self.parent is not None and own == _range(self.parent)

    @property
    def colour(self) -> str:
        """That of S: a control has its parent's."""
        shown = self.parent if self.control and self.parent else self.scale
        return OF_SCALE.get(shown, COLOURS[len(OF_SCALE)])


def _range(scale: str) -> tuple[int, int] | None:
    if scale not in names("scale"):
        return None
    tree = choice("scale", scale)
    return tree["smin"], tree["smax"]


def learning_curves(comparison: Comparison) -> Drawn | None:
    """Validation error by epoch, a panel for each configuration, and that on training crops."""
    nets: dict[str, dict[str, Stage]] = {}
    for run in comparison.runs:
        log, config = read_log(run), run.config
        if log is None or comparison.net_of(run) != Net(config.arch.name, config.scale.name):
            continue
        floor = 50 / run.result["data"]["validation"]
        stages = nets.setdefault(config.arch.name, {})
        new = Stage(config.scale.name, config.scale.parent, [], floor)
        stages.setdefault(config.scale.name, new).logs.append(log)
    # One epoch is a point and no curve.
    nets = {
        net: nets[net]
        for net in sorted(nets, key=in_order)
        if any(stage.epochs > 1 for stage in nets[net].values())
    }
    if not nets:
        return None
    figure, panels = grid_of(list(nets), height=2.2)
    for (net, stages), panel in zip(nets.items(), panels, strict=True):
        _panel(panel, stages)
        panel.set_title(net)
        panel.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    lowest = min(panel.dataLim.y0 for panel in panels)
    error_axis(figure, panels, "epoch", lowest)
    legend(figure, _marks([stage for stages in nets.values() for stage in stages.values()]), 3)
    runs = sum(len(stage.logs) for stages in nets.values() for stage in stages.values())
    validation = comparison.runs[0].result["data"]["validation"]
    dropped = ", with dropout" if comparison.config.recipe.dropout else ""
    caption = (
        f"Learning curves of {runs} runs: error on the centre crops of {validation:,} validation "
        f"images, and (dotted, mean over seeds) on the training crops as they came{dropped}. "
        "A stage begins where the net that it starts from ends. Each seed is a thin line, or, "
        f"where a panel would hold more than {LINES} lines, the line is their mean and the band "
        "goes from the lowest to the highest. The error axis is logarithmic."
    )
    return drawn("learning-curves", caption, figure)


def _panel(panel: Axes, stages: dict[str, Stage]) -> None:
    # One line of training errors beside those of validation.
    crowded = 1 + sum(len(stage.logs) for stage in stages.values()) > LINES
    for stage in stages.values():
        begin = _end(stage.parent, stages)
        errors = _by_epoch(stage, "validation_error")
        epochs = errors.index + begin
        look: dict[str, Any] = {"color": stage.colour, "ls": "--" if stage.control else "-"}
        if crowded:
            panel.plot(epochs, errors.mean(axis=1), lw=1.5, **look)
            low, high = errors.min(axis=1), errors.max(axis=1)
            panel.fill_between(epochs, low, high, color=stage.colour, alpha=0.18, lw=0)
        else:
            panel.plot(epochs, errors, lw=1.0, **look)
        if not stage.control:
            training = _by_epoch(stage, "train_error").mean(axis=1)
            panel.plot(training.index + begin, training, ":", color=GREY, lw=1.3)


def _by_epoch(stage: Stage, column: str) -> pd.DataFrame:
    """(epochs, seeds)"""
    seeds = [log.set_index("epoch")[column] for log in stage.logs]
    return pd.concat(seeds, axis=1).sort_index().clip(lower=stage.floor)


def _end(scale: str | None, stages: dict[str, Stage], after: tuple[str, ...] = ()) -> int:
    """The epochs until a stage ends, of the seed that was trained longest.

    Args:
        scale: of the stage; None: there is none, which ends at once.
        stages: of one net, by training scale.
        after: the stages that start from this one.
    """
    # Configurations written by hand may name each other as parents.
    if scale is None or scale in after:
        return 0
    stage = stages.get(scale)
    if stage is not None:
        return stage.epochs + _end(stage.parent, stages, (*after, scale))
    # Its run is gone from the store: what it started from may still be there.
    return _end(choice("scale", scale).get("parent") if scale in names("scale") else None, stages)


def _marks(stages: Sequence[Stage]) -> dict[str, Line2D]:
    known = list(names("scale"))
    found = {stage.scale: stage for stage in stages}
    marks = {}
    for scale in sorted(found, key=lambda name: (found[name].control, _rank(name, known))):
        stage = found[scale]
        look = "--" if stage.control else "-"
        marks[f"S={scale_label(scale)}"] = Line2D([], [], color=stage.colour, ls=look, lw=1.5)
    marks["training crops"] = Line2D([], [], color=GREY, ls=":", lw=1.3)
    return marks


def _rank(scale: str, known: list[str]) -> tuple[int, str]:
    return (known.index(scale) if scale in known else len(known), scale)


def read_log(run: Run) -> pd.DataFrame | None:
    """A run's log, a row an epoch, or None where no epoch was finished or it is damaged."""
    wanted = {"epoch", "train_error", "validation_error"}
    try:
        content = stored.read_log(run)
        if content is None:
            return None
        log = pd.read_csv(io.BytesIO(content)).apply(pd.to_numeric)
        counted = wanted <= set(log.columns) and log.epoch.tolist() == [*range(1, len(log) + 1)]
    except (OSError, ValueError, TypeError):
        return None
    finite = not log.isin([float("inf"), float("-inf")]).to_numpy().any()
    return log if len(log) and counted and finite else None
