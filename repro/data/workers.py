"""Processes that load: they see a run to its end, whatever signals their process group is sent."""

from __future__ import annotations

import os
import re
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch.utils.data import DataLoader, Dataset

from repro.errors import RunError
from repro.run.interruption import AHEAD, URGENT

ASKING = frozenset((*URGENT, *AHEAD))
"""The process that trains heeds these, and needs its workers meanwhile."""
WAITS = hasattr(signal, "sigwaitinfo")
"""Whether a process can find out who sent a signal: not on macOS, nor on Windows."""


def loaded(
    dataset: Dataset[Any],
    workers: int,
    batches: Iterable[Sequence[Any]],
    most: int,
    collate: Callable[[list[Any]], Any],
) -> Iterator[Any]:
    """What a `DataLoader` over `dataset` makes, a batch at a time.

    Args:
        dataset: its items are what is made; a string is why one cannot be.
        workers: processes that make them, though never more than there are batches; 0: this one
            does.
        batches: what each batch asks `dataset` for.
        most: how many batches there are, at most.
        collate: makes one batch of its items. A string is why there is none.

    Raises:
        RunError: an item cannot be made, or a worker was killed.
    """
    loader: DataLoader[Any] = DataLoader(
        dataset,
        num_workers=min(workers, most),
        worker_init_fn=_heed_parent,
        batch_sampler=batches,  # type: ignore[arg-type]
        collate_fn=collate,
    )
    with _undisturbed():
        items = iter(loader)
    while True:
        try:
            item = next(items)
        except StopIteration:
            return
        except (RuntimeError, OSError, EOFError) as error:
            if not workers or not _worker_died(error):
                raise
            raise RunError(
                "a loader worker was killed (out of memory?); the same command goes on, and "
                f"workers={workers // 2} takes less memory"
            ) from error
        if isinstance(item, str):
            raise RunError(item)
        yield item


def single(items: list[Any]) -> Any:
    """The one item of a batch of one."""
    (item,) = items
    return item


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Processes that are started in here are sent no signal before they wait for one.

    A worker that dies is noticed where its next item is awaited: torch would raise that wherever
    this process happens to be, amid a step or a write.
    """
    if not hasattr(signal, "SIGCHLD"):
        # Windows.
        yield
        return
    child = signal.getsignal(signal.SIGCHLD)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ASKING if WAITS else ())
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGCHLD, child)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _heed_parent(_: int) -> None:
    if WAITS:
        threading.Thread(target=_end_with_parent, daemon=True).start()
    else:
        # A terminal sends it to all; who trains ends its workers by other signals.
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _end_with_parent() -> None:
    """Of all signals heed the parent's SIGTERM alone: as it exits it waits for whom it sends it."""
    parent = os.getppid()
    while True:
        sent = signal.sigwaitinfo(ASKING)
        if sent.si_signo == signal.SIGTERM and sent.si_pid == parent:
            os._exit(0)


def _worker_died(error: Exception) -> bool:
    """Whether this is torch's word for it, or a connection to a worker that broke.

    What a worker raised itself begins with where it was caught.
    """
    if isinstance(error, RuntimeError):
        return re.match(r"DataLoader worker \(pid", str(error)) is not None
    return not str(error).startswith("Caught ")
