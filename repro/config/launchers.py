"""Sweeps through Hydra's own launchers: several processes of this host, or Slurm.

Their presets are `conf/hydra/launcher/NAME.yaml`. Jobs meet in the store: of those that need one
run, as a parent, one trains it and the others wait.
"""

import multiprocessing
import os
import re
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from types import FrameType, SimpleNamespace
from typing import Any, cast

from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.types import HydraContext

from repro.config.composing import Composed, Sweep, hydra
from repro.config.values import typed
from repro.errors import RequestError
from repro.run.interruption import AHEAD, STATUS, URGENT, Interrupted, Stop, handling

BASIC = "basic"
SLURM = "submitit_slurm"

_home = False
"""Whether this is the process that was given the command, and not one of a launcher's."""
_stop: Stop | None = None


def check(sweep: Sweep) -> None:
    """Refuse a launcher that cannot be used, or not here, with what would make it work."""
    name, extra = sweep.launcher, sweep.launcher.partition("_")[0]
    if name == BASIC:
        return
    own, needs = sweep.config.hydra.launcher, ""
    if not _installed(f"hydra_plugins.hydra_{extra}_launcher"):
        needs = f"a plugin: pip install 'vgg-repro[{extra}]'"
    elif "LOCAL_RANK" in os.environ:
        needs = "processes of its own, without torchrun, whose processes train one net together"
    elif name == SLURM and shutil.which("sbatch") is None:
        needs = "sbatch: start it where Slurm's commands are"
    elif extra == "joblib" and not own.n_jobs:
        needs = "hydra.launcher.n_jobs above zero (runs at once), or -1: all cores"
    elif extra == "joblib" and not re.fullmatch("auto|[1-9][0-9]*", str(own.batch_size)):
        needs = "hydra.launcher.batch_size above zero, or auto"
    if needs:
        raise RequestError(f"hydra/launcher={name} needs {needs}")


def _installed(module: str) -> bool:
    with suppress(ModuleNotFoundError):
        return find_spec(module) is not None
    return False


def out_of_sight(launcher: str) -> bool:
    """Whether what its jobs print goes to files instead of to this process's output."""
    return launcher.startswith("submitit")


def launch(sweep: Sweep, jobs: Sequence[Composed]) -> None:
    """Have the sweep's launcher do its jobs, each of which a process of it composes once more."""
    settings = sweep.config.hydra
    asked = any("hydra.launcher.gpus_per_node=" in word for word in settings.overrides.hydra)
    if sweep.launcher == SLURM and sweep.config.device == "cpu" and not asked:
        # A cluster without GPUs refuses a job that asks for any.
        settings.launcher.gpus_per_node = None
    silent = SimpleNamespace(on_job_start=lambda **_: None, on_job_end=lambda **_: None)
    with hydra() as loader:
        context = HydraContext(loader, cast(Any, silent))
    # Hydra has no other door to a launcher than the one that its sweepers take.
    launcher = Plugins.instance().instantiate_launcher(context, job, sweep.config)
    with _started(sweep.launcher):
        for done in launcher.launch([job.words for job in jobs], initial_job_idx=0):
            # Raises what the job raised.
            _ = done.return_value


def job(config: Any) -> None:
    """One job of a sweep, in any launcher; failures are recorded in the store."""
    global _stop
    if _home:
        _work(config, Stop())
        return
    if _stop is None:
        parent = multiprocessing.parent_process()
        _stop = Stop(parent.pid if parent else None)
        # Lines instead of bars: those of several processes would write over each other.
        sys.stderr.isatty = lambda: False  # type: ignore[method-assign]
    if _stop.asked:
        return
    try:
        _work(config, _stop)
    except Interrupted:
        if _stop.orphaned:
            # It would wait for more work of a process that is no more.
            os._exit(STATUS)
        if "SUBMITIT_EXECUTOR" in os.environ:
            _queue_again(_stop)


def _queue_again(stop: Stop) -> None:
    """End a job of submitit's that was interrupted and saved, so that it is queued again."""
    while "SLURM_JOB_ID" in os.environ and signal.SIGTERM in stop.signals:
        # Slurm is about to kill it. A job that ends by itself before would count as completed; one
        # that is killed is queued again where it was preempted, and not where it was cancelled.
        time.sleep(60)
    handler = signal.getsignal(signal.SIGUSR2)
    if callable(handler):
        # Submitit's: it has the job queued again.
        handler(signal.SIGUSR2, None)
    sys.exit(STATUS)


def _work(config: Any, stop: Stop) -> None:
    from repro.run.performing import perform
    from repro.run.resolving import resolve

    try:
        request = resolve(typed(config), command=tuple(HydraConfig.get().overrides.task))
    except RequestError as error:
        # It was right when the command was given; that its run did not finish, the end will say.
        print(error, file=sys.stderr)
        return
    perform(request, stop)


@contextmanager
def _started(launcher: str) -> Iterator[None]:
    """Hands signals on to a launcher's processes here, which save; then `Interrupted` is raised."""
    global _home
    _home = True
    asked = threading.Event()

    def hand_on(number: int, frame: FrameType | None) -> None:
        children = multiprocessing.active_children()
        if out_of_sight(launcher):
            print("leaves; the jobs that are queued or under way go on", file=sys.stderr)
        if asked.is_set() or not children:
            raise KeyboardInterrupt
        asked.set()
        for child in children:
            if child.pid is not None:
                os.kill(child.pid, signal.SIGTERM)

    try:
        with handling(hand_on, (*URGENT, *AHEAD)):
            yield
    finally:
        if asked.is_set():
            raise Interrupted
