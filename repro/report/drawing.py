"""Figures are drawn while the rest of a report is made, where there are cores for it."""

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import TracebackType

from repro.report.marks import Chart

MOST = 4
"""Processes that draw: with more, the slowest figure would still be awaited."""
Charts = Mapping[str, Chart]
"""By the names of their files."""


class Drawers:
    """Processes that draw figures into a folder; they load Matplotlib while runs are read.

    Used as a context, at whose end they are gone.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.shares = folder, list[Charts]()
        self.senders: list[Connection] = []
        self.processes: list[BaseProcess] = []
        # Elsewhere processes cannot be forked safely, or each would load all libraries anew.
        cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else 1
        # Where the system has room for no more, fewer draw.
        with suppress(OSError):
            for _ in range(min(cores, MOST) if cores > 1 else 0):
                self._start()

    def _start(self) -> None:
        fork = get_context("fork")
        receiver, sender = fork.Pipe(duplex=False)
        process = fork.Process(target=_help, args=(receiver, [*self.senders, sender], self.folder))
        try:
            process.start()
        except OSError:
            sender.close()
            raise
        finally:
            receiver.close()
        self.senders.append(sender)
        self.processes.append(process)

    def __enter__(self) -> "Drawers":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for process, sender in zip(self.processes, self.senders, strict=True):
            sender.close()
            process.kill()
        for process in self.processes:
            process.join()

    def draw(self, charts: Charts) -> None:
        """Begin to draw."""
        self.folder.mkdir()
        names, count = list(charts), len(self.processes) or 1
        self.shares = [{name: charts[name] for name in names[n::count]} for n in range(count)]
        for sender, own in zip(self.senders, self.shares, strict=False):
            # Where its reader is no more, `wait` draws.
            with suppress(BrokenPipeError):
                sender.send(own)

    def wait(self) -> None:
        """Return when all figures are there. The share of a process that failed is drawn here, so
        that what is wrong is raised.
        """
        for process in self.processes:
            process.join()
        codes = [process.exitcode for process in self.processes] or [1]
        for code, own in zip(codes, self.shares, strict=True):
            if code:
                _draw(own, self.folder)


def _help(receiver: Connection, senders: Sequence[Connection], folder: Path) -> None:
    # The process that writes the report heeds them, and ends this one.
    for one in (signal.SIGINT, signal.SIGTERM):
        signal.signal(one, signal.SIG_IGN)
    for sender in senders:
        # Else the pipe would not end with the process that writes the report.
        sender.close()
    with suppress(Exception):
        import repro.report.figure  # noqa: F401

        _draw(receiver.recv(), folder)
        return
    os._exit(1)


def _draw(charts: Charts, folder: Path) -> None:
    from repro.report.figure import png

    for name, chart in charts.items():
        (folder / name).write_bytes(png(chart))
