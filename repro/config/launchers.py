"""Sweeps through Hydra's own launchers: processes of this host, Slurm, Ray.

    python -m repro.run -m arch=A,B,C,D,E hydra/launcher=joblib hydra.launcher.n_jobs=5

Their presets are `conf/hydra/launcher/NAME.yaml`. Jobs meet in the store: of those that need one
run, as a parent, one trains it and the others wait.
"""

from __future__ import annotations

import importlib.util
import io
import multiprocessing
import os
import re
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from types import FrameType
from typing import Any, cast

from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.types import HydraContext

from repro.config.composing import Job, Sweep
from repro.config.schema import typed
from repro.errors import RequestError
from repro.run.interruption import AHEAD, STATUS, URGENT, Interrupted, Stop

BASIC = "basic"
PLUGINS = {
    "joblib": ("joblib", "hydra_joblib_launcher"),
    "ray": ("ray", "hydra_ray_launcher"),
    "submitit_local": ("submitit", "hydra_submitit_launcher"),
    "submitit_slurm": ("submitit", "hydra_submitit_launcher"),
}
"""By launcher: the extra that brings its plugin, and the plugin's package."""

_home = False
"""Whether this is the process that was given the command, and not one of a launcher's."""
_stop: Stop | None = None


def check(name: str) -> None:
    """Refuse a launcher that cannot be used, or not here.

    Raises:
        RequestError: with what would make it work.
    """
    if name == BASIC:
        return
    extra, package = PLUGINS[name]
    if not _installed(f"hydra_plugins.{package}"):
        raise RequestError(
            f"hydra/launcher={name} needs a plugin: pip install 'vgg-repro[{extra}]'"
        )
    if "LOCAL_RANK" in os.environ:
        raise RequestError(
            f"torchrun trains one net in several processes, hydra/launcher={name} several nets: "
            "take one of them"
        )


def out_of_sight(launcher: str) -> bool:
    """Whether what its jobs print goes to files instead of to this process's output."""
    return launcher.startswith("submitit")


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


class NoCallbacks:
    """In place of what Hydra calls before and after each job."""

    def on_job_start(self, **_: Any) -> None:
        """Nothing is called."""

    def on_job_end(self, **_: Any) -> None:
        """Nothing is called."""


def launch(sweep: Sweep, jobs: Sequence[Job]) -> None:
    """Have the sweep's launcher do its jobs, each of which a process of it composes once more."""
    # Hydra has no other door to a launcher than the one that its sweepers take.
    launcher = Plugins.instance().instantiate_launcher(
        HydraContext(sweep.loader, cast(Any, NoCallbacks())), job, sweep.config
    )
    with _started(sweep.launcher):
        for done in launcher.launch([job.words for job in jobs], initial_job_idx=0):
            # Raises what the job raised.
            _ = done.return_value


def job(config: Any) -> None:
    """One job of a sweep, in any launcher; failures are recorded in the store.

    In a launcher's process an interruption ends it quietly: what is raised there would have the
    launcher kill the others before they have saved.
    """
    global _stop
    if _home:
        _work(config, Stop())
        return
    if _stop is None:
        parent = multiprocessing.parent_process()
        _stop = Stop(parent.pid if parent else None)
    if _stop.asked:
        return
    try:
        with _lines():
            _work(config, _stop)
    except Interrupted:
        if _stop.orphaned:
            # It would wait for more work of a process that is no more.
            os._exit(STATUS)


def _work(config: Any, stop: Stop) -> None:
    from repro.run.job import perform
    from repro.run.request import resolve

    try:
        request = resolve(typed(config), command=tuple(HydraConfig.get().overrides.task))
    except RequestError as error:
        # It was right when the command was given; that its run did not finish, the end will say.
        print(error, file=sys.stderr)
        return
    perform(request, stop)


@contextmanager
def _lines() -> Iterator[None]:
    """Lines instead of bars: those of several processes would write over each other."""
    if not sys.stderr.isatty():
        yield
        return
    plain = _Plain(sys.stderr.buffer, line_buffering=True)
    try:
        with redirect_stderr(plain):
            yield
    finally:
        plain.detach()


class _Plain(io.TextIOWrapper):
    def isatty(self) -> bool:
        return False


@contextmanager
def _started(launcher: str) -> Iterator[None]:
    """While a launcher works: signals reach its processes on this host, which save and end.

    Raises:
        Interrupted: this process was asked to stop, and joblib's have ended.
        KeyboardInterrupt: it was asked to stop and has no processes of its own, or for the
            second time.
    """
    global _home
    _home = True
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked = threading.Event()

    def hand_on(number: int, frame: FrameType | None) -> None:
        children = multiprocessing.active_children()
        if out_of_sight(launcher):
            print("leaves; the jobs that are queued or under way go on", file=sys.stderr)
        if asked.is_set() or not children:
            # Ray's calls let no other exception through.
            raise KeyboardInterrupt
        asked.set()
        for child in children:
            if child.pid is not None:
                os.kill(child.pid, signal.SIGTERM)

    before = {number: signal.signal(number, hand_on) for number in (*URGENT, *AHEAD)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if asked.is_set():
            raise Interrupted


def ended(launcher: str, error: Exception) -> str:
    """What to say where a launcher gave up, as when the system killed one of its processes."""
    first = re.split(r"\.\s|\n", str(error).strip(), maxsplit=1)[0]
    return (
        f"hydra/launcher={launcher} ended before its time, and the sweep with it: "
        f"{type(error).__name__}: {first}"
    )
