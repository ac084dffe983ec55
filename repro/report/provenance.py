"""Where the numbers come from: the runs, their machine, and one sentence about all of them."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from repro.report.settings import Comparison
from repro.report.titles import span, worded
from repro.store.runs import Run


def runs_table(runs: Sequence[Run]) -> pd.DataFrame:
    """A row for each run: how it ended, how long it took.

    The training error is that of the last epoch's crops, as they were met, with dropout.
    """
    keys = {
        **{"epochs": "epochs", "training error (%)": "train_error"},
        **{"validation error (%)": "validation_error", "time (s)": "seconds"},
        "images/s": "images_per_second",
    }
    rows = []
    for run in runs:
        # Older runs do not have the training error in their result.
        numbers = {title: run.result.get(key) for title, key in keys.items()}
        shown = {k: round(v, 1) if isinstance(v, float) else v for k, v in numbers.items()}
        rows.append({"run": run.name, "outcome": run.result["outcome"], **shown})
    return pd.DataFrame(rows)


def environment(runs: Sequence[Run]) -> pd.DataFrame:
    """Machine, versions and commit of the runs; where they differ, all that occurred."""
    words = {
        "machine": ("machine", "cpu", "device"),
        "cores, threads, workers": ("cores", "threads", "workers"),
        "Python, torch, torchvision, numpy": ("python", "torch", "torchvision", "numpy"),
        "commit": ("git_commit",),
        "finished": ("finished",),
    }
    rows = []
    for title, keys in words.items():
        found = set()
        for noted in (run.result["environment"] for run in runs):
            parts = ["-" if noted.get(key) is None else str(noted[key]) for key in keys]
            found.add(
                ", ".join([*parts, *["changed"] * (title == "commit" and bool(noted["git_dirty"]))])
            )
        shown = sorted(found)
        text = " / ".join(shown) if len(shown) < 4 else f"{shown[0]} to {shown[-1]}"
        rows.append({"what": title, "value": text})
    return pd.DataFrame(rows)


def what_ran(comparison: Comparison) -> str:
    """One sentence on the runs of a setting."""
    runs, config = comparison.runs, comparison.config
    counts = runs[0].result["data"]
    seeds = sorted({run.config.seed for run in runs})
    left_out = counts.get("left_out", 0)
    lost = f" {left_out} image files could not be decoded and were left out." if left_out else ""
    return (
        f"{len(runs)} run{'s'[: len(runs) > 1]} of {len(comparison.nets)} "
        f"net{'s'[: len(comparison.nets) > 1]}, seed{'s'[: len(seeds) > 1]} {span(seeds)}, on "
        f"{worded(config.data.name)}: {counts['train']:,} training, {counts['validation']:,} "
        f"validation and {counts['test']:,} test images of {counts['classes']} classes.{lost} "
        f"Size {worded(config.size.name)} (crop {config.size.crop} pixels, {config.size.poolings} "
        f"of 5 poolings, width {config.size.width:g}), recipe {worded(config.recipe.name)}, "
        f"initialisation {worded(comparison.usual.name)} where a net's name does not say otherwise."
    )
