"""The trackers: each writes the points of a run's curves into a folder, as its viewer reads them.

A tracker is one entry of `TRACKERS`; its name there is also that of the package that it needs, of
the extra that brings it and of its file in `conf/track/`. Nothing here leaves the machine.
"""

import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from repro.errors import RequestError

NONE = "none"
"""The choice of no tracker."""


class TensorBoard:
    """One event file in a folder; another attempt's takes its place, so that no point is twice."""

    def __init__(self, folder: Path) -> None:
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog

        folder.mkdir(parents=True, exist_ok=True)
        for earlier in folder.glob("events.out.tfevents.*"):
            earlier.unlink()
        now, start = time.time(), SessionLog(status=SessionLog.START)
        self._file = folder / f"events.out.tfevents.{now:.6f}"
        self._write(Event(wall_time=now, file_version="brain.Event:2"))
        # A viewer that is open drops the points that it has of the earlier one.
        self._write(Event(wall_time=now, step=0, session_log=start))

    def add(self, epoch: int, values: Mapping[str, float], when: float) -> None:
        """Write a point of each of several curves, by name; `when` in seconds since 1970."""
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        points = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._write(Event(wall_time=when, step=epoch, summary=Summary(value=points)))

    def _write(self, event: object) -> None:
        # Not by SummaryWriter: its thread prints a traceback where the disk is full.
        from tensorboard.summary.writer.record_writer import RecordWriter

        with self._file.open("ab") as file:
            RecordWriter(file).write(event.SerializeToString())  # type: ignore[attr-defined]


TRACKERS = {"tensorboard": TensorBoard}
CHOICES = (NONE, *TRACKERS)


def check(name: str) -> None:
    """Refuse a tracker whose package is missing (RequestError), with the command to install it."""
    # A folder of that name where the command was given would be a package without a file.
    if name != NONE and ((package := find_spec(name)) is None or package.origin is None):
        raise RequestError(f"track={name} needs a package: pip install 'vgg-repro[{name}]'")
