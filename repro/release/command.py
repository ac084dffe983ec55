"""What the ways in `export`, `predict` and `verify` ask of their words."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from repro.errors import RequestError
from repro.store.files import unwritable

MOST = 999_999_999
"""Of images, of classes, of seeds: a number above it is a slip of the keyboard."""


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
