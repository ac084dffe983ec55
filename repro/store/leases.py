"""Leases: one process at a time works on a run.

A lease is a file in the store's `.locks` (`filelock.SoftFileLease`). Its holder renews it; one that
is not renewed for a minute passes to another process, on the same host as soon as its holder has
died. This needs exclusive creation and atomic renaming of files, and no advisory locks, which
network file systems often lack.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import SoftFileLease, Timeout

from repro.errors import RunError

LOCKS = ".locks"
"""The folder of leases in a store."""
LEASE_SECONDS = 60.0
LOOKS, BETWEEN = 5, 0.1
"""A lease's file that is absent is looked at so often, with so many seconds between: a process that
finds out whether the lease is stale moves the file aside for a moment."""


@dataclass(frozen=True)
class Held:
    """A lease that this process took."""

    index: int
    """Which of the names that were asked for it is, from 0."""
    path: Path
    token: str
    """Stands in the file while the lease is this process's."""

    def kept(self) -> bool:
        """Whether the lease is still this process's, as its file says now."""
        for look in range(LOOKS):
            time.sleep(BETWEEN if look else 0)
            try:
                if self.token.encode() in self.path.read_bytes():
                    return True
            except FileNotFoundError:
                continue
            except OSError:
                # A network's fault says nothing; whether it lasts, the lease itself finds out.
                return True
        return False


@contextmanager
def first_free(
    store: Path,
    names: Sequence[str],
    *,
    waits: Callable[[], None],
    check: Callable[[], None] = lambda: None,
    lost: Callable[[], None] = lambda: None,
) -> Iterator[Held]:
    """Hold the first of `names` that is free; where none is, wait for one.

    Args:
        store: the folder that holds `.locks`.
        waits: called once, if this process has to wait.
        check: called again and again while this process waits; may raise.
        lost: called from another thread when the lease is taken from this process.

    Raises:
        RunError: the store cannot be written to.
    """
    locks = store / LOCKS
    try:
        locks.mkdir(parents=True, exist_ok=True)
        leases = [
            SoftFileLease(
                locks / f"{name}.lock",
                lease_duration=LEASE_SECONDS,
                on_compromise=lambda _: lost(),
                is_singleton=False,
            )
            for name in names
        ]
        index = _free(leases)
        if index is None:
            waits()
        while index is None:
            check()
            time.sleep(0.5)
            index = _free(leases)
    except OSError as error:
        raise RunError(f"cannot write {error.filename or locks}: {error.strerror}") from error
    lease = leases[index]
    try:
        yield Held(index, Path(lease.lock_file), str(lease.token))
    finally:
        lease.release()


def _free(leases: list[SoftFileLease]) -> int | None:
    for index, lease in enumerate(leases):
        try:
            lease.acquire(timeout=0)
        except Timeout:
            _let_go(Path(lease.lock_file))
            continue
        return index
    return None


def _let_go(path: Path) -> None:
    """Have an old empty file taken over, as a power cut leaves one.

    filelock waits for it for ever, as older versions of it held locks by empty files. To write into
    the file is safe where to remove it is not: another process may have put its own in this place.
    """
    with suppress(OSError):
        found = path.stat()
        if not found.st_size and time.time() - found.st_mtime > LEASE_SECONDS and path.is_file():
            path.write_bytes(b"?")


def at_work(store: Path, name: str) -> bool:
    """Whether a process holds a lease: on this host it lives, on another it renewed the lease."""
    path = store / LOCKS / f"{name}.lock"
    try:
        renewed, lines = path.stat().st_mtime, path.read_text(errors="replace").splitlines()
    except OSError:
        return False
    holder = dict(line.partition("=")[::2] for line in lines)
    own, pid = holder.get("host") == socket.gethostname(), holder.get("pid", "")
    # On Windows the signal 0 ends a process.
    if own and pid.isdecimal() and os.name != "nt":
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            return False
        except (OSError, OverflowError):
            pass
    return time.time() - renewed < LEASE_SECONDS
