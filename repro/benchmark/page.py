"""What a benchmark leaves: every round, the summary, and a picture of the ratios."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

from repro.analysis.figures import COLOURS, STYLE, Drawn, drawn
from repro.benchmark.measure import summary
from repro.environment import cpu
from repro.store.files import write_whole


def write(rounds: pd.DataFrame, out: Path, device: str, threads: str) -> str:
    """Write rates.csv, summary.csv, summary.md, ratios.png and ratios.svg; what to print.

    Raises:
        RunError: the folder cannot be written to.
    """
    table = summary(rounds)
    shown = readable(table).to_markdown(index=False, disable_numparse=True)
    machine = f"{cpu()}, {os.cpu_count()} cores, {platform.system()}; {device}, {threads} threads"
    text = f"Median of {table.rounds.max()} interleaved rounds on: {machine}.\n\n{shown}\n"
    with mpl.rc_context(STYLE):
        figure = _figure(table, machine)
    files = {
        "rates.csv": rounds.to_csv(index=False).encode(),
        "summary.csv": table.to_csv(index=False, float_format="%.5g").encode(),
        "summary.md": text.encode(),
        "ratios.png": figure.png,
        "ratios.svg": figure.svg,
    }
    for name, content in files.items():
        write_whole(out / name, content)
    return f"{text}\n{out.resolve()}"


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """The summary for readers."""
    rows = []
    for row in table.to_dict("records"):
        digits = ".0f" if row["rate"] >= 10 else ".2f"
        low, high = (f"{row[key]:{digits}}" for key in ("lowest", "highest"))
        rows.append(
            {
                "contest": row["contest"],
                "contestant": row["contestant"],
                "rate": f"{row['rate']:{digits}} [{low}; {high}] {row['unit']}",
                "first is faster by": (
                    f"{row['ratio']:.2f} [{row['ratio_lowest']:.2f}; {row['ratio_highest']:.2f}]"
                ),
            }
        )
    return pd.DataFrame(rows)


def _figure(table: pd.DataFrame, machine: str) -> Drawn:
    contests = list(dict.fromkeys(table.contest))
    figure = Figure(figsize=(8, 0.8 + 0.3 * len(table) + 0.5 * len(contests)), layout="constrained")
    heights = [int((table.contest == name).sum()) for name in contests]
    panels = figure.subplots(len(contests), 1, height_ratios=heights, squeeze=False)[:, 0]
    for panel, name in zip(panels, contests, strict=True):
        rows = table[table.contest == name]
        panel.barh(rows.contestant, rows.rate, color=[COLOURS[2], *[COLOURS[0]] * (len(rows) - 1)])
        spread = [rows.rate - rows.lowest, rows.highest - rows.rate]
        panel.errorbar(
            rows.rate, range(len(rows)), xerr=spread, fmt="none", color="black", capsize=2
        )
        panel.invert_yaxis()
        panel.set_title(f"{name} ({rows.unit.iloc[0]})", fontsize=9, loc="left")
        panel.grid(visible=False, axis="y")
    return drawn("ratios", f"Rates on {machine}; bars are medians, whiskers the range.", figure)
