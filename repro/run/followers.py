"""The processes of torchrun: the first does what the command asks for, the others follow it."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable

from repro.config.schema import Config
from repro.errors import RequestError, RunError
from repro.run.distributed import join_process_group, leave_process_group, process_group
from repro.run.interruption import Stop


def beside_others(command: Callable[[], int], work: Callable[[Config, Stop], None]) -> int:
    """Do the command in the first process, and in each other one its part of the runs.

    Returns:
        The first process's status, in all of them.
    """
    try:
        status = command() if join_process_group().is_first else _follow(work)
    except SystemExit as end:
        status = int(end.code or 0)
    except RequestError as error:
        print(error, file=sys.stderr)
        return 2
    except RunError as error:
        print(error, file=sys.stderr)
        return 1
    # To those that leave last torchrun sends a signal, which would become their status.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if process_group().is_first:
        process_group().dismiss(status)
    if not process_group().in_run:
        # Otherwise one of them is lost in a run.
        leave_process_group()
    return status


def _follow(work: Callable[[Config, Stop], None]) -> int:
    stop = Stop()

    def follows(config: Config) -> None:
        config.progress = False
        work(config, stop)

    with stop.listening():
        return process_group().follow(follows)
