"""Figures of logs: learning curves by epoch, each stage where its parent ends; the crops."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from repro.protocol.scales import PICTURED
from repro.report.experiments import Experiment, measured_nets
from repro.report.figure import Chart, caption, marks
from repro.report.measured import read_log
from repro.report.settings import Comparison
from repro.report.tables import in_order
from repro.report.titles import s_words, worded
from repro.store.identity import base
from repro.store.runs import CROPS

SINGLE = 3
"""More seeds of one net than these are drawn as their mean and the range between them."""
Key = tuple[str, str]


@dataclass(frozen=True)
class Stage:
    """All seeds of one net at one training scale."""

    logs: list[pd.DataFrame]
    parent: Key | None
    """The net and the scale that it starts from."""
    control: bool
    """It trains on at its parent's S, for comparison."""

    @property
    def epochs(self) -> int:
        """Of the seed that was trained longest."""
        return max(int(log.epoch.max()) for log in self.logs)


def _stages(comparison: Comparison) -> dict[Key, Stage]:
    found: dict[Key, Stage] = {}
    scales = {run.config.scale.name: run.config.scale for run in comparison.runs}
    for net, runs in comparison.nets.items():
        logs = [log for run in runs if (log := read_log(run)) is not None]
        if not logs or net.init is not None or net.finetune != "all":
            continue
        scale, giver = runs[0].config.scale, runs[0].config.init.copy_from
        parent = None if giver is None else (giver, "S256")
        control = False
        if scale.parent is not None:
            parent = net.arch, scale.parent
            before = scales.get(scale.parent)
            ends = (scale.smin, scale.smax)
            control = before is not None and ends == (before.smin, before.smax)
        found[net.arch, net.scale] = Stage(logs, parent, control)
    return found


def learning_curves(comparison: Comparison) -> Chart | None:
    """Validation error by epoch, a panel for each configuration, and that on training crops."""
    stages = _stages(comparison)
    rows: list[dict[str, Any]] = []
    orphans = set[str]()
    for arch, scale in sorted(stages, key=lambda key: (in_order(key[0]), _begin(key, stages), key)):
        stage, begin = stages[arch, scale], _begin((arch, scale), stages)
        if stage.epochs < 2 and begin == 0:
            continue
        if stage.parent is not None and stage.parent not in stages:
            orphans.add(f"{worded(arch)} at {s_words(scale)}")
        where = {"facet": worded(arch), "group": f"{s_words(scale)}"}
        where["mark"] = "dashed" if stage.control else "line"
        rows += _by_epoch(stage.logs, "validation_error", begin, where)
        training = {"facet": worded(arch), "group": "training crops", "mark": "dotted"}
        mean = pd.concat(stage.logs).groupby("epoch").mean().reset_index()
        rows += _by_epoch([mean], "train_error", begin, training | {"line": scale})
    if not rows:
        return None
    validation = comparison.runs[0].result["data"]["validation"]
    dropped = ", with dropout" if comparison.config.recipe.dropout else ""
    late = orphans and caption("learning-curves-orphans", nets="; ".join(sorted(orphans)))
    gaps = {"validation": validation, "dropout": dropped, "single": SINGLE, "orphans": late}
    words = caption("learning-curves", **gaps)
    frame = marks(rows)
    floor = 50 / validation
    for column in ("y", "low", "high"):
        # Half an image: a logarithmic axis has no zero.
        frame[column] = frame[column].astype(float).clip(lower=floor)
    colours = {"training crops": "#6b747c"}
    return Chart("learning-curves", words, frame, "epoch", "error (%)", log=True, colours=colours)


def _begin(key: Key, stages: dict[Key, Stage], after: tuple[Key, ...] = ()) -> int:
    """The epochs before a stage: those of the net that it starts from, and before that one."""
    parent = stages[key].parent
    # Configurations written by hand may name each other as parents.
    if parent is None or parent not in stages or parent in after:
        return 0
    return stages[parent].epochs + _begin(parent, stages, (*after, key))


def _by_epoch(
    logs: list[pd.DataFrame], column: str, begin: int, where: dict[str, Any]
) -> list[dict[str, Any]]:
    """One number of some logs by epoch: a line for each of few, else the mean and the range."""
    group, own = where["group"], where.get("line", "")
    if len(logs) <= SINGLE:
        return [
            where | {"line": f"{group} {own} {number}", "x": epoch + begin, "y": value}
            for number, log in enumerate(logs)
            for epoch, value in zip(log.epoch, log[column], strict=True)
        ]
    table = pd.concat([log.set_index("epoch")[column] for log in logs], axis=1).sort_index()
    found = []
    for epoch, values in zip(table.index.tolist(), table.to_numpy(), strict=True):
        at = where | {"line": group, "x": epoch + begin}
        found.append(at | {"y": np.nanmean(values)})
        found.append(at | {"mark": "band", "low": np.nanmin(values), "high": np.nanmax(values)})
    return found


def blog(experiment: Experiment, comparison: Comparison) -> Chart | None:
    """The blog's own curves: accuracy by epoch, and its loss beside the right one."""
    runs = [run for net in measured_nets(experiment, comparison) for run in comparison.nets[net]]
    logs = [log for run in runs if (log := read_log(run)) is not None]
    if not any(len(log) > 1 for log in logs):
        return None
    rows: list[dict[str, Any]] = []
    for name, column in (("training", "train"), ("validation", "validation"), ("test", "test")):
        right = [log.assign(y=100 - log[key]) for log in logs if (key := f"{column}_error") in log]
        where = {"facet": "accuracy (%)", "group": f"{name} images", "mark": "line"}
        rows += _by_epoch(right, "y", 0, where) if right else []
    with_loss = [log for log in logs if "train_loss" in log]
    printed = [log.assign(train_loss=log.train_loss / log.epoch) for log in with_loss]
    for kind, name, found in (
        ("line", "mean loss of the epoch", with_loss),
        ("dashed", "loss as the blog prints it", printed),
    ):
        where = {"facet": "training loss (nats)", "group": name, "mark": kind}
        rows += _by_epoch(found, "train_loss", 0, where) if found else []
    words = caption("blog", runs=len(logs), single=SINGLE)
    return Chart("blog", words, marks(rows), "epoch", y="accuracy (%)", free=True)


@dataclass(frozen=True)
class Picture:
    """A figure that is an image already."""

    name: str
    caption: str
    content: bytes

    def png(self) -> bytes:
        """The figure as a file."""
        return self.content


def training_crops(comparison: Comparison) -> Picture | None:
    """Crops of the same images at several S, a row each, as a run left them."""
    from PIL import Image

    for run in comparison.runs:
        file = io.BytesIO()
        try:
            with Image.open(run.folder / CROPS) as image:
                image.convert("RGB").save(file, "PNG")
        except Exception:
            # As with views, there are many ways to be damaged, or to be too large.
            continue
        ranges = [f"S={low}" if low == high else f"S in [{low}; {high}]" for low, high in PICTURED]
        config = comparison.config
        data = worded(base(config.data.name))
        words = caption(
            "training-crops", crop=config.size.crop, data=data, scales=", ".join(ranges)
        )
        return Picture("training-crops", words, file.getvalue())
    return None
