"""What the ways in `export`, `predict` and `verify` ask of their words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from repro.errors import RequestError
from repro.store.files import unwritable
from repro.store.runs import CONFIG, FAILED, LOG, RESULT, WEIGHTS

MOST = 999_999_999
"""Of images, of classes, of seeds: a number above it is a slip of the keyboard."""


def required(options: Mapping[str, str], examples: Mapping[str, str]) -> None:
    """Refuse a command line that lacks one of the words in `examples`."""
    for key, example in examples.items():
        if not options[key]:
            raise RequestError(f"{key}= is missing: expected a word such as {key}={example}")


def check_places(paths: Sequence[Path], overwrite: bool) -> None:
    """Refuse files to be written, all in one folder, before any work.

    RequestError: the folder is a run's, in one or not writable; a file is there already.
    """
    folder = paths[0].parent
    if reason := unwritable(folder):
        raise RequestError(f"out={folder} is no folder that can be written to: {reason}")
    for place in (folder.resolve(), *folder.resolve().parents):
        others = (place / name for name in (RESULT, WEIGHTS, LOG, FAILED))
        if (place / CONFIG).is_file() and any(other.exists() for other in others):
            raise RequestError(f"out={folder} is the folder of a run, or in it: name another")
    for path in paths:
        if path.is_dir() or (path.exists() and not overwrite):
            raise RequestError(f"{path} is there already: name another, or add overwrite=true")
