"""Files that appear whole or not at all: written beside, flushed to the disk, then renamed."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import time
from collections.abc import Callable
from pathlib import Path

from repro.errors import RequestError, RunError

BESIDE = re.compile(r"\..+\.[0-9a-f]{8}")
"""The name of a file while it is written; a writer that is killed leaves it."""
DAY = 24 * 3600.0


def write_whole(path: Path, content: bytes, allowed: Callable[[], None] = lambda: None) -> None:
    """Put `content` at `path`; another reader sees the old file or the new one, nothing between.

    Args:
        path: where; its folder is made.
        content: all of the file.
        allowed: called just before the rename; raises where the file is no longer ours to write.

    Raises:
        RunError: the disk is full or the folder cannot be written to; `path` is as it was.
    """
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        allowed()
        beside.replace(path)
        _flush_folder(path.parent)
    except OSError as error:
        reason = "the disk is full" if error.errno == errno.ENOSPC else error.strerror
        raise RunError(f"cannot write {path}: {reason}; what was finished stays") from error
    finally:
        # What keeps it from being removed was said above.
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)


def _flush_folder(folder: Path) -> None:
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:
        # Some network file systems cannot; their rename is as durable as they make it.
        pass
    finally:
        os.close(descriptor)


def remove_leftovers(folder: Path, older: float = 0.0) -> None:
    """Remove what writers that were killed left in a folder and the folders in it.

    Args:
        folder: where no other process writes now; or one for all, and then see `older`.
        older: seconds that such a file has not been written to, for where its writer may live.
    """
    # The clock of the disk's host may be another.
    before = time.time() - older if older else float("inf")
    for place, _, names in os.walk(folder):
        for path in (Path(place, name) for name in names if BESIDE.fullmatch(name)):
            # Where it cannot be removed, the next write says why.
            with contextlib.suppress(OSError):
                if path.lstat().st_mtime <= before:
                    path.unlink()


def nearest(path: Path) -> Path:
    """The path, or the nearest of the folders around it that exists.

    Raises:
        OSError: it cannot be looked at.
    """
    path = path.absolute()
    return next(place for place in (path, *path.parents) if place.exists())


def check_writable(folder: Path) -> None:
    """Refuse a folder that this process cannot write to, or make, before work starts.

    Raises:
        RequestError: with the folder's name.
    """
    if not os.access(nearest(folder), os.W_OK | os.X_OK):
        raise RequestError(f"{folder} cannot be written to: name a place of your own with runs=")
