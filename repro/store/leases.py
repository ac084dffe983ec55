"""Who works on what: leases, which pass to another process when their holder dies.

A lease is a file in the store's `.locks`. A holder that died is taken over after a minute, or at
once on the same host. It relies on exclusive creation and renaming of files, not on advisory locks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import SoftFileLease, Timeout

from repro.errors import RunError

LEASE_SECONDS = 60.0


@contextmanager
def first_free(
    store: Path,
    names: Sequence[str],
    *,
    waits: Callable[[], None],
    check: Callable[[], None] = lambda: None,
    lost: Callable[[], None] = lambda: None,
) -> Iterator[int]:
    """Hold the first of `names` that is free, and say which; where none is, wait for one.

    Args:
        store: the folder whose `.locks` are used.
        names: of what can be held.
        waits: called once, where this process has to wait.
        check: called again and again while it waits; may raise.
        lost: called from another thread where the lease is taken from this process.

    Raises:
        RunError: the store cannot be written to.
    """
    locks = store / ".locks"
    try:
        locks.mkdir(parents=True, exist_ok=True)
        leases = [_lease(locks / f"{name}.lock", lost) for name in names]
        held = _free(leases)
        if held is None:
            waits()
        while held is None:
            check()
            time.sleep(0.5)
            held = _free(leases)
    except OSError as error:
        raise RunError(f"cannot write {locks}: {error.strerror}") from error
    try:
        yield held
    finally:
        leases[held].release()


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
            continue
        return index
    return None
