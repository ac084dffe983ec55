"""Comparing programs that do the same work: interleaved, in one run, as ratios."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from tqdm import tqdm

from repro.errors import RunError

Work = Callable[[], float]
"""Does the work once and returns how many units it did (images, or one start)."""

MOST = 3
"""Rounds of a contest that takes long."""


@dataclass(frozen=True)
class Contest:
    """Several ways of doing the same work; the first is the one that the others are set against."""

    name: str
    unit: str
    """What the rates count, as in `images/s`."""
    contestants: dict[str, Work]
    per_core: bool = False
    """Whether rates count the processor's seconds instead of those of the clock on the wall."""
    long: bool = False
    """Whether a round takes minutes: then there are three at most, and all are counted."""


def check_ended(words: Sequence[str], status: int, errors: bytes) -> None:
    """Refuse to time a program that failed.

    Raises:
        RunError: with its last line.
    """
    if status:
        last = errors.decode(errors="replace").strip().splitlines()[-1:]
        raise RunError(f"{' '.join(words)} ended with {status}: {' '.join(last)}")


def one_thread(work: Work) -> Work:
    """The same work by a single thread of torch's."""

    def alone() -> float:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return work()
        finally:
            torch.set_num_threads(threads)

    return alone


def run(contest: Contest, rounds: int, progress: bool) -> pd.DataFrame:
    """Let all contestants work in turn, as often as there are rounds.

    Every other round goes backwards, so that a machine that slows down or warms up favours nobody.
    A first round that is not counted fills caches.

    Returns:
        A row for each contestant and round: contest, contestant, round, rate (units a second).
    """
    clock = time.process_time if contest.per_core else time.perf_counter
    names = list(contest.contestants)
    numbers = range(1, min(rounds, MOST) + 1) if contest.long else range(rounds + 1)
    rows = []
    bar = tqdm(total=len(numbers) * len(names), desc=contest.name, disable=not progress or None)
    for number in numbers:
        for name in names if number % 2 else reversed(names):
            began = clock()
            units = contest.contestants[name]()
            rate = units / (clock() - began)
            if number:
                rows.append((contest.name, name, number, rate, contest.unit))
            bar.update()
    bar.close()
    return pd.DataFrame(rows, columns=["contest", "contestant", "round", "rate", "unit"])


def summary(rounds: pd.DataFrame) -> pd.DataFrame:
    """Median rate of each contestant with its range, and the ratio of the first one to it.

    The ratio is the median of the rounds' own ratios: what disturbs one round disturbs both sides.
    """
    rows = []
    for contest, table in rounds.groupby("contest", sort=False):
        wide = table.pivot(index="round", columns="contestant", values="rate")
        names = list(dict.fromkeys(table.contestant))
        first = _first(table)
        for name in names:
            ratios = wide[first] / wide[name]
            rows.append(
                {
                    "contest": contest,
                    "contestant": name,
                    "rate": wide[name].median(),
                    "lowest": wide[name].min(),
                    "highest": wide[name].max(),
                    "unit": table.unit.iloc[0],
                    "ratio": ratios.median(),
                    "ratio_lowest": ratios.min(),
                    "ratio_highest": ratios.max(),
                    "rounds": len(wide),
                }
            )
    return pd.DataFrame(rows)


def _first(table: pd.DataFrame) -> str:
    # The first round is walked forwards.
    return str(table[table["round"] == 1].contestant.iloc[0])
