"""The two ways in which work ends early for a reason that the user can act on.

Both carry one line that says what, where, and what would be right. What is damaged or another's is
left out, with such a line.
"""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

_noted: ContextVar[list[str] | None] = ContextVar("noted", default=None)
_called: ContextVar[Mapping[str, str] | None] = ContextVar("called", default=None)


class RequestError(Exception):
    """The request cannot be met as written; found before any work, status 2."""


class RunError(Exception):
    """A run that had started cannot go on: it failed, and the others of its sweep go on."""


def one_line(error: BaseException) -> str:
    """The message of an error of others, in one line; its type where it says nothing."""
    return flat(str(error)) or type(error).__name__


def flat(text: str) -> str:
    """Text from elsewhere in one line, without what would steer a terminal."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def leave_out(line: str) -> None:
    """Say on standard error what a report or a table of results is made without."""
    for place, name in (_called.get() or {}).items():
        line = line.replace(place, name)
    print(f"left out: {line}", file=sys.stderr)
    if (lines := _noted.get()) is not None:
        lines.append(line)


@contextmanager
def noting(called: Mapping[str, str]) -> Iterator[list[str]]:
    """Gives the lines of all that is left out meanwhile, so that a page can name it too.

    `called` has names of places, as of a folder that an archive was unpacked into.
    """
    lines: list[str] = []
    tokens = _noted.set(lines), _called.set(called)
    try:
        yield lines
    finally:
        _noted.reset(tokens[0])
        _called.reset(tokens[1])
