"""Files that appear whole or not at all.

A file is written under another name beside its place, flushed to the disk, and then renamed.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import stat
import time
from collections.abc import Callable
from pathlib import Path

from repro.errors import RequestError, RunError

BESIDE = re.compile(r"\..+\.[0-9a-f]{8}")
"""The name that a file has while it is written. A writer that is killed leaves such a file."""
DAY = 24 * 3600.0
LARGEST = 2**33
"""Bytes of a file that is read into memory, at most."""


def write_whole(path: Path, content: bytes, allowed: Callable[[], None] = lambda: None) -> None:
    """Put `content` at `path`. A reader sees the old file or the new one, never a part.

    Args:
        path: where the file belongs. Its folder is made.
        content: the whole file.
        allowed: called just before the rename. It raises if this process may no longer write.

    Raises:
        RunError: the disk is full or the folder cannot be written to; `path` is as it was.
    """
    beside = _beside(path)
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


def read_whole(path: Path, most: int = LARGEST, links: bool = True) -> bytes:
    """The content of a regular file; a pipe, a socket or a device is not waited for.

    Args:
        path: the file.
        most: bytes that it may have.
        links: whether it may be a link to a file.

    Raises:
        OSError: there is none, it cannot be read, or it is something else than a file.
    """
    flags = getattr(os, "O_NONBLOCK", 0) | (0 if links else getattr(os, "O_NOFOLLOW", 0))
    with os.fdopen(os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | flags), "rb") as file:
        state = os.fstat(file.fileno())
        if not stat.S_ISREG(state.st_mode):
            raise OSError(errno.EINVAL, "it is no regular file")
        if state.st_size > most:
            raise OSError(errno.EFBIG, f"it has {state.st_size:,} bytes, at most {most:,} fit")
        return file.read(most)


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}")


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
    """Remove what killed writers left in a folder and in the folders below it.

    Args:
        folder: where to look.
        older: only files that nobody has written to for so many seconds are removed. Zero is for a
            folder in which no other process writes now.
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
    if unwritable(folder):
        raise RequestError(f"{folder} cannot be written to: name a place of your own with runs=")


def unwritable(folder: Path) -> str | None:
    """Why this process cannot make files in a folder, or make the folder; None where it can.

    Nothing is written to find out, so that a disk that is full is not noticed.
    """
    try:
        there = nearest(folder)
    except OSError as error:
        return error.strerror
    if not there.is_dir():
        return f"{there} is a file"
    return None if os.access(there, os.W_OK | os.X_OK) else f"{there} is not yours to write to"


def unwritable_file(path: Path) -> str | None:
    """Why `write_whole` cannot put a file at `path`; None where it can (see `unwritable`)."""
    try:
        # The longest name that is needed: that of the file while it is written.
        _beside(path).exists()
        if path.is_dir():
            return "it is a folder"
    except OSError as error:
        return error.strerror
    return unwritable(path.parent)
