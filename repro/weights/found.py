"""What a reader finds in a weight file, before anyone asks whether it is the wanted net."""

from __future__ import annotations

import importlib
import warnings
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from repro.errors import RequestError
from repro.weights.convention import Convention


@dataclass(frozen=True)
class Norm:
    """Batch normalisation after a convolution; each (channels,)."""

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor


@dataclass(frozen=True)
class Layer:
    """A weight layer as the file has it, its axes brought into our order."""

    name: str
    """What the file calls it."""
    weight: Tensor
    """(out, in, h, w) of a convolution; (out, in) of an FC layer, or its form as a convolution. It
    may be a view of the file."""
    bias: Tensor | None
    norm: Norm | None = None
    rows: str = "CHW"
    """Order in which the map was flattened for the first FC layer: `CHW` (ours) or `HWC`."""


@dataclass(frozen=True)
class Found:
    """The layers of a file in the order in which the net applies them."""

    format: str
    layers: tuple[Layer, ...]
    convention: Convention | None
    """What input the net wants; None: nothing in the file tells."""
    classes: tuple[str, ...] | None = None
    """Names of the classes in the order of the scores; None: the file has none."""
    operations: tuple[str, ...] | None = None
    """All operations in order, in the words of `repro.weights.operations`; None: the file does
    not tell."""


def tensor(array: NDArray[Any]) -> Tensor:
    """An array of a file as a tensor; it shares its memory.

    Raises:
        RequestError: its numbers are no floating-point numbers.
    """
    if array.dtype.kind != "f":
        raise RequestError(f"its weights are of type {array.dtype}: expected floating-point ones")
    native = array.astype(array.dtype.newbyteorder("="), copy=False)
    with warnings.catch_warnings():
        # That a view of a file may not be written to: a net copies it when it loads it.
        warnings.simplefilter("ignore")
        return torch.from_numpy(native)


def library(name: str, package: str, extra: str) -> Any:
    """A reader's library, which not everyone has installed.

    Raises:
        RequestError: it is missing; with the command that installs it.
    """
    try:
        return importlib.import_module(name)
    except ImportError:
        raise RequestError(
            f"this format needs the package {package}: pip install 'vgg-repro[{extra}]'"
        ) from None
