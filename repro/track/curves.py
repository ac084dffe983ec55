"""A run's curves: a copy of its `log.csv` for a tracker, and the test errors at the end.

The log is the record and the curves follow it. Where a run goes on, they are given its whole log
again, so that each epoch stands there once, whatever a process that was killed had written.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Mapping
from types import TracebackType

from repro.errors import one_line
from repro.store.folder import Folder
from repro.store.runs import LOG, TRACK
from repro.track.trackers import NONE, TRACKERS, Tracker


class Curves:
    """The curves of one run; where one cannot be written, the run goes on without."""

    def __init__(self, tracker: str, run: Folder, say: Callable[[str], None]) -> None:
        """
        Args:
            tracker: one of `repro.track.trackers.CHOICES`.
            run: the run's folder, held; curves are written into `track/` there.
            say: prints a line.
        """
        self._name, self._run, self._say = tracker, run, say
        self._tracker: Tracker | None = None
        self._written, self._on = 0, tracker != NONE

    def follow(self) -> None:
        """Write the epochs of the log that are not written yet."""
        self._try(self._follow)

    def test(self, errors: Mapping[str, float]) -> None:
        """Write the errors (%) on the test images, by protocol, at the last epoch."""

        def write(tracker: Tracker) -> None:
            self._follow(tracker)
            if errors:
                values = {f"test_error_{protocol}": error for protocol, error in errors.items()}
                tracker.add(self._written, values, time.time())

        self._try(write)

    def __enter__(self) -> Curves:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._tracker is not None:
            self._try(lambda tracker: tracker.end(finished=kind is None))

    def _follow(self, tracker: Tracker) -> None:
        path = self._run.path / LOG
        # A net that diverged in its first epoch has none.
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        log = [{key: float(text) for key, text in row.items()} for row in csv.DictReader(lines)]
        rows = log[self._written :]
        # The time that an epoch took, the log knows: after an interruption the curve has no gap.
        when = time.time() - sum(row["seconds"] for row in rows)
        for row in rows:
            when += row["seconds"]
            epoch = int(row.pop("epoch"))
            tracker.add(epoch, row, when)
            self._written = epoch

    def _try(self, write: Callable[[Tracker], None]) -> None:
        if not self._on:
            return
        try:
            self._run.check()
            if self._tracker is None:
                folder = self._run.path
                self._tracker = TRACKERS[self._name](folder / TRACK / self._name, folder.name)
            write(self._tracker)
        except Exception as error:
            # Of a package of others anything may come; none of it is worth a run.
            self._on = False
            reason = getattr(error, "strerror", None) or one_line(error)
            self._say(f"{self._run.path.name}: no more curves for {self._name}: {reason}")
