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
import shlex
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from types import FrameType
from typing import Any

import yaml

from repro.config.choices import CONF
from repro.config.schema import typed
from repro.errors import RequestError
from repro.process.interruption import STATUS, Interrupted, Stop
from repro.process.signals import AHEAD, URGENT

GROUP = "hydra/launcher"
BASIC = "basic"
PLUGINS = {
    "joblib": ("joblib", "hydra_joblib_launcher"),
    "ray": ("ray", "hydra_ray_launcher"),
    "submitit_local": ("submitit", "hydra_submitit_launcher"),
    "submitit_slurm": ("submitit", "hydra_submitit_launcher"),
}
"""By launcher: the extra that brings its plugin, and the plugin's package."""

# A preset has its plugin's name, so that Hydra completes it by the plugin's schema: as is meant.
warnings.filterwarnings("ignore", r"\s*'hydra/launcher/\w+' is validated against ConfigStore")

_home = False
"""Whether this is the process that was given the command, and not one of a launcher's."""
_stop: Stop | None = None


def check(words: list[str]) -> str:
    """The launcher of a command; `basic`, Hydra's own, where nothing names another.

    The command's words may name it, or the experiment that they choose, or config.yaml.

    Raises:
        RequestError: it cannot be used, or not here.
    """
    chosen = dict(word.lstrip("+").split("=", 1) for word in words if "=" in word)
    name = chosen.get(GROUP) or _overridden(chosen.get("experiments")) or BASIC
    if name == BASIC:
        return name
    if name not in PLUGINS:
        known = ", ".join((BASIC, *PLUGINS))
        raise RequestError(f"hydra/launcher={name} is not known: choose from {known}")
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
    return name


def _overridden(experiment: str | None) -> str | None:
    """The launcher in the list of defaults of an experiment, or else of config.yaml."""
    files = [file for file in (CONF / "experiments").glob("*.yaml") if file.stem == experiment]
    for file in [*files, CONF / "config.yaml"]:
        for entry in (yaml.safe_load(file.read_text(encoding="utf-8")) or {}).get("defaults", []):
            for key, value in entry.items() if isinstance(entry, dict) else ():
                if key.removeprefix("override").strip().lstrip("/") == GROUP:
                    return str(value)
    return None


def out_of_sight(launcher: str) -> bool:
    """Whether what its jobs print goes to files instead of to this process's output."""
    return launcher.startswith("submitit")


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


@contextmanager
def nowhere_else() -> Iterator[None]:
    """Hydra's own launcher works in place of the one that is chosen, whose settings are read."""
    from hydra._internal.core_plugins.basic_launcher import BasicLauncher
    from hydra.core.plugins import Plugins

    def basic(self: Plugins, **how: Any) -> BasicLauncher:
        launcher = BasicLauncher()
        launcher.setup(**how)
        return launcher

    chosen = Plugins.instantiate_launcher
    Plugins.instantiate_launcher = basic  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        Plugins.instantiate_launcher = chosen  # type: ignore[method-assign]


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
    from repro.experiment.finish import perform
    from repro.experiment.request import resolve

    try:
        request = resolve(typed(config))
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
def started(launcher: str) -> Iterator[None]:
    """While a launcher works: signals reach its processes on this host, which save and end.

    Raises:
        Interrupted: this process was asked to stop, and joblib's have ended.
        KeyboardInterrupt: it was asked to stop and has no processes of its own, or for the
            second time.
    """
    global _home
    _home = True
    if launcher == BASIC or threading.current_thread() is not threading.main_thread():
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


def ended(launcher: str, error: Exception, arguments: list[str]) -> str:
    """What to say where a launcher gave up, as when the system killed one of its processes."""
    first = re.split(r"\.\s|\n", str(error).strip(), maxsplit=1)[0]
    return (
        f"hydra/launcher={launcher} ended before its time, and the sweep with it: "
        f"{type(error).__name__}: {first}\n"
        f"what is finished stays; {goes_on(arguments)}"
    )


def goes_on(arguments: list[str]) -> str:
    """What to say where a command did not finish all that it asks for."""
    says = "the same command goes on"
    if "LOCAL_RANK" in os.environ:
        # torchrun's own words are not known here.
        return says
    return f"{says}: {shlex.join(['python', '-m', 'repro.run', *arguments])}"
