"""Files that appear whole or not at all: written beside, flushed to the disk, then renamed."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Callable
from pathlib import Path

from repro.errors import RunError


def write_whole(path: Path, content: bytes, allowed: Callable[[], None] = lambda: None) -> None:
    """Put `content` at `path`; another reader sees the old file or the new one, nothing between.

    Args:
        path: where; its folder must exist.
        content: all of the file.
        allowed: called just before the rename; raises where the file is no longer ours to write.

    Raises:
        RunError: the disk is full or the folder cannot be written to; `path` is as it was.
    """
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        allowed()
        beside.replace(path)
    except OSError as error:
        reason = "the disk is full" if error.errno == errno.ENOSPC else error.strerror
        raise RunError(f"cannot write {path}: {reason}; what was finished stays") from error
    finally:
        beside.unlink(missing_ok=True)
    _flush_folder(path.parent)


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
