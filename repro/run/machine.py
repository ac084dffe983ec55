"""What this machine cannot do is said before the work starts: too little memory, no compiler."""

from __future__ import annotations

import dataclasses
import os
import shutil
import sys
from importlib.util import find_spec

import torch

from repro.config.schema import EAGER
from repro.errors import RequestError
from repro.model.memory import training
from repro.run.request import Request
from repro.store.runs import RESULT


def check(request: Request, device: torch.device) -> None:
    """Refuse a request that no run on this machine could meet.

    Raises:
        RequestError: the net cannot be held in memory, or there is nothing to compile it with, or
            the device does not know its precision.
    """
    if request.published is not None:
        # It is only tested.
        return
    if device.type == "mps" and request.config.precision == "float64":
        raise RequestError("precision=float64 is not known to device=mps: take device=cpu")
    if request.config.compile != EAGER:
        check_compiler(request.config.compile, device)
    for member in request.lineage():
        # A net that is trained is only tested, which takes less.
        if not (member.folder / RESULT).is_file():
            check_memory(member, device, memory(device))


def check_memory(request: Request, device: torch.device, there: int | None) -> None:
    """Refuse a net whose training cannot be held in memory, whatever the batch.

    It is an estimate from below: what libraries take beside it is not counted, nor are the
    activations of more than one image.

    Args:
        request: the run.
        device: where it would train.
        there: bytes of memory that the device has; None: not known.

    Raises:
        RequestError: with both numbers.
    """
    config = request.config
    one = dataclasses.replace(config.recipe, batch=1)
    held = training(request.net, one, config.precision, config.finetune)
    if there is None or max(held.state, held.activations) <= there:
        return
    raise RequestError(
        f"arch={config.arch.name} at size={config.size.name} cannot be trained on {device}: it "
        f"holds {_gigabytes(held.state)} for weights, gradients and optimiser and "
        f"{_gigabytes(held.activations)} for the activations of one image, and there are "
        f"{_gigabytes(there)} of memory: take a smaller net, size.width or size.crop"
    )


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:,.1f} GB"


def memory(device: torch.device) -> int | None:
    """Bytes of memory that a device has, or None where that cannot be found out."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        # Windows has no such question.
        return None


def check_compiler(mode: str, device: torch.device) -> None:
    """Refuse `compile=` where what torch compiles with is absent.

    On a CPU that is a C++ compiler, on a CUDA device Triton and a C compiler.

    Raises:
        RequestError: with what is absent.
    """
    if device.type == "cuda":
        if find_spec("triton") is None:
            raise RequestError(f"compile={mode} needs Triton, which is not here: {_OTHERWISE}")
        names = [os.environ.get("CC", ""), "gcc", "clang", "cc"]
    elif device.type == "cpu":
        usual = {"darwin": "clang++", "win32": "cl"}.get(sys.platform, "g++")
        names = [os.environ.get("CXX", usual)]
    else:
        return
    # `CXX` may hold options too.
    if not any(shutil.which(name.split()[0]) for name in names if name.strip()):
        wanted = " or ".join(filter(None, names))
        raise RequestError(f"compile={mode} needs a compiler, {wanted}: {_OTHERWISE}")


_OTHERWISE = "install it, or leave compile= out"
