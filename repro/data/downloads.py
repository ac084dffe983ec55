"""Data sets that are fetched when they are needed: once, and whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from repro.errors import RunError, one_line
from repro.store.leases import first_free


def fetched(
    name: str,
    root: Path,
    inside: str,
    fetch: Callable[[Path], Any],
    say: Callable[[str], None],
    check: Callable[[], None],
) -> None:
    """See to it that a data set is there: where it is not, fetch it, one process at a time.

    Args:
        name: of the data set.
        root: folder that the data set belongs into.
        inside: the data set's own folder in there.
        fetch: brings the data set into the folder that it is given, as it is to lie in `root`.
        say: takes a line for the user.
        check: called while another process fetches; raises to stop.

    Raises:
        RunError: it could not be fetched.
    """
    where, beside = root / inside, root / f".fetching-{name}"
    if where.is_dir():
        return
    try:
        with first_free(
            root, [name], waits=lambda: say(f"another process fetches {name}; waiting"), check=check
        ):
            if where.is_dir():
                return
            try:
                # Of a fetch that was killed.
                shutil.rmtree(beside, ignore_errors=True)
                beside.mkdir()
                fetch(beside)
                where.parent.mkdir(parents=True, exist_ok=True)
                (beside / inside).rename(where)
            finally:
                shutil.rmtree(beside, ignore_errors=True)
    except Exception as error:
        raise RunError(
            f"data={name} is not in {where.resolve()} and could not be downloaded: "
            f"{one_line(error)}; put it there as torchvision does, or say where it is with "
            "data.root"
        ) from error
