"""Leases: one process at a time works on a run.

A lease is a file in the store's `.locks`. Its holder renews it while it works. A lease that is not
renewed for a minute passes to another process; on the same host it passes as soon as its holder
has died. Leases need exclusive creation and atomic renaming of files. They need no advisory locks,
which network file systems often lack.
"""

from __future__ import annotations

import os
import socket
import sys
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
        names: what can be held, such as runs or devices.
        waits: called once, if this process has to wait.
        check: called again and again while this process waits; may raise.
        lost: called from another thread when the lease is taken from this process.

    Raises:
        RunError: the store cannot be written to.
    """
    locks = store / LOCKS
    try:
        locks.mkdir(parents=True, exist_ok=True)
        leases = [_lease(locks / f"{name}.lock", lost) for name in names]
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


def at_work(store: Path, name: str) -> bool:
    """Whether a process holds a lease: on this host it lives, on another it renewed the lease."""
    path = store / LOCKS / f"{name}.lock"
    try:
        renewed, lines = path.stat().st_mtime, path.read_text(errors="replace").splitlines()
    except OSError:
        return False
    holder = dict(line.partition("=")[::2] for line in lines)
    if holder.get("host") == socket.gethostname() and not _lives(holder.get("pid", "")):
        return False
    return time.time() - renewed < LEASE_SECONDS


def _lives(pid: str) -> bool:
    """Whether a process of this host has this number; true where that cannot be known."""
    if os.name == "nt" or not pid.isdecimal():
        # There the signal 0 ends a process.
        return True
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def _lease(path: Path, lost: Callable[[], None]) -> SoftFileLease:
    return SoftFileLease(
        path,
        lease_duration=LEASE_SECONDS,
        on_compromise=lambda _: lost(),
        is_singleton=False,
    )


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

    filelock waits for it for ever, as older versions of it held locks by empty files, but takes
    over what is not wholly written. To write into the file is safe where to remove it is not:
    another process may have put its own in this place.
    """
    with suppress(OSError), path.open("r+b") as file:
        found = os.fstat(file.fileno())
        if not found.st_size and time.time() - found.st_mtime > LEASE_SECONDS:
            file.write(b"?")
            print(f"{path} is empty and old, as after a power cut: taken over", file=sys.stderr)
