"""Which device a run takes, and how a net and its batches come to lie there."""

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from repro.config.schema import EAGER, Config
from repro.errors import RequestError
from repro.model.vgg import Dropout
from repro.run.distributed import ALONE, World
from repro.store.leases import first_free

Batch = tuple[Tensor, Tensor, Tensor]
FREED_STAYS = {-3: 2**25, -1: 2**31 - 1}
FREED_GOES = {-3: 2**17, -1: 2**17}
"""Bytes by glibc's M_MMAP_THRESHOLD and M_TRIM_THRESHOLD: kept up to there; its defaults."""


def pick(name: str, world: World = ALONE) -> torch.device:
    """The device that `device=` names; `auto` takes a CUDA device, else MPS, else the CPU.

    Of the processes that train one net, each takes the CUDA device of its number. A RequestError
    says that there is no such device here, or not one for each process.
    """
    devices, mps = _cuda_devices(), torch.backends.mps.is_available()
    if name == "auto":
        name = "cuda" if devices else "mps" if mps and world.size == 1 else "cpu"
    present = {"cpu": 1, "cuda": devices, "mps": int(mps)}
    try:
        chosen = torch.device(name)
    except RuntimeError:
        chosen = None
    if chosen is None or (chosen.index or 0) >= present.get(chosen.type, 0):
        here = ", ".join(kind for kind, count in present.items() if count)
        raise RequestError(f"device={name} is not on this machine: it has {here}")
    if world.size == 1 or name == "cpu":
        return chosen
    if name != "cuda":
        said = f"device={name} is one device for {world.size} processes"
        raise RequestError(f"{said}: take device=cuda or device=cpu")
    if world.local_size > devices:
        said = f"{world.local_size} processes are here and {devices} CUDA devices"
        raise RequestError(f"{said}: take --nproc_per_node={devices}, or device=cpu")
    return torch.device("cuda", world.local_rank)


def _cuda_devices() -> int:
    """How many CUDA devices torch can use: the driver counts cards too for which it is too old."""
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


@contextmanager
def reserved(
    chosen: torch.device,
    store: Path,
    say: Callable[[str], None],
    check: Callable[[], None] = lambda: None,
) -> Iterator[torch.device]:
    """The first of several CUDA devices that no other run of the store is on, for one run.

    `cuda` without a number is any of them. Where all are taken this process waits with a line that
    `say` prints, and calls `check`, which may raise.
    """
    devices = _cuda_devices() if chosen.type == "cuda" else 0
    if chosen.index is not None or devices < 2:
        if chosen.index is not None and devices:
            torch.cuda.set_device(chosen)
        yield chosen
        return
    # Numbers differ between processes that are shown different devices.
    names = [f"gpu-{torch.cuda.get_device_properties(n).uuid}" for n in range(devices)]

    def waits() -> None:
        say(f"all {devices} CUDA devices are taken; waiting (device=cuda:0 would share one)")

    with first_free(store, names, waits=waits, check=check) as held:
        torch.cuda.set_device(held.index)
        try:
            yield torch.device("cuda", held.index)
        finally:
            # A worker of a sweep lives on, and another run takes the device.
            torch.cuda.empty_cache()


def dtype_of(config: Config) -> torch.dtype:
    """The type of a net's weights and maps; bf16 and tf32 are those of its products alone."""
    return torch.float64 if config.precision == "float64" else torch.float32


def memory_format(config: Config, device: torch.device) -> torch.memory_format:
    """How maps lie in memory: channels last, or one channel after another.

    `channels_last=auto` takes the first but on a CUDA device in full precision, where it is slower.
    Results differ in rounding.
    """
    last = config.channels_last.lower()
    if last == "auto":
        fast = device.type != "cuda" or config.precision in ("bf16", "tf32")
        last = "true" if fast else "false"
    return torch.channels_last if last == "true" else torch.contiguous_format


def uploaded(
    batches: Iterator[Batch], device: torch.device, stream: torch.cuda.Stream | None
) -> Iterator[Batch]:
    """The batches on a CUDA device, each sent while that computes the one before.

    Without a `stream` they stay in the processor's memory.
    """
    if stream is None:
        yield from batches
        return
    sent: list[tuple[Batch, torch.cuda.Event]] = []
    for batch in batches:
        # From pinned memory a copy runs beside the processor and beside the device's own work.
        pinned = [part if part.is_cuda else part.pin_memory() for part in batch]
        with torch.cuda.stream(stream):
            images, shift, labels = (part.to(device, non_blocking=True) for part in pinned)
        sent.append(((images, shift, labels), stream.record_event()))
        if len(sent) > 1:
            yield _ready(*sent.pop(0))
    for last in sent:
        yield _ready(*last)


def _ready(batch: Batch, arrived: torch.cuda.Event) -> Batch:
    """A batch that the device's current stream may use, which waits for no later one."""
    current = torch.cuda.current_stream(batch[0].device)
    current.wait_event(arrived)
    for part in batch:
        # Or its memory could be given away while the current stream reads it.
        part.record_stream(current)
    return batch


def compiled(net: nn.Module, mode: str) -> Callable[[Tensor], Tensor]:
    """A function for a net's scores: the net itself, or compiled by one of torch's modes."""
    if mode == EAGER:
        return net
    # Else the graphs of earlier nets count towards torch's limit, beyond which nothing is compiled.
    torch.compiler.reset()
    for part in net.modules():
        if isinstance(part, Dropout):
            # Else its masks would be the compiler's own, not those of a run that goes on without.
            eager = torch.compiler.disable(part.forward)  # type: ignore[no-untyped-call]
            part.forward = eager  # type: ignore[method-assign]
    # The last batch of an epoch has a size, and a graph, of its own.
    found: Callable[[Tensor], Tensor] = torch.compile(net, mode=mode, dynamic=False)
    return found


@contextmanager
def torch_settings(config: Config) -> Iterator[None]:
    """Threads, precision, algorithms, tiny numbers, memory: set for one run, then put back.

    Activations of small deep nets fall below the smallest normal number, where a CPU is slow.
    cuDNN takes reproducible algorithms and tries out none, since the fastest changes between
    trials, unless the configuration says `fast`.
    """
    threads, cudnn = torch.get_num_threads(), torch.backends.cudnn
    before = cudnn.deterministic, cudnn.benchmark
    torch.set_num_threads(config.threads)
    torch.set_flush_denormal(True)
    cudnn.deterministic, cudnn.benchmark = not config.fast, config.fast
    _tell_malloc(FREED_STAYS)
    try:
        with computing_in(config.precision):
            yield
    finally:
        _tell_malloc(FREED_GOES)
        torch.set_num_threads(threads)
        torch.set_flush_denormal(False)
        cudnn.deterministic, cudnn.benchmark = before


def _tell_malloc(options: dict[int, int]) -> None:
    """Set what glibc does with freed memory; a CPU trains a sixth faster where it is kept.

    Else the system clears as many pages anew for each step.
    """
    with suppress(AttributeError, OSError, TypeError):
        for option, value in options.items():
            ctypes.CDLL(None).mallopt(option, value)


@contextmanager
def computing_in(precision: str) -> Iterator[None]:
    """Products of float32 numbers as they are, or in tf32, for a while."""
    try:
        before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    except RuntimeError:
        # The caller chose by torch's newer names, which do not mix with the older ones.
        with _newly_computing_in(precision):
            yield
        return
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    torch.backends.cudnn.allow_tf32 = precision == "tf32"
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]


@contextmanager
def _newly_computing_in(precision: str) -> Iterator[None]:
    cudnn: Any = torch.backends.cudnn
    products = torch.backends.cuda.matmul, cudnn.conv
    before = [one.fp32_precision for one in products]
    for one in products:
        one.fp32_precision = "tf32" if precision == "tf32" else "ieee"
    try:
        yield
    finally:
        for one, own in zip(products, before, strict=True):
            one.fp32_precision = own


def sent_back(tensor: Tensor) -> Callable[[], list[float]]:
    """Begin to copy a tensor to the processor; the numbers, whenever they are asked for.

    A CUDA device's own queue is in order: asked late, it would first do all that came after.
    """
    if not tensor.is_cuda:
        return tensor.tolist
    copy, copied = tensor.to("cpu", non_blocking=True), caught_up(tensor.device)

    def numbers() -> list[float]:
        copied()
        return copy.tolist()

    return numbers


def caught_up(device: torch.device) -> Callable[[], None]:
    """A function that returns when a device has done all that it was given before this call.

    Devices other than CUDA's are taken to have done it.
    """
    if device.type != "cuda":
        return lambda: None
    # It sleeps: a waiting thread would take a core from those that decode.
    done = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
    done.record(torch.cuda.current_stream(device))

    def wait() -> None:
        # A new thread would take the first device, and memory there.
        with torch.cuda.device(device):
            done.synchronize()

    return wait
