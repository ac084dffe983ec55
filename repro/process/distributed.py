"""Data-parallel training as in Section 3.3: synchronous, each batch split between processes.

    torchrun --nproc_per_node=4 -m repro.run arch=D
    torchrun --nnodes=2 --nproc_per_node=8 --rdzv_backend=c10d --rdzv_endpoint=HOST:29500 \\
        -m repro.run arch=D size=paper data=imagenet

The first process leads: it alone reads the command, decides what is done next, and holds and
writes the run's folder. The others follow it from run to run. In a run each process computes its
own rows of every batch, the gradients are summed, and all take the same step; a batch is the
recipe's, whatever the number of processes. Crops are drawn by image and dropout by the row in the
batch, so that the sum is what one process would compute, but for rounding.

Processes meet in the same places in the same order, or they would wait for each other, or worse,
mix two nets. So whatever may fail in one process alone stands in a `together` block: what one
raises there, all raise at its end. An exception anywhere else ends its process, and torchrun the
others.
"""

from __future__ import annotations

import functools
import io
import os
import re
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn, optim

from repro.arch import layers
from repro.config.schema import Config
from repro.errors import RequestError, RunError
from repro.process.interruption import Interrupted, Stop

PATIENCE = timedelta(days=30)
"""The others wait for as long as the first process waits for a run that someone else holds."""

T = TypeVar("T")


@dataclass
class World:
    """The processes that train one net, and which of them this is; usually it is alone."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    """Its number on this host."""
    local_size: int = 1
    amid: bool = field(default=False, init=False)
    """Whether the others are amid a run, and so do not wait to be told what is next."""

    @property
    def leads(self) -> bool:
        """Whether this process decides and writes."""
        return self.rank == 0

    def rows(self, total: int) -> slice:
        """This process's rows of a batch of `total` images; none where there are too few."""
        return slice(total * self.rank // self.size, total * (self.rank + 1) // self.size)

    @property
    def part(self) -> slice:
        """Of the batches of a test, this process's: whole ones, which round as they always do."""
        return slice(self.rank, None, self.size)

    def check(self, net: layers.Net) -> None:
        """Refuse a net whose result would depend on how batches are split.

        Raises:
            RequestError: it normalises by the batch.
        """
        if self.size > 1 and any(conv.batch_norm for conv in net.convs):
            raise RequestError(
                f"arch={net.name} normalises by the batch, of which each of {self.size} processes "
                "sees a part: train it without torchrun"
            )

    @contextmanager
    def together(self) -> Iterator[None]:
        """Work that each process does alone: what one of them raises in here, all raise.

        Raises:
            RunError: another process failed; it says which and why.
            Interrupted: another process was interrupted.
        """
        if self.size == 1:
            yield
            return
        error: BaseException | None = None
        try:
            yield
        except (Exception, Interrupted) as raised:
            error = raised
            if not (self.leads or _known(raised)):
                traceback.print_exc()
        if any(self.any(error is not None)):
            reasons = self.gather(_reason(error))
            self.amid = False
            raise error or _shared(reasons)

    def any(self, *flags: bool) -> list[bool]:
        """For each flag, whether it is set in any process."""
        if self.size == 1:
            return list(flags)
        raised = torch.tensor(flags, dtype=torch.int32)
        with _meeting():
            distributed.all_reduce(raised, distributed.ReduceOp.MAX)
        return [bool(flag) for flag in raised]

    def check_stop(self, stop: Stop) -> None:
        """Interrupt all processes where one was asked to stop.

        Raises:
            Interrupted: in all of them.
        """
        if any(self.any(stop.asked)):
            with self.together():
                raise Interrupted

    def sum(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over the processes, as one message."""
        if self.size == 1:
            return
        total = torch.cat([tensor.reshape(-1) for tensor in tensors])
        with _meeting():
            distributed.all_reduce(total)
        done = 0
        for tensor in tensors:
            tensor.copy_(total[done : done + tensor.numel()].view(tensor.shape))
            done += tensor.numel()

    def gather(self, value: T) -> list[T]:
        """The value of each process, by rank, in all of them."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        with _meeting():
            distributed.all_gather_object(values, value)
        return values

    def led(self, decide: Callable[[], T]) -> T:
        """What the first process decides, in all of them; where it raises, all raise."""
        if self.size == 1:
            return decide()
        decided = None
        with self.together():
            if self.leads:
                decided = decide()
        return self._tell(decided)  # type: ignore[return-value]

    def host_first(self, make: Callable[[], T]) -> T:
        """What each process makes, the first one of each host before the others."""
        made: list[T] = []
        for first in (True, False):
            with self.together():
                if (self.local_rank == 0) == first:
                    made.append(make())
        return made[0]

    def level(self, *parts: nn.Module | optim.Optimizer) -> None:
        """Give `parts` the state that they have in the first process."""
        for part in parts if self.size > 1 else ():
            state = self._tell(_packed(part.state_dict()) if self.leads else b"")
            if not self.leads:
                part.load_state_dict(torch.load(io.BytesIO(state), "cpu", weights_only=True))

    @contextmanager
    def leading(self, config: Config) -> Iterator[None]:
        """A run, which the others do beside this process: they `follow`."""
        if self.size > 1:
            self._tell(config)
            self.amid = True
        yield
        self.amid = False

    def follow(self, work: Callable[[Config], None]) -> int:
        """Do `work`, this process's part of a run, for run after run.

        Returns:
            The status that the first process ends with.
        """
        while True:
            order: Config | int = self._tell(0)
            if isinstance(order, int):
                return order
            self.amid = True
            try:
                work(order)
            except (Exception, Interrupted):
                # What all raise is reported by the first process.
                if self.amid:
                    raise
            self.amid = False

    def dismiss(self, status: int) -> None:
        """Let the others leave with `status`, where they wait for what is next."""
        if self.size > 1 and not self.amid:
            self._tell(status)

    def agree(self, identity: str) -> None:
        """Go on where all processes mean the same run.

        Raises:
            RunError: they do not.
        """
        identities = self.gather(identity)
        if len(set(identities)) > 1:
            self.amid = False
            found = ", ".join(dict.fromkeys(identities))
            raise RunError(
                f"the processes mean different runs ({found}): give all hosts the same program "
                "and the same data"
            )

    def _tell(self, value: T) -> T:
        values: list[Any] = [value]
        with _meeting():
            distributed.broadcast_object_list(values)
        told: T = values[0]
        return told


ALONE = World()


@functools.cache
def world() -> World:
    """The processes that torchrun started, joined; alone where it started no others.

    Raises:
        RequestError: the environment does not say which they are.
    """
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    if "LOCAL_RANK" not in os.environ or os.environ.get("WORLD_SIZE", "1") == "1":
        return ALONE
    for name in names:
        value = os.environ.get(name, "")
        if not value.isdecimal() or len(value) > 9:
            raise RequestError(f"{name}={value} in the environment: torchrun sets it to a number")
    joined = World(*(int(os.environ[name]) for name in names))
    # Only gradients and what else lies on a device take NCCL.
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    distributed.init_process_group(backend, timeout=PATIENCE)
    return joined


@contextmanager
def _meeting() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        # After the place in torch's source.
        reason = re.sub(r"^\[.*?\] *", "", str(error).splitlines()[0])
        raise RunError(
            f"another process of this run ended ({reason}); the same command goes on"
        ) from error


STOPPED = "stopped"


def _known(error: BaseException) -> bool:
    return isinstance(error, RunError | RequestError | Interrupted)


def _reason(error: BaseException | None) -> str | None:
    if error is None:
        return None
    if isinstance(error, Interrupted):
        return STOPPED
    return str(error) if _known(error) else f"{type(error).__name__}: {error}"


def _shared(reasons: list[str | None]) -> BaseException:
    if STOPPED in reasons:
        return Interrupted()
    rank, reason = next((rank, reason) for rank, reason in enumerate(reasons) if reason)
    return RunError(f"{reason} (in process {rank} of {len(reasons)})")


def _packed(state: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()
