"""A run's curves for a viewer: a copy of its `log.csv`, its hyperparameters and its test errors.

Where a run goes on, the curves are given its whole log again, so that each epoch stands there once.
A tracker is one entry of `TRACKERS`; its name there is also that of the package that it needs, of
the extra that brings it and of its file in `conf/track/`. Nothing here leaves the machine.
"""

import csv
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from repro.config.schema import Config
from repro.errors import RequestError, one_line
from repro.protocol.protocols import ONE_NUMBER
from repro.store.folder import Folder
from repro.store.identity import GROUPS
from repro.store.runs import EVENTS, LOG

NONE = "none"


def hyperparameters(config: Config) -> dict[str, Any]:
    """Names and numbers by which runs are told apart, as `arch`, `seed`, `recipe.batch`."""
    found = {group: getattr(config, group).name for group in GROUPS}
    found |= {key: getattr(config, key) for key in ("seed", "finetune", "precision")}
    for group in ("size", "recipe"):
        found |= {f"{group}.{key}": one for key, one in vars(getattr(config, group)).items()}
    return {key: one for key, one in found.items() if isinstance(one, str | int | float)}


class TensorBoard:
    """One event file in a run's folder; another attempt's takes its place: no point is twice."""

    def __init__(
        self, folder: Path, parameters: Mapping[str, Any], measured: Sequence[str]
    ) -> None:
        """`parameters` stand in the tab HPARAMS, beside the errors that will be `measured`."""
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from torch.utils.tensorboard.summary import hparams

        for earlier in folder.glob(EVENTS):
            earlier.unlink()
        now, start = time.time(), SessionLog(status=SessionLog.START)
        self._file = folder / EVENTS.replace("*", f"{now:.6f}")
        self._write(Event(wall_time=now, file_version="brain.Event:2"))
        # A viewer that is open drops the points that it has of the earlier one.
        self._write(Event(wall_time=now, step=0, session_log=start))
        metrics = dict.fromkeys(map(tag, measured), 0.0)
        for said in hparams(dict(parameters), metrics):  # type: ignore[no-untyped-call]
            self._write(Event(wall_time=now, step=0, summary=said))

    def add(self, epoch: int, values: Mapping[str, float], when: float) -> None:
        """Write a point of each of several curves, by name; `when` in seconds since 1970."""
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        points = [Summary.Value(tag=tag(name), simple_value=one) for name, one in values.items()]
        self._write(Event(wall_time=when, step=epoch, summary=Summary(value=points)))

    def _write(self, event: object) -> None:
        # Not by SummaryWriter: its thread prints a traceback where the disk is full.
        from tensorboard.summary.writer.record_writer import RecordWriter

        with self._file.open("ab") as file:
            RecordWriter(file).write(event.SerializeToString())  # type: ignore[attr-defined]


def tag(column: str) -> str:
    """The name of a column's curve, by what it is of: `train/loss`, `validation/error`."""
    part, _, rest = column.partition("_")
    return f"{part}/{rest}" if part in ("train", "validation", "test") else f"train/{column}"


TRACKERS = {"tensorboard": TensorBoard}
CHOICES = (NONE, *TRACKERS)


def check(name: str) -> None:
    """Refuse a tracker whose package is missing (RequestError), with the command to install it."""
    # A folder of that name where the command was given would be a package without a file.
    if name != NONE and ((package := find_spec(name)) is None or package.origin is None):
        raise RequestError(f"track={name} needs a package: pip install 'vgg-repro[{name}]'")


class Curves:
    """The curves of one run by one of `CHOICES`, in its folder; a failure ends them only."""

    def __init__(
        self, tracker: str, run: Folder, config: Config, say: Callable[[str], None]
    ) -> None:
        self._name, self._run, self._config, self._say = tracker, run, config, say
        self._tracker: TensorBoard | None = None
        self._written, self._on = 0, tracker != NONE

    def follow(self, errors: Callable[[], Mapping[str, float]] = dict) -> None:
        """Write the epochs that are not written yet; at the last one test errors (%), if any."""
        if not self._on:
            return
        try:
            self._run.check()
            if self._tracker is None:
                tests = [f"test_error_{one}" for one in self._config.test if one in ONE_NUMBER]
                parameters, measured = hyperparameters(self._config), ["validation_error", *tests]
                self._tracker = TRACKERS[self._name](self._run.path, parameters, measured)
            self._write(self._tracker, errors())
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
