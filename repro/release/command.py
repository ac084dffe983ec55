"""What the ways in `export`, `predict` and `verify` share: help, statuses, words to be given."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from repro.config.words import show
from repro.errors import RequestError, RunError
from repro.process.interruption import STATUS, Interrupted, interruptible
from repro.store.files import unwritable

MOST = 999_999_999
"""Of images, of classes, of seeds: a number above it is a slip of the keyboard."""


def way_in(page: str | None, work: Callable[[list[str]], int]) -> int:
    """The exit status of a command: help is printed, what is wrong is a line and status 2.

    Args:
        page: its help.
        work: takes the command line's words; returns a status.
    """
    # Two neighbours that spin while they wait for each other's cores are many times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    arguments = sys.argv[1:]
    if {"-h", "--help"} & set(arguments):
        show(str(page).strip())
        return 0
    try:
        with interruptible():
            return work(arguments)
    except (RequestError, RunError) as error:
        print(error, file=sys.stderr)
        return 2
    except (Interrupted, KeyboardInterrupt):
        print("interrupted; nothing is half written", file=sys.stderr)
        return STATUS


def required(options: Mapping[str, str], examples: Mapping[str, str]) -> None:
    """Refuse a command line without the words that must be there.

    Raises:
        RequestError: the first one that is missing, with an example.
    """
    for key, example in examples.items():
        if not options[key]:
            raise RequestError(f"{key}= is missing: expected a word such as {key}={example}")


def check_place(folder: Path) -> None:
    """Refuse a folder for `out=` that nothing can be written into, before any work.

    Raises:
        RequestError: with the reason.
    """
    if reason := unwritable(folder):
        raise RequestError(f"out={folder} is no folder that can be written to: {reason}")
