"""What the ways in share, without Hydra: help, words KEY=VALUE, a status for whatever happens."""

import errno
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress

from repro.config.schema import MANY
from repro.errors import RequestError, RunError, flat
from repro.run.interruption import STATUS, Interrupted, interruptible

ALLOW = "let this user read and write there"
UNUSABLE: dict[int | None, str] = {
    **{errno.EACCES: ALLOW, errno.EPERM: ALLOW},
    errno.ENAMETOOLONG: "expected a shorter name",
}
"""Errors of a place that was named, with what would be right."""


def way_in(
    page: str | None,
    work: Callable[[list[str]], int],
    interrupted: str = "interrupted; nothing is half written",
) -> int:
    """The exit status of a command: `page` is its help, `work` takes its words."""
    arguments = answered(lambda: str(page).strip())
    return status_of(lambda: work(arguments), interrupted)


def answered(page: Callable[[], str]) -> list[str]:
    """The words of the command line; where these ask for help or the version, print it and exit."""
    # Two neighbours that spin while they wait for each other's cores are many times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    arguments = sys.argv[1:]
    if {"-h", "--help"} & set(arguments):
        show(page())
        sys.exit(0)
    if "--version" in arguments:
        from repro import __version__

        show(__version__)
        sys.exit(0)
    return arguments


def status_of(work: Callable[[], int], interrupted: str) -> int:
    """The exit status of `work`, for whatever ends it; what is wrong is a line and status 2."""
    try:
        with interruptible():
            return work()
    except (RequestError, RunError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in UNUSABLE:
            raise
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            traceback.print_exc()
        said = str(error)
        if isinstance(error, OSError):
            said = f"{str(error.filename)[:300]}: {error.strerror}; {UNUSABLE[error.errno]}"
        print(*map(flat, said.splitlines()), sep="\n", file=sys.stderr)
        return 2
    except (Interrupted, KeyboardInterrupt):
        print(interrupted, file=sys.stderr)
        return STATUS


def read(arguments: list[str], defaults: Mapping[str, str]) -> dict[str, str]:
    """The options KEY=VALUE of a command line, each one of `defaults`, which hold elsewhere."""
    options = dict(defaults)
    for word in arguments:
        key, _, value = word.partition("=")
        if key not in options or not value.strip():
            known = ", ".join(f"{name}=" for name in options)
            raise RequestError(f"{word}: expected KEY=VALUE with one of {known}")
        options[key] = value
    return options


def required(options: Mapping[str, str], **examples: str) -> None:
    """Refuse a command line that lacks one of the words in `examples`."""
    for key, example in examples.items():
        if not options[key]:
            raise RequestError(f"{key}= is missing: expected a word such as {key}={example}")


def truth(key: str, value: str) -> bool:
    """An option that is true or false, else refused."""
    if value not in ("true", "false"):
        raise RequestError(f"{key}={value}: expected true or false")
    return value == "true"


def whole(key: str, value: str, most: int = MANY - 1, least: int = 1) -> int:
    """An option that is a whole number within bounds, else refused."""
    # Python reads no number of thousands of digits.
    number = int(value) if value.isdecimal() and len(value) < 20 else -1
    if not least <= number <= most:
        raise RequestError(f"{key}={value[:40]}: expected a whole number from {least} to {most}")
    return number


def show(text: str, goes_on: bool = False) -> None:
    """Print text; the reader may stop, as `head` does. A full disk is status 2, or it `goes_on`."""
    try:
        print(text, flush=True)
    except OSError as error:
        # Else the interpreter tries again as it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            return
        with suppress(OSError):
            print(f"standard output cannot be written to: {error.strerror}", file=sys.stderr)
        if not goes_on:
            sys.exit(2)
