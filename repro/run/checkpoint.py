"""Checkpoints: everything that an interrupted run needs to go on bit for bit where it was.

A checkpoint is one safetensors file: the net, the optimiser's state, and in its header the progress
of training as JSON with a digest. Two generations are kept: if one is damaged, the other is used.
"""

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn, optim

from repro.errors import RunError
from repro.run.device import caught_up
from repro.store.folder import Folder
from repro.store.runs import CHECKPOINTS

RUN = "run"
"""The key, beside the progress of training, of the name of the run."""
SHARE = 20
"""The next checkpoint comes no sooner than after this many times the seconds that writing the last
one took: a slow disk has little of a run's time."""


class Checkpoints:
    """The checkpoints of one training; each is written while training goes on."""

    def __init__(self, folder: Folder, seconds: float, say: Callable[[str], None]) -> None:
        """`seconds`: from one checkpoint's end to the next one's beginning, at least."""
        self.folder, self.seconds, self.say = folder, seconds, say
        self.count, self.next = 0, time.monotonic() + seconds
        self.written: Future[None] | None = None

    @property
    def due(self) -> bool:
        """Whether it is time for the next checkpoint."""
        return time.monotonic() >= self.next

    def save(self, net: nn.Module, optimiser: optim.Optimizer, progress: dict[str, Any]) -> None:
        """Copy what the next checkpoint holds; it is then written over the older generation."""
        # What failed was said, and is tried again: a full disk may have room by now.
        with suppress(RunError) if self.folder.path.is_dir() else nullcontext():
            self.wait()
        began, self.next = time.monotonic(), math.inf
        text = json.dumps(progress | {RUN: self.folder.path.name})
        tensors, name = _copies(net, optimiser), CHECKPOINTS[self.count]
        copied = caught_up(next(net.parameters()).device)

        def write() -> None:
            try:
                copied()
                header = {"place": text, "digest": _digest(tensors, text)}
                self.folder.write(name, _parts(tensors, header))
            except RunError as error:
                self.say(f"{error}; this checkpoint is not saved")
                raise
            finally:
                ended = time.monotonic()
                self.next = ended + max(self.seconds, SHARE * (ended - began))

        writer = ThreadPoolExecutor(1)
        self.written = writer.submit(write)
        writer.shutdown(wait=False)
        self.count = 1 - self.count

    def wait(self) -> None:
        """Return when the last checkpoint is on the disk; a RunError says that it cannot be."""
        if self.written is not None:
            self.written.result()

    def load(self, net: nn.Module, optimiser: optim.Optimizer) -> dict[str, Any] | None:
        """Load the newest whole checkpoint; the progress of training, None: there is none.

        A RunError says that there is one, and it cannot be read: it may be whole.
        """
        found, unread = [], None
        for generation, name in enumerate(CHECKPOINTS):
            try:
                tensors, progress = self._read(name)
                _check_fit(tensors, net, optimiser)
                found.append((progress["epoch"], progress["iteration"], generation))
            except FileNotFoundError:
                continue
            except OSError as error:
                why = f"cannot be read, it may be whole: {error.strerror}"
                unread = RunError(f"{self.folder.path / name} {why}")
            except (SafetensorError, ValueError, TypeError, LookupError) as error:
                self.say(f"{self.folder.path / name} is damaged ({error}): not used")
        if unread and not found:
            raise unread
        if not found:
            return None
        newest = max(found)[2]
        self.count = 1 - newest
        tensors, progress = self._read(CHECKPOINTS[newest])
        _restore(tensors, net, optimiser)
        return progress

    def _read(self, name: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors, progress = _read(self.folder.path / name)
        # Older ones do not say.
        if (run := progress.pop(RUN, self.folder.path.name)) != self.folder.path.name:
            raise ValueError(f"it is of {str(run)[:200]}")
        return tensors, progress


def _digest(tensors: dict[str, Tensor], progress: str) -> str:
    total = hashlib.sha256(progress.encode())
    for name in sorted(tensors):
        total.update(name.encode())
        total.update(_bytes(tensors[name]))
    return total.hexdigest()


def _bytes(tensor: Tensor) -> memoryview:
    return tensor.contiguous().view(torch.uint8).numpy().data


def _parts(tensors: dict[str, Tensor], metadata: dict[str, str]) -> Iterator[bytes | memoryview]:
    """A safetensors file part by part, from the tensors' own memory.

    The library's `save` copies all of it while training stands still; its `save_file` writes under
    a name and with rights of its own, and its errors have no number.
    """
    header: dict[str, Any] = {"__metadata__": metadata}
    # Wide numbers first: so each lies at a multiple of its size.
    names, end = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name)), 0
    for name in names:
        tensor, begin = tensors[name], end
        end += tensor.nbytes
        kind = f"{'F' if tensor.is_floating_point() else 'I'}{8 * tensor.element_size()}"
        header[name] = {"dtype": kind, "shape": [*tensor.shape], "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little") + text
    yield from (_bytes(tensors[name]) for name in names)


def _copies(net: nn.Module, optimiser: optim.Optimizer) -> dict[str, Tensor]:
    """All that is to be written, in plain layout whatever memory format is in use.

    A CUDA device copies in the order of its work, into memory that torch pins and keeps for the
    next time: the weights may change at once, the copies may be read when it has caught up.
    """
    tensors = {f"net.{name}": tensor for name, tensor in net.state_dict().items()}
    for index, state in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{index}.{key}": torch.as_tensor(v) for key, v in state.items()}
    plain: Any = {"memory_format": torch.contiguous_format}
    copies = {
        name: tensor.detach().to("cpu", non_blocking=tensor.is_cuda, copy=True, **plain)
        for name, tensor in tensors.items()
    }
    return {name: t.reshape(1) if t.dim() == 0 else t for name, t in copies.items()}


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    # Not mapped: under a mapped file a network file system or another host may change the pages.
    content = path.read_bytes()
    tensors = load(content)
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length]).get("__metadata__", {})
    if header.get("digest") != _digest(tensors, header.get("place", "")):
        raise ValueError("its digest is wrong")
    return tensors, json.loads(header["place"])


def _parameters(optimiser: optim.Optimizer) -> list[Tensor]:
    return [weight for group in optimiser.param_groups for weight in group["params"]]


def _check_fit(tensors: dict[str, Tensor], net: nn.Module, optimiser: optim.Optimizer) -> None:
    """Refuse, with a ValueError, the tensors of another net or of another optimiser."""
    # What has no dimensions is kept with one.
    shapes = {f"net.{name}": tuple(t.shape) or (1,) for name, t in net.state_dict().items()}
    found = {name: tuple(t.shape) for name, t in tensors.items() if name.startswith("net.")}
    if found != shapes:
        raise ValueError("it is of another net")
    for name in tensors.keys() - shapes.keys():
        kind, index, _ = name.split(".", 2)
        if kind != "optimiser" or int(index) < 0:
            raise ValueError(f"it holds {name}")
        tensor, weight = tensors[name], _parameters(optimiser)[int(index)]
        if tensor.numel() != 1 and tensor.shape != weight.shape:
            raise ValueError("it is of another optimiser")


def _restore(tensors: dict[str, Tensor], net: nn.Module, optimiser: optim.Optimizer) -> None:
    weights = {
        name: tensors[f"net.{name}"].reshape(t.shape) for name, t in net.state_dict().items()
    }
    net.load_state_dict(weights)
    parameters = _parameters(optimiser)
    states: dict[int, dict[str, Tensor]] = {}
    for name in tensors.keys() - {f"net.{name}" for name in weights}:
        _, index, key = name.split(".", 2)
        tensor, weight = tensors[name], parameters[int(index)]
        if key != "step" and tensor.shape == weight.shape:
            # In the weight's memory format: sums round otherwise where the two differ.
            value = torch.empty_like(weight, device="cpu").copy_(tensor)
        else:
            # Adam counts its steps in a tensor without dimensions.
            value = tensor.reshape(())
        states.setdefault(int(index), {})[key] = value.detach()
    optimiser.load_state_dict(optimiser.state_dict() | {"state": states})
