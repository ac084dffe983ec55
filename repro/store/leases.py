"""Leases, files in a store's `.locks`: one process at a time works on a run.

One that is not renewed for a minute passes on, on the same host as soon as its holder has died.
"""

import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import SoftFileLease, Timeout

from repro.errors import RunError, flat

LOCKS = ".locks"
LEASE_SECONDS = 60.0
Seen = dict[tuple[int, int, int], float]
"""When a file was first seen as it is, by this process's own clock."""


@dataclass(frozen=True)
class Held:
    """A lease that this process took: the `index`-th of those that it asked for."""

    index: int
    path: Path
    token: str
    """Stands in the file while the lease is this process's."""

    def kept(self) -> bool:
        """Whether the lease is still this process's, as its file says now."""
        # Who finds out whether a lease is stale moves the file aside for a moment. A network's
        # fault says nothing; whether it lasts, the lease itself finds out.
        for seconds in (0, 0.1, 0.1, 0.1, 0.1):
            time.sleep(seconds)
            try:
                if self.token.encode() in self.path.read_bytes():
                    return True
            except OSError as error:
                if not isinstance(error, FileNotFoundError):
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
    """Hold the first of `names` that is free, or wait for one.

    `waits` is called once before it waits, `check`, which may raise, meanwhile, `lost` from another
    thread when the lease is taken away.
    """
    locks = store / LOCKS
    leases = [
        SoftFileLease(
            locks / f"{name}.lock",
            lease_duration=LEASE_SECONDS,
            is_singleton=False,
            on_compromise=lambda _: lost(),
        )
        for name in names
    ]
    try:
        locks.mkdir(parents=True, exist_ok=True)
        seen: Seen = {}
        if (index := _free(leases, seen)) is None:
            waits()
        while index is None:
            check()
            time.sleep(0.5)
            index = _free(leases, seen)
    except OSError as error:
        raise RunError(f"cannot write {error.filename or locks}: {error.strerror}") from error
    lease = leases[index]
    try:
        yield Held(index, Path(lease.lock_file), str(lease.token))
    finally:
        lease.release()


def _free(leases: Sequence[SoftFileLease], seen: Seen) -> int | None:
    for index, lease in enumerate(leases):
        with suppress(Timeout):
            lease.acquire(timeout=0)
            return index
        # filelock waits for ever for an empty file, as a power cut leaves one. It may be another's
        # by now: to write into it is safe where to remove it is not.
        with suppress(OSError):
            state = os.stat(lease.lock_file)
            first = seen.setdefault((index, state.st_ino, state.st_mtime_ns), time.monotonic())
            # The clock that dated it may be ahead of this one.
            age = max(time.time() - state.st_mtime, time.monotonic() - first)
            if not state.st_size and age > LEASE_SECONDS:
                Path(lease.lock_file).write_bytes(b"?")
    return None


def holder(store: Path, name: str) -> str | None:
    """The process that holds a lease: on this host it lives, on another it renewed the lease."""
    path = store / LOCKS / f"{name}.lock"
    try:
        renewed, lines = path.stat().st_mtime, path.read_text(errors="replace").splitlines()
    except OSError:
        return None
    said = dict(line.partition("=")[::2] for line in lines)
    host, pid = said.get("host", ""), said.get("pid", "")
    if not pid:
        return None
    # On Windows the signal 0 ends a process.
    if host == socket.gethostname() and pid.isdecimal() and os.name != "nt":
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            return None
        except (OSError, OverflowError):
            pass
    alive = time.time() - renewed < LEASE_SECONDS
    return flat(f"process {pid} on {host}"[:80]) if alive else None
