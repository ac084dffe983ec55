"""Files that appear whole or not at all: written beside their place, flushed, then renamed."""

import errno
import os
import re
import secrets
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path

from repro.errors import RequestError, RunError

BESIDE = re.compile(r"\..+\.[0-9a-f]{8}")
"""The name that a file has while it is written. A writer that is killed leaves such a file."""
DAY = 24 * 3600.0
Content = bytes | Iterable[bytes | memoryview]
"""What a file holds, at once or part by part."""
LARGEST = 2**33
"""Bytes of a file that is read into memory, at most."""


def write_whole(path: Path, content: Content, allowed: Callable[[], None] = lambda: None) -> None:
    """Put `content` at `path`, and make its folder; a reader sees the old file or the new one.

    `allowed` is called before the rename and may raise. A RunError says why it cannot be written.
    """
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("wb") as file:
            file.writelines([content] if isinstance(content, bytes) else content)
            file.flush()
            os.fsync(file.fileno())
        allowed()
        beside.replace(path)
        if os.name != "nt":
            descriptor = os.open(path.parent, os.O_RDONLY)
            # Some network file systems cannot; their rename is as durable as they make it.
            with suppress(OSError):
                os.fsync(descriptor)
            os.close(descriptor)
    except OSError as error:
        reason = "the disk is full" if error.errno == errno.ENOSPC else error.strerror
        raise RunError(f"cannot write {path}: {reason}; what was finished stays") from error
    finally:
        # What keeps it from being removed was said above.
        with suppress(OSError):
            beside.unlink(missing_ok=True)


@contextmanager
def opened_whole(path: Path, most: int = LARGEST, links: bool = True) -> Iterator[BufferedReader]:
    """A regular file of up to `most` bytes, opened to be read; an OSError says why not."""
    flags = getattr(os, "O_NONBLOCK", 0) | (0 if links else getattr(os, "O_NOFOLLOW", 0))
    with os.fdopen(os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | flags), "rb") as file:
        state = os.fstat(file.fileno())
        if not stat.S_ISREG(state.st_mode):
            raise OSError(errno.EINVAL, "it is no regular file")
        if state.st_size > most:
            raise OSError(errno.EFBIG, f"it has {state.st_size:,} bytes, at most {most:,} fit")
        yield file


def read_whole(path: Path, most: int = LARGEST, links: bool = True) -> bytes:
    """The content of a regular file of up to `most` bytes; an OSError says why not."""
    with opened_whole(path, most, links) as file:
        return file.read(most)


def state_of(path: Path) -> tuple[int, int] | None:
    """When a file was written, and its bytes: while these are the same, so is it; None: no file."""
    with suppress(OSError):
        found = path.stat()
        return found.st_mtime_ns, found.st_size
    return None


def remove_leftovers(folder: Path, older: float = 0.0) -> None:
    """Remove what killed writers left, `older` seconds ago, in a folder and in those below it."""
    # The clock of the disk's host may be another.
    before = time.time() - older if older else float("inf")
    for place, _, names in os.walk(folder):
        for path in (Path(place, name) for name in names if BESIDE.fullmatch(name)):
            # Where it cannot be removed, the next write says why.
            with suppress(OSError):
                if path.lstat().st_mtime <= before:
                    path.unlink()


def nearest(path: Path) -> Path:
    """The path, or the nearest of the folders around it that exists; may raise OSError."""
    path = path.absolute()
    return next(place for place in (path, *path.parents) if place.exists() or place.is_symlink())


def check_writable(folder: Path) -> None:
    """Refuse, with a RequestError, a folder that this process cannot write to, or make."""
    if reason := unwritable(folder):
        raise RequestError(f"{folder} cannot be written to ({reason}): name another with runs=")


def unwritable(folder: Path) -> str | None:
    """Why this process cannot make files in a folder, or make the folder; None where it can."""
    try:
        there = nearest(folder)
    except OSError as error:
        return error.strerror
    if not there.is_dir():
        return f"{there} is {'a file' if there.exists() else 'a link to nothing'}"
    return None if os.access(there, os.W_OK | os.X_OK) else f"{there} is read-only for this user"
