"""What the ways in share: help, and an exit status for whatever happens. It imports no Hydra."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable

from repro.config.options import FULL_ERROR
from repro.config.words import show
from repro.errors import RequestError, RunError
from repro.run.interruption import STATUS, Interrupted, interruptible


def way_in(
    page: str | None,
    work: Callable[[list[str]], int],
    interrupted: str = "interrupted; nothing is half written",
) -> int:
    """The exit status of a command: help is printed, what is wrong is a line and status 2.

    Args:
        page: its help.
        work: takes the command line's words; returns a status.
        interrupted: the line for who interrupts it.
    """
    # Two neighbours that spin while they wait for each other's cores are many times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    arguments = sys.argv[1:]
    if {"-h", "--help"} & set(arguments):
        show(str(page).strip())
        return 0
    return status_of(lambda: work(arguments), interrupted)


def refused(error: PermissionError) -> str:
    """The line for what this user may not look into or write to."""
    return f"{error.filename}: {error.strerror}; let this user read and write there"


def status_of(work: Callable[[], int], interrupted: str) -> int:
    """The exit status of `work`, for whatever ends it."""
    try:
        with interruptible():
            return guarded(work)
    except RunError as error:
        print(error, file=sys.stderr)
        return 2
    except (Interrupted, KeyboardInterrupt):
        print(interrupted, file=sys.stderr)
        return STATUS


def guarded(work: Callable[[], int]) -> int:
    """The exit status of `work`, where a wrong request becomes a line and status 2."""
    try:
        return work()
    except (RequestError, PermissionError) as error:
        if os.environ.get(FULL_ERROR) == "1":
            traceback.print_exc()
        print(refused(error) if isinstance(error, PermissionError) else error, file=sys.stderr)
        return 2
