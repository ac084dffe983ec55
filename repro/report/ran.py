"""Tables of what was run: each run, its machine, and what in it departs from the paper."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from repro.report.deviations import deviations
from repro.report.settings import Comparison
from repro.report.tables import net_title
from repro.store.runs import Run


def what_ran(runs: Sequence[Run]) -> pd.DataFrame:
    """A row for each run: how it ended, how long it took.

    The training error is that of the last epoch's crops, as they were met, with dropout.
    """
    rows = []
    for run in runs:
        result = run.result
        speed = result["images_per_second"]
        # Older runs do not have the training error in their result.
        errors = [result.get("train_error"), result["validation_error"]]
        training, validation = ("-" if one is None else f"{one:.1f}" for one in errors)
        rows.append(
            {
                "run": run.name,
                "outcome": result["outcome"],
                "epochs": str(result["epochs"]),
                "training error (%)": training,
                "validation error (%)": validation,
                "time (s)": f"{result['seconds']:.0f}",
                "images/s": "-" if speed is None else f"{speed:.0f}",
            }
        )
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
    for label, keys in words.items():
        found = dict.fromkeys(
            ", ".join(_known(run.result["environment"].get(key)) for key in keys)
            + (", changed" if label == "commit" and run.result["environment"]["git_dirty"] else "")
            for run in runs
        )
        shown = sorted(found)
        text = " | ".join(shown) if len(shown) < 4 else f"{shown[0]} to {shown[-1]}"
        rows.append({"what": label, "value": text.replace("|", "/")})
    return pd.DataFrame(rows)


def _known(value: object) -> str:
    return "-" if value is None else str(value)


def departures(comparison: Comparison) -> pd.DataFrame:
    """What departs from the paper, a row each, with the runs that it holds for."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for run in comparison.runs:
        label = net_title(comparison.net_of(run))
        for row in deviations(run):
            found.setdefault(row, []).append(label)
    rows = [
        {
            "section": section,
            "here": here,
            "the paper": paper,
            "runs": "all"
            if len(set(labels)) == len(comparison.nets)
            else ", ".join(dict.fromkeys(labels)),
        }
        for (section, here, paper), labels in found.items()
    ]
    return pd.DataFrame(rows)
