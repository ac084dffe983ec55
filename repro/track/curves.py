"""A run's curves for a viewer: a copy of its `log.csv`, and the test errors at the end.

The log is the record and the curves follow it. Where a run goes on, they are given its whole log
again, so that each epoch stands there once, whatever a process that was killed had written.

A tracker is one entry of `TRACKERS`; its name there is also that of the package that it needs, of
the extra that brings it and of its file in `conf/track/`. Nothing here leaves the machine.
"""

import csv
import time
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path

from repro.errors import RequestError, one_line
from repro.store.folder import Folder
from repro.store.runs import LOG, TRACK

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


class Curves:
    """The curves of one run, in `track/` of its folder; what cannot be written ends them only.

    `tracker` is one of `repro.track.curves.CHOICES`, `say` prints a line.
    """

    def __init__(self, tracker: str, run: Folder, say: Callable[[str], None]) -> None:
        self._name, self._run, self._say = tracker, run, say
        self._tracker: TensorBoard | None = None
        self._written, self._on = 0, tracker != NONE

    def follow(self) -> None:
        """Write the epochs of the log that are not written yet."""
        self.test({})

    def test(self, errors: Mapping[str, float]) -> None:
        """Write the errors (%) on the test images, by protocol, at the last epoch."""
        if not self._on:
            return
        try:
            self._run.check()
            if self._tracker is None:
                self._tracker = TRACKERS[self._name](self._run.path / TRACK / self._name)
            self._write(self._tracker, errors)
        except Exception as error:
            # Of a package of others anything may come; none of it is worth a run.
            self._on = False
            reason = getattr(error, "strerror", None) or one_line(error)
            self._say(f"{self._run.path.name}: no more curves for {self._name}: {reason}")

    def _write(self, tracker: TensorBoard, errors: Mapping[str, float]) -> None:
        path = self._run.path / LOG
        # A net that diverged in its first epoch has none.
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        log = [{key: float(text) for key, text in row.items()} for row in csv.DictReader(lines)]
        rows = log[self._written :]
        # The time that an epoch took, the log knows: after an interruption the curve has no gap.
        when = time.time() - sum(row["seconds"] for row in rows)
        for row in rows:
            when += row["seconds"]
            self._written = int(row.pop("epoch"))
            tracker.add(self._written, row, when)
        if errors:
            values = {f"test_error_{protocol}": error for protocol, error in errors.items()}
            tracker.add(self._written, values, time.time())
