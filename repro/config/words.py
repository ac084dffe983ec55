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
        if key not in options or not value.strip():
            known = ", ".join(f"{name}=" for name in options)
            raise RequestError(f"{word}: expected KEY=VALUE with one of {known}")
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


def show(text: str) -> None:
    """Print text; who reads it may stop early, as `head` does."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # Else the interpreter tries again as it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
