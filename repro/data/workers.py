"""Processes that load: they see a run to its end, whatever signals their process group is sent."""

from __future__ import annotations

import os
import re
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch.utils.data import DataLoader, Dataset

from repro.errors import RunError
from repro.run.interruption import AHEAD, URGENT

ASKING = frozenset((*URGENT, *AHEAD))
"""The process that trains heeds these, and needs its workers meanwhile."""
WAITS = hasattr(signal, "sigwaitinfo")
"""Whether a process can find out who sent a signal: not on macOS, nor on Windows."""


class _Made(Dataset[Any]):
    """Makes what is asked for; what says why there is none is passed on as it is."""

    def __init__(self, make: Callable[[Any], Any]) -> None:
        self.make = make

    def __getitem__(self, asked: Any) -> Any:
        try:
            return self.make(asked)
        except RunError as error:
            return error


def loaded(
    make: Callable[[Any], Any], workers: int, batches: Iterable[Any], most: int
) -> Iterator[Any]:
    """What `make` makes of each of `batches`, in order, by processes that work ahead.

    Args:
        make: makes a batch of what it is asked for. It may raise RunError.
        workers: processes that do so, though never more than there are batches; 0: this one does.
        batches: what each batch asks for.
        most: how many batches there are, at most.

    Raises:
        RunError: a batch cannot be made, or a worker was killed.
    """
    loader: DataLoader[Any] = DataLoader(
        _Made(make),
        batch_size=None,
        sampler=batches,
        num_workers=min(workers, most),
        worker_init_fn=_heed_parent,
        collate_fn=_same,
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
        if isinstance(item, RunError):
            raise item
        yield item


def _same(batch: Any) -> Any:
    return batch


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
