"""One request becomes one finished run, and before it the runs that it starts from."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path

from repro.config.schema import Config
from repro.errors import RequestError, RunError
from repro.run.device import pick, reserved, torch_settings
from repro.run.distributed import process_group
from repro.run.interruption import Stop
from repro.run.performance import Performance
from repro.run.request import Request, resolve
from repro.run.stage import say
from repro.store.folder import Folder, Watched, hold
from repro.store.runs import FAILED


def perform(request: Request, stop: Stop) -> None:
    """Finish a run and, before it, the runs that it starts from.

    A failure is recorded in the run's folder and ends only this run.

    Raises:
        repro.run.interruption.Interrupted: asked to stop; what was done is saved.
    """
    with stop.listening():
        for member in request.lineage():
            done = member.finished() or _finish(member, stop)
            # Asked to stop after the last place where this run could.
            stop.check()
            if not done:
                break
    # Or between that and here.
    stop.check()


def work(config: Config, stop: Stop) -> None:
    """The part in finishing a run of a process that is not the first one."""
    _work(config, lambda: resolve(config), lambda request: Watched(request.folder), stop)


def _work(
    config: Config,
    resolved: Callable[[], Request],
    folder: Callable[[Request], Folder],
    stop: Stop,
) -> None:
    with torch_settings(config):
        # Images that the first process of a host has found whole, the others need not decode.
        request = process_group().host_first(resolved)
        process_group().check_same_run(request.identity)
        with process_group().all_or_none():
            chosen = pick(config.device, process_group())
        with reserved(chosen, Path(config.runs), say, stop.check) as device:
            Performance(request, folder(request), stop, device).finish()


def _finish(request: Request, stop: Stop) -> bool:
    store = Path(request.config.runs)
    try:
        with hold(store, request.name, say, stop.check) as folder:
            try:
                request.check_folder()
                folder.begin()
                if not request.finished():
                    with process_group().run_with_others(request.config):
                        _work(request.config, lambda: request, lambda _: folder, stop)
                return True
            except Exception as error:
                _record_failure(folder, error)
                raise
    except (RunError, RequestError) as error:
        say(f"{request.name} failed: {error}")
    except Exception:
        traceback.print_exc()
    if process_group().in_run:
        # The others are somewhere in that run and can join no other.
        raise SystemExit(1)
    return False


def _record_failure(folder: Folder, error: Exception) -> None:
    known = isinstance(error, RunError | RequestError)
    reason = str(error) if known else f"{type(error).__name__}: {error}"
    try:
        folder.write_json(FAILED, {"reason": reason.splitlines()[0] if reason else "?"})
    except RunError:
        # A full disk cannot take the record of its being full.
        return
