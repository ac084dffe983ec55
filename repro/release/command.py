"""What the ways in `export`, `predict` and `verify` share: help, statuses, words to be given."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping

from repro.config.words import show
from repro.errors import RequestError, RunError
from repro.process.interruption import STATUS, Interrupted, interruptible


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


def whole_number(options: Mapping[str, str], key: str, least: int = 1) -> int:
    """An option that is a whole number.

    Raises:
        RequestError: it is none, or below `least`.
    """
    value = options[key]
    if not (value.isascii() and value.isdigit() and len(value) < 10 and int(value) >= least):
        raise RequestError(f"{key}={value}: expected a whole number, {least} or above")
    return int(value)
