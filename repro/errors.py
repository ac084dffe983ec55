"""The two ways in which work ends early for a reason that the user can act on.

Both carry one line that says what, where, and what would be right.
"""


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
