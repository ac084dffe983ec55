"""A run's curves: a copy of its `log.csv` for a tracker, and the test errors at the end.

The log is the record and the curves follow it. Where a run goes on, they are given its whole log
again, so that each epoch stands there once, whatever a process that was killed had written.
"""

import csv
import time
from collections.abc import Callable, Mapping

from repro.errors import one_line
from repro.store.folder import Folder
from repro.store.runs import LOG, TRACK
from repro.track.trackers import NONE, TRACKERS, TensorBoard


class Curves:
    """The curves of one run, in `track/` of its folder; what cannot be written ends them only.

    `tracker` is one of `repro.track.trackers.CHOICES`, `say` prints a line.
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
