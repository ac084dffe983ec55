"""What this machine cannot do is said before the work starts: too little memory, no compiler."""

from __future__ import annotations

import dataclasses
import os

import torch

from repro.errors import RequestError
from repro.model.cost import training_memory
from repro.run.request import Request
from repro.store.runs import RESULT


def check(request: Request, device: torch.device) -> None:
    """Refuse a request that no run on this machine could meet.

    Raises:
        RequestError: the net cannot be held in memory, or the device does not know its precision.
    """
    if request.published is not None:
        # It is only tested.
        return
    if device.type == "mps" and request.config.precision == "float64":
        raise RequestError("precision=float64 is not known to device=mps: take device=cpu")
    for member in request.lineage():
        # A net that is trained is only tested, which takes less.
        if not (member.folder / RESULT).is_file():
            check_memory(member, device, memory(device))


def check_memory(request: Request, device: torch.device, there: int | None) -> None:
    """Refuse a net whose training cannot be held in memory, whatever the batch.

    It is an estimate from below, of one image. `there` are the bytes of memory that the device
    has; None: not known.

    Raises:
        RequestError: with both numbers.
    """
    config = request.config
    one = dataclasses.replace(config.recipe, batch=1)
    held = training_memory(request.net, one, config.precision, config.finetune)
    if there is None or max(held.state, held.activations) <= there:
        return
    state, activations, have = (f"{n / 1e9:,.1f} GB" for n in (held.state, held.activations, there))
    raise RequestError(
        f"arch={config.arch.name} at size={config.size.name} cannot be trained on {device}: it "
        f"holds {state} for weights, gradients and optimiser and {activations} for the activations "
        f"of one image, and there are {have} of memory: take a smaller net, size.width or size.crop"
    )


def memory(device: torch.device) -> int | None:
    """Bytes of memory that a device has, or None where that cannot be found out."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        # Windows has no such question.
        return None
