"""Data-parallel training as in Section 3.3: synchronous, each batch split between processes.

    torchrun --nproc_per_node=4 -m repro.run arch=D
    torchrun --nnodes=2 --nproc_per_node=8 --rdzv_backend=c10d --rdzv_endpoint=HOST:29500 \\
        -m repro.run arch=D size=paper data=imagenet

The first process decides. It alone reads the command, says which run is next, and holds and writes
the run's folder. The others follow it from run to run. In a run each process computes its own rows
of every batch, the gradients are summed, and all take the same step. A batch is the recipe's,
whatever the number of processes. Crops are drawn by image and dropout by the row in the batch, so
the sum is what one process would compute, but for rounding.

Processes meet in the same places in the same order. Otherwise they would wait for each other, or
mix two nets. So whatever may fail in one process alone stands in an `all_or_none` block: what one
process raises there, all raise at its end. An exception anywhere else ends its process, and
torchrun ends the others.
"""

from __future__ import annotations

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

from repro.config.schema import Config
from repro.errors import RequestError, RunError
from repro.run.interruption import Interrupted, Stop

TIMEOUT = timedelta(days=30)
"""The others wait for as long as the first process waits for a run that someone else holds."""

T = TypeVar("T")


@dataclass(eq=False)
class World:
    """The processes that train one net, and which of them this is; usually it is alone."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    """Its number on this host."""
    local_size: int = 1
    in_run: bool = field(default=False, init=False)
    """Whether the others are working on a run, and so do not wait to be told what is next."""

    @property
    def is_first(self) -> bool:
        """Whether this process decides and writes."""
        return self.rank == 0

    def rows(self, total: int) -> slice:
        """This process's rows of a batch of `total` images; none where there are too few."""
        return slice(total * self.rank // self.size, total * (self.rank + 1) // self.size)

    @property
    def own_batches(self) -> slice:
        """This process's batches of a test: whole ones, so that they round as they always do."""
        return slice(self.rank, None, self.size)

    @contextmanager
    def all_or_none(self) -> Iterator[None]:
        """Work that succeeds in all processes or in none: what one raises in here, all raise.

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
            if not (self.is_first or _known(raised)):
                traceback.print_exc()
        if any(self.any(error is not None)):
            reasons = self.all_gather(_reason(error))
            self.in_run = False
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
            with self.all_or_none():
                raise Interrupted

    def all_reduce(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over the processes, as one message.

        torch's DistributedDataParallel does not serve here. It meets the other processes amid the
        backward pass, where one that fails leaves the others waiting: its reason would be lost and
        the sweep with it. It also rearranges its messages after the first step, and with three or
        more processes the order of a sum, and so its rounding, depends on the place in a message:
        a run that was interrupted would not go on bit for bit.
        """
        if self.size == 1:
            return
        total = torch.cat([tensor.reshape(-1) for tensor in tensors])
        with _meeting():
            distributed.all_reduce(total)
        done = 0
        for tensor in tensors:
            tensor.copy_(total[done : done + tensor.numel()].view(tensor.shape))
            done += tensor.numel()

    def all_reduce_with_gradient(self, tensor: Tensor) -> Tensor:
        """The sum of a tensor over the processes, through which gradients flow back to all."""
        if self.size == 1:
            return tensor
        total: Tensor = _AllReduce.apply(tensor)
        return total

    def all_gather(self, value: T) -> list[T]:
        """The value of each process, by rank, in all of them."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        with _meeting():
            distributed.all_gather_object(values, value)
        return values

    def decided_by_first(self, decide: Callable[[], T]) -> T:
        """What the first process decides, in all of them. Where it raises, all raise."""
        if self.size == 1:
            return decide()
        decided = None
        with self.all_or_none():
            if self.is_first:
                decided = decide()
        return self._broadcast(decided)  # type: ignore[return-value]

    def host_first(self, make: Callable[[], T]) -> T:
        """What each process makes, the first one of each host before the others."""
        made: list[T] = []
        for first in (True, False):
            with self.all_or_none():
                if (self.local_rank == 0) == first:
                    made.append(make())
        return made[0]

    def broadcast_state(self, *parts: nn.Module | optim.Optimizer) -> None:
        """Give `parts` the state that they have in the first process."""
        for part in parts if self.size > 1 else ():
            if isinstance(part, nn.Module):
                self._broadcast_weights(part)
                continue
            state = self._broadcast(_packed(part.state_dict()) if self.is_first else b"")
            if not self.is_first:
                part.load_state_dict(torch.load(io.BytesIO(state), "cpu", weights_only=True))

    def _broadcast_weights(self, net: nn.Module) -> None:
        # One after the other: packed as one message they would be held several times.
        for tensor in net.state_dict().values():
            whole = tensor.contiguous()
            with _meeting():
                distributed.broadcast(whole, 0)
            tensor.copy_(whole)

    @contextmanager
    def run_with_others(self, config: Config) -> Iterator[None]:
        """Have the other processes do their part of a run while this one does its own."""
        if self.size > 1:
            self._broadcast(config)
            self.in_run = True
        yield
        self.in_run = False

    def follow(self, work: Callable[[Config], None]) -> int:
        """Do `work`, this process's part of a run, for run after run.

        Returns:
            The status that the first process ends with.
        """
        while True:
            order: Config | int = self._broadcast(0)
            if isinstance(order, int):
                return order
            self.in_run = True
            try:
                work(order)
            except (Exception, Interrupted):
                # What all raise is reported by the first process.
                if self.in_run:
                    raise
            self.in_run = False

    def dismiss(self, status: int) -> None:
        """Let the others leave with `status`, where they wait for what is next."""
        if self.size > 1 and not self.in_run:
            self._broadcast(status)

    def check_same_run(self, identity: str) -> None:
        """Refuse to go on where the processes mean different runs.

        Raises:
            RunError: in all of them.
        """
        identities = self.all_gather(identity)
        if len(set(identities)) > 1:
            self.in_run = False
            found = ", ".join(dict.fromkeys(identities))
            raise RunError(
                f"the processes mean different runs ({found}): give all hosts the same program "
                "and the same data"
            )

    def _broadcast(self, value: T) -> T:
        values: list[Any] = [value]
        with _meeting():
            distributed.broadcast_object_list(values)
        first: T = values[0]
        return first


class _AllReduce(torch.autograd.Function):
    """A sum over the processes. The loss is one too, so gradients are summed likewise.

    `torch.distributed.nn.functional.all_reduce` does the same and is deprecated.
    """

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        total = tensor.clone(memory_format=torch.contiguous_format)
        with _meeting():
            distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _AllReduce.forward(ctx, gradient)


ALONE = World()
_joined = ALONE


def join_process_group() -> World:
    """Join the processes that torchrun started; where it started no others, stay alone.

    Returns:
        What `process_group` returns from now on.

    Raises:
        RequestError: the environment does not say which processes they are.
    """
    global _joined
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    if "LOCAL_RANK" not in os.environ or os.environ.get("WORLD_SIZE", "1") == "1":
        return _joined
    for name in names:
        value = os.environ.get(name, "")
        if not value.isdecimal() or len(value) > 9:
            raise RequestError(f"{name}={value} in the environment: torchrun sets it to a number")
    world = World(*(int(os.environ[name]) for name in names))
    # Only gradients and what else lies on a device take NCCL.
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    distributed.init_process_group(backend, timeout=TIMEOUT)
    _joined = world
    return world


def process_group() -> World:
    """The processes that train one net: those that were joined, else this one alone."""
    return _joined


def leave_process_group() -> None:
    """Let go of the others, where all are done.

    Gloo's threads that outlive the interpreter may abort the process (pytorch/pytorch#179291).
    """
    if distributed.is_initialized():
        distributed.destroy_process_group()


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
