"""The tables of the report in words, for pages and the terminal."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from repro.protocol.protocols import ONE_NUMBER, PROTOCOLS
from repro.report.net import worded
from repro.report.settings import Comparison
from repro.report.tables import protocols

TITLES = {"mean": "here (%)", "n": "seeds", "paper": "paper (%)"}


def side_by_side(frame: pd.DataFrame) -> pd.DataFrame:
    """The table of `protocols` for readers: a row for each net, a column for each protocol."""
    rows = []
    for (net, scale), part in frame.groupby(["net", "S"], sort=False) if len(frame) else ():
        words = {f"{one['test']} (%)": _error_words(one) for one in part.to_dict("records")}
        seeds = " to ".join(map(str, dict.fromkeys((part.n.min(), part.n.max()))))
        rows.append({"net": net, "S": scale, **words, "seeds": seeds})
    shown = pd.DataFrame(rows).fillna("-")
    return shown[sorted(shown, key=lambda name: name == "seeds")]


def what_ran(comparison: Comparison) -> str:
    """One sentence on the runs of a setting."""
    runs, config, nets = comparison.runs, comparison.config, len(comparison.nets)
    counts, seeds = runs[0].result["data"], sorted({run.config.seed for run in runs})
    size, lost, every = config.size, "", ", ".join(map(str, seeds))
    if left_out := counts.get("left_out", 0):
        lost = f" {left_out} image files could not be decoded and were left out."
    if len(seeds) > 2 and seeds[-1] - seeds[0] + 1 == len(seeds):
        every = f"{seeds[0]} to {seeds[-1]}"
    minutes = sum(run.result["seconds"] or 0 for run in runs) / 60
    took = f"{minutes / 60:.1f} hours" if minutes >= 60 else f"{minutes:.1f} minutes"
    return (
        f"{len(runs)} run{'s' if len(runs) > 1 else ''} of {nets} net{'s' if nets > 1 else ''}, "
        f"seed{'s' if len(seeds) > 1 else ''} {every}, on "
        f"{worded(config.data.name)}: {counts['train']:,} training, {counts['validation']:,} "
        f"validation and {counts['test']:,} test images of {counts['classes']} classes.{lost} "
        f"Size {worded(size.name)} (crop {size.crop} pixels, {size.poolings} of 5 poolings, width "
        f"{size.width:g}), recipe {worded(config.recipe.name)}, initialisation "
        f"{worded(comparison.usual.name)} where a net's name does not say otherwise."
        f"{f' Training took {took} in all.' if minutes else ''}"
    )


def readable(frame: pd.DataFrame) -> pd.DataFrame:
    """A table of numbers in words: an error with its spread in one column, its seeds in another."""
    rows = []
    for found in frame.to_dict("records"):
        words: dict[str, str] = {}
        for name, value in found.items():
            if name not in ("sd", "low", "high") or "sd" not in found:
                title = TITLES.get(str(name), str(name).replace("_", " "))
                words[title] = _number_words(value, 0 if name == "n" else 1)
                words |= {title: _error_words(found)} if name == "mean" and "sd" in found else {}
        rows.append(words)
    shown = pd.DataFrame(rows)
    # A column that says nothing of any row says nothing.
    empty = [name for name in shown if set(shown[name]) <= {"-"} and name != "here (%)"]
    return shown.drop(columns=empty)


def _error_words(found: Mapping[Any, Any]) -> str:
    if pd.isna(found["mean"]):
        return str(found.get("note") or "not run")
    if pd.isna(found["sd"]):
        return f"{found['mean']:.1f} [{found['low']:.1f}; {found['high']:.1f}]"
    return f"{found['mean']:.1f} ± {found['sd']:.1f}"


def _number_words(value: Any, digits: int) -> str:
    if pd.isna(value) or value == "":
        return "-"
    if isinstance(value, float):
        return f"{value:,.{digits}f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def summary(comparison: Comparison) -> str:
    """The table of the terminal: every net by the protocols with one test scale."""
    one = [PROTOCOLS[test].title for test in ONE_NUMBER if PROTOCOLS[test].scales == "one"]
    frame = protocols(comparison)
    return side_by_side(frame[frame.test.isin(one)]).to_string(index=False) if len(frame) else ""
