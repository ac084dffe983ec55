"""Figures are drawn while the rest of a report is made, where there are cores for it."""

import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from pathlib import Path

from repro.report.figure import Chart

MOST = 4
"""Processes that draw: with more, the slowest figure would still be awaited."""


@contextmanager
def drawing(charts: Mapping[str, Chart], folder: Path) -> Iterator[None]:
    """Write the figures of `charts`, by file name, into a new folder: at the end all are there.

    The share of a process that failed is drawn here, so that what is wrong is raised.
    """
    folder.mkdir()
    # Elsewhere processes cannot be forked safely, or each would load all libraries anew.
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else 1
    if (count := min(cores, MOST)) == 1:
        _draw(charts, folder)
        yield
        return
    names = list(charts)
    shares = [{name: charts[name] for name in names[n::count]} for n in range(count)]
    processes = [get_context("fork").Process(target=_help, args=(own, folder)) for own in shares]
    try:
        for process in processes:
            process.start()
        yield
        for process, own in zip(processes, shares, strict=True):
            process.join()
            if process.exitcode:
                _draw(own, folder)
    finally:
        for process in processes:
            if process.pid:
                process.kill()


def _help(charts: Mapping[str, Chart], folder: Path) -> None:
    # The process that writes the report heeds them, and ends this one.
    for one in (signal.SIGINT, signal.SIGTERM):
        signal.signal(one, signal.SIG_IGN)
    with suppress(Exception):
        _draw(charts, folder)
        return
    os._exit(1)


def _draw(charts: Mapping[str, Chart], folder: Path) -> None:
    for name, chart in charts.items():
        (folder / name).write_bytes(chart.png())
