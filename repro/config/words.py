"""Command lines of KEY=VALUE words, for the ways in that need no configuration."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from repro.errors import RequestError


def read(arguments: list[str], defaults: Mapping[str, str]) -> dict[str, str]:
    """The options of a command line, the defaults where it names none.

    Raises:
        RequestError: a word that is no KEY=VALUE, an unknown key, or an empty value.
    """
    options = dict(defaults)
    for word in arguments:
        key, _, value = word.partition("=")
        if key not in options:
            known = ", ".join(f"{name}=" for name in options)
            raise RequestError(f"{word}: expected KEY=VALUE with one of {known}")
        if not value.strip():
            raise RequestError(f"{key}= has no value: expected {key}=VALUE")
        options[key] = value
    return options


def truth(key: str, value: str) -> bool:
    """An option that is true or false.

    Raises:
        RequestError: it is neither.
    """
    if value not in ("true", "false"):
        raise RequestError(f"{key}={value}: expected true or false")
    return value == "true"


def whole(key: str, value: str, most: int, least: int = 1) -> int:
    """An option that is a whole number.

    Raises:
        RequestError: it is none, or it is out of its bounds.
    """
    # Python reads no number of thousands of digits.
    number = int(value) if value.isdecimal() and len(value) < 20 else -1
    if not least <= number <= most:
        raise RequestError(f"{key}={value[:40]}: expected a whole number from {least} to {most}")
    return number


def show(text: str) -> None:
    """Print text; who reads it may stop early, as `head` does.

    Raises:
        SystemExit: it cannot be printed, as on a full disk; status 2, after a line that says so.
    """
    try:
        print(text, flush=True)
    except OSError as error:
        # Else the interpreter tries again as it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            print(f"standard output cannot be written to: {error.strerror}", file=sys.stderr)
            sys.exit(2)
