"""From a request to its finished run: its parents first, its folder held, its failure recorded."""

import sys
import traceback
from contextlib import nullcontext, suppress
from pathlib import Path

from tqdm import tqdm

from repro.config.schema import Config
from repro.config.way_in import show
from repro.errors import RequestError, RunError, one_line
from repro.run.device import pick, reserved, torch_settings
from repro.run.distributed import process_group
from repro.run.interruption import Stop
from repro.run.job import Job, say
from repro.run.memory import LONGEST, is_out_of_memory
from repro.run.request import Request, summary
from repro.store.folder import Folder, Watched, hold
from repro.store.runs import FAILED


def perform(request: Request, stop: Stop) -> None:
    """Finish a run and, before it, the runs that it starts from; `Interrupted` if asked to stop.

    A failure is recorded in the run's folder and ends this run only, of torchrun's processes all.
    """
    world = process_group()
    with stop.listening():
        # The others may not see the store.
        names = world.decided_by_first(lambda: [one.name for one in request.lineage()])
        for member in (one for one in request.lineage(gone=True) if one.name in names):
            done = world.decided_by_first(member.finished) or _finish(member, stop)
            # Asked to stop after the last place where this run could.
            world.check_stop(stop)
            if not done:
                break
    # Or between that and here.
    stop.check()


def _finish(request: Request, stop: Stop) -> bool:
    """Hold a run's folder and do what is missing; whether that succeeded."""
    world, config = process_group(), request.config
    store = Path(config.runs)
    held = hold(store, request.name, say, stop.check)
    try:
        with held if world.is_first else nullcontext(Watched(request.folder)) as folder:
            try:
                if world.is_first:
                    request.check_folder()
                    folder.begin()
                # Another process may have finished it while this one waited.
                if not world.decided_by_first(request.finished):
                    world.check_same_run(request.identity)
                    config.progress &= world.is_first
                    free = reserved(pick(config.device, world), store, say, stop.check)
                    with torch_settings(config), free as device:
                        Job(request, folder, stop, device).train_and_test()
                elif world.is_first:
                    show(summary(request), goes_on=True)
                return True
            except Exception as error:
                _record(folder, error)
                raise
    except (RunError, RequestError) as error:
        where = f" (in process {world.rank} of {world.size})" if world.rank else ""
        tqdm.write(f"{request.name} failed: {error}{where}", file=sys.stderr)
    except Exception as error:
        if said := _known(error, config):
            tqdm.write(f"{request.name} failed: {said}", file=sys.stderr)
        else:
            traceback.print_exc()
    if world.size > 1:
        # The others are somewhere in this run and can join no other.
        raise SystemExit(1)
    return False


def _known(error: Exception, config: Config) -> str:
    """A line on an error of torch's that has a way out; empty: it is another one."""
    if is_out_of_memory(error):
        return f"out of memory on device={config.device}: {one_line(error)[:LONGEST]}"
    if type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
        said = f"compile={config.compile} fails here, take compile=none"
        return f"{said}: {one_line(error)[:LONGEST]}"
    return ""


def _record(folder: Folder, error: Exception) -> None:
    known = isinstance(error, RunError | RequestError)
    reason = str(error) if known else f"{type(error).__name__}: {error}"
    # A full disk cannot take the record of its being full.
    with suppress(RunError):
        folder.write_json(FAILED, {"reason": reason.splitlines()[0] if reason else "?"})
