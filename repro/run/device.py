"""Which device a run takes, and what torch keeps for the whole process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from repro.config.schema import Config
from repro.errors import RequestError
from repro.run.distributed import ALONE, World
from repro.store.leases import first_free

OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "ALLOC_FAILED")
"""How CUDA, MPS, the CPU and the libraries behind them say that memory is exhausted."""


def pick(name: str, world: World = ALONE) -> torch.device:
    """The device that `device=` names; `auto` takes a CUDA device, else MPS, else the CPU.

    Raises:
        RequestError: there is no such device here, or not one for each process.
    """
    if world.size > 1:
        return _own_device(name, world)
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        chosen = torch.device(name)
    except RuntimeError:
        chosen = None
    present = {
        "cpu": 1,
        "cuda": torch.cuda.device_count(),
        "mps": int(torch.backends.mps.is_available()),
    }
    if chosen is None or (chosen.index or 0) >= present.get(chosen.type, 0):
        here = ", ".join(kind for kind, count in present.items() if count)
        raise RequestError(f"device={name} is not on this machine: it has {here}")
    return chosen


def _own_device(name: str, world: World) -> torch.device:
    """Of the processes that train one net, each takes the CUDA device of its number."""
    devices = torch.cuda.device_count()
    if name == "cpu" or (name == "auto" and not devices):
        return torch.device("cpu")
    if name not in ("auto", "cuda"):
        raise RequestError(
            f"device={name} is one device, and there are {world.size} processes: "
            "take device=cuda or device=cpu"
        )
    if world.local_size > devices:
        raise RequestError(
            f"{world.local_size} processes are on this machine, but {devices} CUDA devices: "
            f"take torchrun --nproc_per_node={devices}, or device=cpu"
            if devices
            else f"device={name} is not on this machine: it has cpu"
        )
    return torch.device("cuda", world.local_rank)


@contextmanager
def reserved(
    chosen: torch.device,
    store: Path,
    say: Callable[[str], None],
    check: Callable[[], None] = lambda: None,
) -> Iterator[torch.device]:
    """Of several CUDA devices the first one that no other run of the store is on, for one run.

    Args:
        chosen: a device; `cuda` without a number is any of them.
        store: whose runs are meant.
        say: prints a line, where all are taken and this process waits.
        check: called while it waits; may raise.
    """
    devices = torch.cuda.device_count() if chosen.type == "cuda" else 0
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
        yield torch.device("cuda", held.index)


def memory_format(config: Config, device: torch.device) -> torch.memory_format:
    """How maps lie in memory: channels last, or one channel after another.

    `channels_last=auto` takes the first but on a CUDA device in full precision, where it is slower.
    Results differ in rounding.
    """
    last = device.type != "cuda" or config.precision in ("bf16", "tf32")
    if config.channels_last.lower() != "auto":
        last = config.channels_last.lower() == "true"
    return torch.channels_last if last else torch.contiguous_format


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory is exhausted, of a device or of the machine."""
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(sign in str(error) for sign in OUT_OF_MEMORY)
    )


@contextmanager
def torch_settings(config: Config) -> Iterator[None]:
    """What torch keeps globally, set for one run and put back afterwards.

    These are threads, precision, cuDNN's choice of algorithms, and how very small numbers are
    treated: activations of small deep nets fall below the smallest normal number, where a CPU is
    slow. cuDNN takes reproducible algorithms only, and tries out none: the fastest of a trial
    changes from time to time.
    """
    threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    fast = config.precision == "tf32"
    torch.set_num_threads(config.threads)
    torch.set_flush_denormal(True)
    torch.set_float32_matmul_precision("high" if fast else "highest")
    cudnn = torch.backends.cudnn
    chosen = {"allow_tf32": fast, "deterministic": True, "benchmark": False}
    before = {name: getattr(cudnn, name) for name in chosen}
    for name, value in chosen.items():
        setattr(cudnn, name, value)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_flush_denormal(False)
        torch.set_float32_matmul_precision(precision)
        for name, value in before.items():
            setattr(cudnn, name, value)
