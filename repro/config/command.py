"""From a command line to finished runs.

Every job is composed, checked and resolved first, once; one wrong job refuses the request. Then the
runs are done here or by a launcher of Hydra's; what became of them is read from the store.
"""

from __future__ import annotations

import gc
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from repro.config import launchers
from repro.config.composing import Composed, Sweep
from repro.config.schema import Config
from repro.config.values import typed
from repro.config.way_in import show, status_of
from repro.errors import RequestError, RunError, flat
from repro.run.interruption import Stop
from repro.store.files import check_writable
from repro.store.leases import LOCKS
from repro.store.runs import CACHE, check_outside

if TYPE_CHECKING:
    from repro.run.request import Request

Wanted = list[tuple["Request", Composed]]
Check = Callable[[Config, tuple[str, ...]], "Request"]
"""Takes a configuration and the words that it was composed of."""


def command(arguments: list[str]) -> int:
    """Do what the command line asks for; the exit status, as `repro.run` says."""
    status = partial(status_of, partial(_command, arguments), f"interrupted; {_goes_on(arguments)}")
    if "LOCAL_RANK" in os.environ:
        # torchrun started this process.
        from repro.run.distributed import in_every_process

        return in_every_process(status)
    return status()


def _command(arguments: list[str]) -> int:
    sweep = Sweep(arguments)
    if sweep.cfg is not None:
        show(sweep.shown())
        return 0
    launchers.check(sweep)
    # Millions of objects and few cycles: to look for these takes a tenth of the time.
    gc.disable()
    try:
        wanted = requests_by_job(sweep, _checked())
    finally:
        gc.enable()
    requests = [request for request, _ in wanted]
    stores = {Path(request.config.runs) for request in requests}
    for folder in stores:
        check_outside(folder, "runs")
    if requests[0].config.dry_run:
        show(_dry_run(requests))
        return 0
    finished = [request for request in requests if request.finished()]
    if len(finished) < len(requests) or "LOCAL_RANK" in os.environ:
        # Of torchrun's processes the first one alone may see the store.
        for place in (*stores, *(folder / name for folder in stores for name in (LOCKS, CACHE))):
            check_writable(place)
        _finish(sweep, wanted)
    return _outcome(requests, finished, sweep)


def requests_of(arguments: Sequence[str], check: Check) -> list[Request]:
    """The runs that a command line asks for as a sweep, each composed and checked once."""
    return [request for request, _ in requests_by_job(Sweep(arguments, multirun=True), check)]


def requests_by_job(sweep: Sweep, check: Check) -> Wanted:
    """The runs of a sweep, each once, and the job that makes it; or a line for each wrong one."""
    found: dict[object, tuple[Request, Composed]] = {}
    errors: dict[str, None] = {}
    modes = set[bool]()
    for words in sweep.jobs:
        try:
            job = sweep.job(words)
            config = typed(job.config)
            modes.add(config.dry_run)
            request = check(config, job.words)
            found.setdefault((request.folder, request.views, request.scored), (request, job))
        except (RequestError, RunError) as error:
            errors[str(error)] = None
    if len(modes) > 1:
        errors["dry_run=true,false: a sweep does all of its runs, or none"] = None
    if errors:
        raise RequestError("\n".join(errors))
    return list(found.values())


def _checked() -> Check:
    """A check of configurations before any work; a run that several start from is checked once."""
    from repro.run.device import pick
    from repro.run.distributed import process_group
    from repro.run.resolving import resolve
    from repro.run.transfer import check_installed
    from repro.track import curves

    known: dict[str, Request] = {}

    def checked(config: Config, words: tuple[str, ...]) -> Request:
        request = resolve(config, known=known, command=words)
        curves.check(config.track.name)
        if request.scored and not config.dry_run:
            check_installed()
        for member in request.lineage():
            member.check_folder()
        device = pick(request.config.device, process_group())
        if device.type == "mps" and config.precision == "float64":
            raise RequestError("precision=float64 is not known to device=mps: take device=cpu")
        return request

    return checked


def _finish(sweep: Sweep, wanted: Wanted) -> None:
    from repro.run import performing

    if sweep.launcher == launchers.BASIC:
        for request, _ in wanted:
            # One that was finished may have been damaged since.
            performing.perform(request, Stop())
        return
    try:
        left = [(request, job) for request, job in wanted if not request.finished()]
        while left:
            left, now = _generation(left) if launchers.out_of_sight(sweep.launcher) else ([], left)
            launchers.launch(sweep, [job for _, job in now])
    except Exception as error:
        # As when the system killed one of its processes, or its files find no room.
        said = f"ended before its time, and the sweep with it: {type(error).__name__}: "
        said += flat(str(error))[:200]
        print(f"hydra/launcher={sweep.launcher} {said}", file=sys.stderr)


def _generation(jobs: Wanted) -> tuple[Wanted, Wanted]:
    """The jobs for later, which would wait on a cluster for runs that some of the others make."""
    later, now, made = Wanted(), Wanted(), set[Path]()
    for request, job in jobs:
        needs = {one.folder for one in request.lineage() if not one.finished()}
        (later if made & needs else now).append((request, job))
        made |= needs
    return later, now


def _goes_on(arguments: Sequence[str]) -> str:
    # torchrun's own words are not known here.
    words = [] if "LOCAL_RANK" in os.environ else ["python", "-m", "repro.run", *arguments]
    return f"the same command goes on{': ' * bool(words)}{shlex.join(words)}"


def _outcome(requests: list[Request], before: list[Request], sweep: Sweep) -> int:
    """Say what became of the request, from the store; the exit status."""
    from repro.run.request import summary
    from repro.store.runs import why_unfinished

    # The others were shown as they finished.
    for request in requests if launchers.out_of_sight(sweep.launcher) else before:
        if request.finished():
            show(summary(request), goes_on=True)
    failed = [request for request in requests if not request.finished()]
    for request in failed:
        reasons = (why_unfinished(member.folder) for member in request.lineage())
        reason = next((reason for reason in reasons if reason), "it did not finish")
        print(f"failed: {request.name}: {reason}", file=sys.stderr)
    done = f"{len(requests) - len(failed)} of {len(requests)} runs finished"
    if failed:
        print(f"{done}; {_goes_on(sweep.arguments)}", file=sys.stderr)
        return 1
    stores = _stores(requests)
    words = [] if stores == "runs" else [f"runs={stores}"]
    then = shlex.join(["python", "-m", "repro.report", *words])
    show(f"{done} in {stores}; next: {then}", goes_on=True)
    return 0


def _stores(requests: list[Request]) -> str:
    return ",".join(dict.fromkeys(request.config.runs for request in requests))


def _dry_run(requests: list[Request]) -> str:
    from repro.model.cost import cost
    from repro.run.request import members

    lines = []
    for member in members(requests):
        missing = [] if member.finished() else member.missing_views()
        views = ", ".join(view.name for view in missing) or "none"
        trained = "not trained" if member.published else f"{member.config.epochs} epochs"
        does = f"{cost(member.net).parameters:,} parameters, {trained}; views to compute: {views}"
        if member.scored and not member.finished():
            does += f"; then SVMs: {', '.join(member.scored)}"
        lines.append(f"{member.name}: {member.state()}; {does}")
    done = f"{len(lines)} run{'s' * (len(lines) > 1)} in {_stores(requests)}; nothing was done"
    return "\n".join([*lines, f"{done}; python -m repro.plan says what they would take"])
