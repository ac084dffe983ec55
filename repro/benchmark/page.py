"""What a benchmark leaves: every round, the summary, and a picture of the ratios."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from repro.benchmark.measure import summary
from repro.errors import RequestError, one_line
from repro.report.drawing import COLOURS, STYLE, Drawn, drawn
from repro.run.environment import cpu
from repro.store.files import write_whole

COLUMNS = ["contest", "contestant", "round", "rate", "unit", "machine"]
BESIDE: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "va": "center"}
"""Of words that stand at a row's height."""


def machine(device: str, threads: str) -> str:
    """Where rates are taken, in words."""
    return f"{cpu()}, {os.cpu_count()} cores, {platform.system()}; {device}, {threads} threads"


def kept(out: Path, machine: str) -> pd.DataFrame:
    """The rounds that were measured before on this machine and written to `out`.

    Raises:
        RequestError: they were measured elsewhere, or cannot be read.
    """
    file = out / "rates.csv"
    if not file.exists():
        return pd.DataFrame(columns=COLUMNS)
    try:
        rounds = pd.read_csv(file)[COLUMNS]
    except (OSError, ValueError, KeyError) as error:
        reason = one_line(error)
        raise RequestError(f"{file} cannot be read: {reason}; name another out=") from None
    elsewhere = set(rounds.machine) - {machine}
    if elsewhere:
        raise RequestError(
            f"{file} was taken on {elsewhere.pop()}, this is {machine}: name another out="
        )
    return rounds


def write(rounds: pd.DataFrame, out: Path, machine: str) -> str:
    """Write rates.csv, summary.csv, summary.md, ratios.png and ratios.svg; what to print.

    Contests that `out` has from an earlier command stay, unless they were held again.

    Raises:
        RequestError: the folder has rates of another machine.
        RunError: the folder cannot be written to.
    """
    earlier = kept(out, machine)
    others = earlier[~earlier.contest.isin(rounds.contest)]
    rounds = pd.concat([others, rounds.assign(machine=machine)], ignore_index=True)[COLUMNS]
    table = summary(rounds)
    shown = readable(table).to_markdown(index=False, disable_numparse=True)
    text = f"Medians of interleaved rounds on: {machine}.\n\n{shown}\n"
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
                "rounds": row["rounds"],
                "rate": f"{row['rate']:{digits}} [{low}; {high}] {row['unit']}",
                "first is faster by": (
                    f"{row['ratio']:.2f} [{row['ratio_lowest']:.2f}; {row['ratio_highest']:.2f}]"
                ),
            }
        )
    return pd.DataFrame(rows)


def _figure(table: pd.DataFrame, machine: str) -> Drawn:
    """How many times as fast the first contestant of each contest is as the others."""
    contests = list(dict.fromkeys(table.contest))
    figure = Figure(figsize=(9, 1 + 0.21 * len(table)), layout="constrained")
    panel = figure.subplots()
    rows: list[Any] = list(table.itertuples())
    for height, row in enumerate(rows):
        if row.contest in contests:
            # The first one's own row is the contest's heading.
            contests.remove(row.contest)
            words = f"{row.contest}: {row.contestant}, against"
            blank = {"facecolor": "white", "edgecolor": "none", "pad": 1}
            panel.annotate(words, (0.01, height), **BESIDE, fontweight="bold", bbox=blank)
            continue
        spread = [[row.ratio - row.ratio_lowest], [row.ratio_highest - row.ratio]]
        colour = COLOURS[2] if row.ratio >= 1 else COLOURS[0]
        how: dict[str, Any] = {"fmt": "o", "markersize": 4, "capsize": 2, "color": colour}
        panel.errorbar(row.ratio, height, xerr=spread, **how)
        panel.annotate(row.contestant, (-0.01, height), **BESIDE, ha="right")
        panel.annotate(f"{row.ratio:.2f}", (1.01, height), **BESIDE)
    panel.axvline(1, color="black", linewidth=0.8, zorder=0)
    panel.set_xscale("log")
    panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    panel.xaxis.set_major_formatter("{x:g}")
    panel.xaxis.set_minor_locator(NullLocator())
    panel.set_yticks([])
    panel.set_ylim(len(table) - 0.5, -0.7)
    panel.set_xlabel("times as fast (medians of rounds, whiskers: all rounds)")
    return drawn(
        "ratios", f"Ratios of rates on {machine}; above 1 the first one is faster.", figure
    )
