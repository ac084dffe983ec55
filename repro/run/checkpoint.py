"""Checkpoints: everything that an interrupted run needs to go on bit for bit where it was.

A checkpoint is one safetensors file: the net, the optimiser's state, and in its header the progress
of training as JSON, together with a digest. Two generations are kept. A damaged one is noticed by
its digest, and the other is used. Randomness needs no state of its own: it is drawn anew for each
epoch and step from the seed.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn, optim

from repro.store.folder import Folder
from repro.store.runs import CHECKPOINTS

SHARE = 20
"""A checkpoint is followed by work of so many times its own duration: a slow disk has little of a
run's time, however often a checkpoint is asked for."""


class CheckpointTimer:
    """Says when the next checkpoint is due."""

    def __init__(self, seconds: float) -> None:
        """`seconds`: from one checkpoint's end to the next one's beginning, at least."""
        self.seconds = seconds
        self.next = time.monotonic() + seconds

    @property
    def due(self) -> bool:
        """Whether it is time for the next checkpoint."""
        return time.monotonic() >= self.next

    @contextmanager
    def saving(self) -> Iterator[None]:
        """Measure how long the block takes, which writes a checkpoint."""
        began = time.monotonic()
        yield
        ended = time.monotonic()
        self.next = ended + max(self.seconds, SHARE * (ended - began))


def _digest(tensors: dict[str, Tensor], progress: str) -> str:
    total = hashlib.sha256(progress.encode())
    for name in sorted(tensors):
        total.update(name.encode())
        total.update(tensors[name].contiguous().view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def _flatten(net: nn.Module, optimiser: optim.Optimizer) -> dict[str, Tensor]:
    tensors = {f"net.{name}": tensor for name, tensor in net.state_dict().items()}
    for index, state in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{index}.{key}": torch.as_tensor(v) for key, v in state.items()}
    # A copy in plain layout: bytes on disk do not depend on the memory format in use.
    return {
        name: tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }


def save_checkpoint(
    folder: Folder, net: nn.Module, optimiser: optim.Optimizer, progress: dict[str, Any], count: int
) -> None:
    """Write the `count`-th checkpoint of this process over the older of the two generations.

    Raises:
        RunError: the disk is full, or another process took the run over.
    """
    tensors = {
        name: t.reshape(1) if t.dim() == 0 else t for name, t in _flatten(net, optimiser).items()
    }
    text = json.dumps(progress)
    header = {"place": text, "digest": _digest(tensors, text)}
    folder.write(CHECKPOINTS[count % 2], save(tensors, metadata=header))


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    # Not mapped: under a mapped file a network file system or another host may change the pages.
    content = path.read_bytes()
    tensors = load(content)
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length]).get("__metadata__", {})
    if header.get("digest") != _digest(tensors, header.get("place", "")):
        raise ValueError("its digest is wrong")
    return tensors, json.loads(header["place"])


def load_checkpoint(
    folder: Path,
    net: nn.Module,
    optimiser: optim.Optimizer,
    say: Callable[[str], None],
    check: Callable[[dict[str, Any]], None] = lambda place: None,
) -> tuple[dict[str, Any], int] | None:
    """Load the newest whole checkpoint into `net` and `optimiser`.

    Args:
        folder: the run's.
        net: as training begins; unchanged where there is no checkpoint.
        optimiser: likewise.
        say: takes a line about a checkpoint that is not used.
        check: raises ValueError, TypeError or LookupError where training has no such place.

    Returns:
        The progress of training and the number of the next checkpoint; None where there is no
        checkpoint.
    """
    found = []
    for generation, name in enumerate(CHECKPOINTS):
        try:
            tensors, progress = _read(folder / name)
            order = (progress["epoch"], progress["iteration"])
            _check_fit(tensors, net, optimiser)
            check(progress)
        except FileNotFoundError:
            continue
        except (SafetensorError, ValueError, TypeError, LookupError, OSError) as error:
            say(f"{folder / name} is damaged ({error}): not used")
            continue
        found.append((order, generation, tensors, progress))
    if not found:
        return None
    _, generation, tensors, progress = max(found, key=lambda row: row[0])
    _restore(tensors, net, optimiser)
    return progress, generation + 1


def _check_fit(tensors: dict[str, Tensor], net: nn.Module, optimiser: optim.Optimizer) -> None:
    """Refuse, with a ValueError, the tensors of another net or of another optimiser."""
    # What has no dimensions is kept with one.
    shapes = {f"net.{name}": tuple(t.shape) or (1,) for name, t in net.state_dict().items()}
    found = {name: tuple(t.shape) for name, t in tensors.items() if name.startswith("net.")}
    if found != shapes:
        raise ValueError("it is of another net")
    parameters = [weight for group in optimiser.param_groups for weight in group["params"]]
    for name in tensors.keys() - shapes.keys():
        kind, index, _ = name.split(".", 2)
        if kind != "optimiser" or int(index) < 0:
            raise ValueError(f"it holds {name}")
        tensor, weight = tensors[name], parameters[int(index)]
        if tensor.numel() != 1 and tensor.shape != weight.shape:
            raise ValueError("it is of another optimiser")


def _restore(tensors: dict[str, Tensor], net: nn.Module, optimiser: optim.Optimizer) -> None:
    weights = {
        name.removeprefix("net."): tensor
        for name, tensor in tensors.items()
        if name.startswith("net.")
    }
    shapes = {name: value.shape for name, value in net.state_dict().items()}
    net.load_state_dict({name: value.reshape(shapes[name]) for name, value in weights.items()})
    parameters = [weight for group in optimiser.param_groups for weight in group["params"]]
    states: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimiser."):
            _, index, key = name.split(".", 2)
            weight = parameters[int(index)]
            if key != "step" and tensor.shape == weight.shape:
                # In the weight's memory format: sums round otherwise where the two differ.
                value = torch.empty_like(weight, device="cpu").copy_(tensor)
            else:
                # Adam counts its steps in a tensor without dimensions.
                value = tensor.reshape(())
            states.setdefault(int(index), {})[key] = value.detach()
    optimiser.load_state_dict(optimiser.state_dict() | {"state": states})
