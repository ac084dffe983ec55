"""Where the numbers come from: the runs, their machine, and one sentence about all of them."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from repro.report.settings import Comparison
from repro.report.titles import span, worded
from repro.store.runs import Run

TITLES = {
    **{"epochs": "epochs", "training error (%)": "train_error"},
    **{"validation error (%)": "validation_error", "time (s)": "seconds"},
    "images/s": "images_per_second",
}
MACHINE = {
    "machine": ("machine", "cpu", "device"),
    "cores, threads, workers": ("cores", "threads", "workers"),
    "Python, torch, torchvision, numpy": ("python", "torch", "torchvision", "numpy"),
    "commit": ("git_commit",),
    "finished": ("finished",),
}


def runs_table(runs: Sequence[Run]) -> pd.DataFrame:
    """A row for each run: how it ended, how long it took.

    The training error is that of the last epoch's crops, as they were met, with dropout.
    """
    rows = []
    for run in runs:
        # Older runs do not have the training error in their result.
        numbers = {title: run.result.get(key) for title, key in TITLES.items()}
        shown = {k: round(v, 1) if isinstance(v, float) else v for k, v in numbers.items()}
        rows.append({"run": run.name, "outcome": run.result["outcome"], **shown})
    return pd.DataFrame(rows)


def environment(runs: Sequence[Run]) -> pd.DataFrame:
    """Machine, versions and commit of the runs; where they differ, all that occurred."""
    rows = []
    noted = [run.result["environment"] for run in runs]
    for title, keys in MACHINE.items():
        found = set()
        for one in noted:
            parts = ["-" if one.get(key) is None else str(one[key]) for key in keys]
            parts += ["changed"] * (title == "commit" and bool(one["git_dirty"]))
            found.add(", ".join(parts))
        shown = sorted(found)
        text = " / ".join(shown) if len(shown) < 4 else f"{shown[0]} to {shown[-1]}"
        rows.append({"what": title, "value": text})
    return pd.DataFrame(rows)


def what_ran(comparison: Comparison) -> str:
    """One sentence on the runs of a setting."""
    runs, config, nets = comparison.runs, comparison.config, len(comparison.nets)
    counts, seeds = runs[0].result["data"], sorted({run.config.seed for run in runs})
    left_out = counts.get("left_out", 0)
    lost = f" {left_out} image files could not be decoded and were left out." if left_out else ""
    return (
        f"{len(runs)} run{'s'[: len(runs) > 1]} of {nets} net{'s'[: nets > 1]}, "
        f"seed{'s'[: len(seeds) > 1]} {span(seeds)}, on "
        f"{worded(config.data.name)}: {counts['train']:,} training, {counts['validation']:,} "
        f"validation and {counts['test']:,} test images of {counts['classes']} classes.{lost} "
        f"Size {worded(config.size.name)} (crop {config.size.crop} pixels, {config.size.poolings} "
        f"of 5 poolings, width {config.size.width:g}), recipe {worded(config.recipe.name)}, "
        f"initialisation {worded(comparison.usual.name)} where a net's name does not say otherwise."
    )
