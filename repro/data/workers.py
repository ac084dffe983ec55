"""Processes that load: they see a run to its end, whatever signals their process group is sent."""

import atexit
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch.utils.data import DataLoader, Dataset

from repro.data.images import ArrayImages, Images
from repro.errors import RunError

ASKING = frozenset(
    one for one in signal.Signals if one.name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2")
)
"""The process that trains heeds these, and needs its workers meanwhile."""
MOST, FEW = 16, 1000
"""Workers that `auto` takes at most, and the image files from which on they are worth it."""


def processes(images: Images, workers: str | int) -> int:
    """How many workers load images: none in memory; of files `workers`, or by the cores at hand."""
    if isinstance(images, ArrayImages) or (workers == "auto" and len(images) < FEW):
        return 0
    if workers != "auto":
        return int(workers)
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    own = cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    # The process that trains needs a core too; two share it.
    return min(MOST, own - 1 if own > 2 else own)


@dataclass(frozen=True)
class _Made(Dataset[Any]):
    make: Callable[[Any], Any]

    def __getitem__(self, asked: Any) -> Any:
        try:
            return self.make(asked)
        except RunError as error:
            # Raised where the batch is awaited.
            return error


class Loaded:
    """Each of `batches` as `make` makes it, in order, by up to `most` processes that work ahead.

    With 0 workers this one makes all. RunErrors are raised where their batch is awaited. What is
    gone through `again` keeps its processes, which wait in between and hold nothing made.
    """

    def __init__(
        self,
        make: Callable[[Any], Any],
        workers: int,
        batches: Iterable[Any],
        most: int,
        again: bool = False,
    ) -> None:
        self.workers, count = workers, min(workers, most)
        how: dict[str, Any] = {"num_workers": count, "persistent_workers": again and count > 0}
        how |= {"batch_size": None, "collate_fn": _same}
        self.loader: DataLoader[Any] = DataLoader(_Made(make), sampler=batches, **how)

    def __iter__(self) -> Iterator[Any]:
        return _awaited(self.loader, self.workers)


def _awaited(loader: DataLoader[Any], workers: int) -> Iterator[Any]:
    items: Iterator[Any] | None = None
    while True:
        try:
            if items is None:
                with _undisturbed():
                    items = iter(loader)
            item = next(items)
        except StopIteration:
            return
        except (RuntimeError, OSError, EOFError) as error:
            killed = str(error).startswith("DataLoader worker (pid")
            lost = not isinstance(error, RuntimeError) and not str(error).startswith("Caught ")
            if not workers or not (killed or lost):
                raise
            said = f"a loader worker was killed (out of memory?); take workers={workers // 2}"
            if "Bus error" in str(error):
                said = "/dev/shm has too little room for batches: give it more (docker --shm-size)"
            loader._iterator = None
            raise RunError(f"{said}; the same command goes on") from error
        if isinstance(item, RunError):
            # Else workers live on in this frame, as long as the error does that holds it.
            items = loader._iterator = None
            raise item
        yield item


def _same(batch: Any) -> Any:
    return batch


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Processes started in here heed no signal that stops a run; their death is noticed later."""
    if not hasattr(signal, "SIGCHLD"):
        # Windows.
        yield
        return
    child = signal.getsignal(signal.SIGCHLD)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ASKING)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGCHLD, child)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@atexit.register
def _end_workers() -> None:
    """A program that ends asks its processes by a signal that loaders do not heed, and waits."""
    for child in multiprocessing.active_children():
        if child.daemon:
            child.kill()
