"""Data-parallel training as in Section 3.3: synchronous, each batch split between processes.

    torchrun --nproc_per_node=4 -m repro.run arch=D
    torchrun --nnodes=2 --nproc_per_node=8 --rdzv_backend=c10d --rdzv_endpoint=HOST:29500 \\
        -m repro.run arch=D size=paper data=imagenet

Each process computes its own rows of every batch, the gradients are summed, and all take the same
step. Crops are drawn by image and dropout by the row in the batch, so the sum is what one process
would compute, but for rounding. The first process alone reads the store and writes.

Processes meet in the same places in the same order. One that fails leaves with a line; the others
fail where they meet next, and torchrun ends them all.
"""

import io
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn, optim

from repro.errors import RequestError, RunError
from repro.run.interruption import STATUS, Interrupted, Stop

TIMEOUT = timedelta(days=30)
"""The others wait for as long as the first process waits for a run that someone else holds."""
GRACE = 5.0
"""Seconds after which a process that failed speaks: had the first one spoken, torchrun would have
ended this one by then."""

BUCKET = 25 * 2**20
"""Bytes of gradients that travel in one message, at most, but for a single large weight."""

T = TypeVar("T")


@dataclass(frozen=True)
class World:
    """The processes that train one net, and which of them this is; usually it is alone."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    """Its number on this host."""
    local_size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process reads the store, writes and speaks."""
        return self.rank == 0

    def rows(self, total: int) -> slice:
        """This process's rows of a batch of `total` images; none where there are too few."""
        return slice(total * self.rank // self.size, total * (self.rank + 1) // self.size)

    def all_gather(self, make: Callable[[], T]) -> list[T]:
        """A list, in all processes, of one thing made by each; `Interrupted` in all, if in one."""
        if self.size == 1:
            return [make()]
        try:
            made: tuple[T] | None = (make(),)
        except Interrupted:
            made = None
        values: list[Any] = [None] * self.size
        with _meeting():
            distributed.all_gather_object(values, made)
        if None in values:
            raise Interrupted
        return [value for (value,) in values]

    def check_stop(self, stop: Stop) -> None:
        """Raise `Interrupted` in all processes where one was asked to stop."""
        self.all_gather(stop.check)

    def decided_by_first(self, decide: Callable[[], T]) -> T:
        """The first process's decision, in all of them."""
        if self.size == 1:
            return decide()
        values: list[Any] = [decide() if self.is_first else None]
        with _meeting():
            distributed.broadcast_object_list(values)
        found: T = values[0]
        return found

    def host_first(self, make: Callable[[], T]) -> T:
        """A thing that each process makes, the first one of each host before the others."""
        early = [] if self.local_rank else [make()]
        self.all_gather(lambda: None)
        return early[0] if early else make()

    def broadcast_state(self, *parts: nn.Module | optim.Optimizer) -> None:
        """Give `parts` the state that they have in the first process."""
        for part in parts if self.size > 1 else ():
            buffer = io.BytesIO()
            torch.save(part.state_dict(), buffer)
            content = self.decided_by_first(buffer.getvalue)
            if not self.is_first:
                # By way of the processor: it names the first one's device.
                part.load_state_dict(torch.load(io.BytesIO(content), "cpu", weights_only=True))

    def check_same_run(self, identity: str) -> None:
        """Refuse, in all processes, to go on where they mean different runs: nets would mix."""
        found = dict.fromkeys(self.all_gather(lambda: identity))
        if len(found) > 1:
            said = f"the processes mean different runs ({', '.join(found)})"
            raise RunError(f"{said}: give all hosts the same program and the same data")


class SummedGradients:
    """The gradients of weights, summed over the processes while the backward pass goes on.

    They travel in buckets, from the last layer's to the first's. torch's DistributedDataParallel
    rearranges its buckets after the first step; with three or more processes the rounding of a sum
    depends on these, and an interrupted run would not go on bit for bit.
    """

    def __init__(self, world: World, weights: Sequence[Tensor]) -> None:
        self.world, self.buckets, self.hooks, room = world, list[list[Tensor]](), list[Any](), 0
        for weight in reversed(weights):
            if weight.nbytes > room:
                self.buckets.append([])
                room = BUCKET
            room -= weight.nbytes
            self.buckets[-1].append(weight)
            if world.size > 1:
                made = partial(self._made, len(self.buckets) - 1)
                hook = weight.register_post_accumulate_grad_hook(made)  # type: ignore[no-untyped-call]
                self.hooks.append(hook)
        self.awaited: list[int] = []
        """Gradients that the backward passes still have to make, by bucket."""
        self.sent: list[tuple[list[Tensor], Tensor, distributed.Work]] = []

    def begin(self, passes: int) -> None:
        """Expect so many backward passes, whose gradients add up to a step's."""
        self.awaited = [passes * len(bucket) for bucket in self.buckets]

    def _made(self, bucket: int, weight: Tensor) -> None:
        self.awaited[bucket] -= 1
        # The last one waits for what goes with it.
        while len(self.sent) < len(self.buckets) - 1 and not self.awaited[len(self.sent)]:
            self._send()

    def _send(self, *more: Tensor) -> None:
        grads = (weight.grad for weight in self.buckets[len(self.sent)])
        tensors = [*(grad for grad in grads if grad is not None), *more]
        # A large one is not copied.
        alone = len(tensors) == 1 and tensors[0].is_contiguous()
        total = tensors[0] if alone else torch.cat([tensor.reshape(-1) for tensor in tensors])
        with _meeting():
            work = distributed.all_reduce(total, async_op=True)
        assert work is not None
        self.sent.append((tensors, total, work))

    def finish(self, numbers: Tensor) -> None:
        """Replace all gradients, and `numbers`, by their sums."""
        if self.world.size == 1:
            return
        while len(self.sent) < len(self.buckets) - 1:
            self._send()
        self._send(numbers)
        for tensors, total, work in self.sent:
            with _meeting():
                work.wait()
            if total is not tensors[0]:
                parts = torch.split(total, [tensor.numel() for tensor in tensors])
                for tensor, part in zip(tensors, parts, strict=True):
                    tensor.copy_(part.view(tensor.shape))
        self.sent.clear()

    def close(self) -> None:
        """Leave the weights alone, and so let their memory go."""
        for hook in self.hooks:
            hook.remove()


class AllReduce(torch.autograd.Function):
    """A sum over the processes. The loss is one too, so gradients are summed likewise."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:  # noqa: D102
        total = tensor.clone(memory_format=torch.contiguous_format)
        with _meeting():
            distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # noqa: D102
        return AllReduce.forward(ctx, gradient)


@contextmanager
def _meeting() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        # After the place in torch's source.
        reason = re.sub(r"^\[.*?\] *", "", str(error).splitlines()[0])
        said = f"another process of this run ended ({reason})"
        raise RunError(f"{said}; the same command goes on") from error


ALONE = World()
_joined = ALONE


def process_group() -> World:
    """The processes that train one net: those that were joined, else this one alone."""
    return _joined


def _join() -> World:
    """Join the processes that torchrun started; where it started no others, stay alone."""
    global _joined
    if os.environ.get("WORLD_SIZE", "1") == "1":
        return _joined
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    try:
        numbers = [int(os.environ[name]) for name in names]
    except (KeyError, ValueError) as error:
        raise RequestError(f"{error}: expected {', '.join(names)} as torchrun sets them") from None
    # Only gradients and what else lies on a device take NCCL.
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    with _meeting():
        distributed.init_process_group(backend, timeout=TIMEOUT)
    _joined = World(*numbers)
    return _joined


def in_every_process(command: Callable[[], int]) -> int:
    """The exit status of a command given in each of torchrun's processes; the first one speaks."""
    try:
        world = _join()
        with ExitStack() as aside:
            said = io.StringIO()
            if not world.is_first:
                aside.enter_context(redirect_stdout(io.StringIO()))
                aside.enter_context(redirect_stderr(said))
            status = command()
        if status in (0, 1):
            status = world.decided_by_first(lambda: status)
            said = io.StringIO()
    except SystemExit as end:
        status = int(end.code or 0)
    except (RequestError, RunError) as error:
        print(error, file=sys.stderr)
        return _leave(2 if isinstance(error, RequestError) else 1)
    if said.getvalue() and status != STATUS:
        time.sleep(GRACE)
        print(said.getvalue(), end="", file=sys.stderr)
    # To those that leave last torchrun sends a signal, which would become their status.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    return _leave(status)


def _leave(status: int) -> int:
    """The status where this process is alone; else end it at once: Gloo's threads may abort it."""
    if distributed.is_initialized():
        if status in (0, STATUS):
            distributed.destroy_process_group()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    return status
