"""The layers of a weight file, before anyone asks whether they are the wanted net."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from repro.errors import RequestError
from repro.weights.convention import Convention


@dataclass(frozen=True)
class Layer:
    """A weight layer of a file, its axes in our order. Tensors may be views of the file."""

    name: str
    """What the file calls it."""
    weight: Tensor
    """(out, in, h, w) of a convolution; (out, in) of an FC layer, or its form as a convolution."""
    bias: Tensor | None = None
    norm: Mapping[str, Tensor] = field(default_factory=dict)
    """The batch normalisation after it: weight, bias, running_mean, running_var, each (out,)."""
    rows: str = "CHW"
    """Order in which the map was flattened for the first FC layer: `CHW` (ours) or `HWC`."""


@dataclass(frozen=True)
class Contents:
    """The layers of a file in the order in which the net applies them."""

    format: str
    layers: tuple[Layer, ...]
    convention: Convention | None
    """The input that the net wants; None: the file does not tell."""
    doubt: str = "nothing tells what input it wants"
    """Why the convention is None."""
    classes: tuple[str, ...] | None = None
    """Names of the classes in the order of the scores; None: the file has none."""


def tensor(array: NDArray[Any]) -> Tensor:
    """A tensor that shares the memory of an array.

    Raises:
        RequestError: the array's numbers are no floating-point numbers.
    """
    if array.dtype.kind != "f":
        raise RequestError(f"its weights are of type {array.dtype}: expected floating-point ones")
    native = array.astype(array.dtype.newbyteorder("="), copy=False)
    with warnings.catch_warnings():
        # That a view of a file may not be written to: a net copies it when it loads it.
        warnings.simplefilter("ignore")
        return torch.from_numpy(native)


def library(name: str, package: str, extra: str) -> Any:
    """A module that only one format needs, which not everyone has installed.

    Raises:
        RequestError: it is missing; with the command that installs it.
    """
    try:
        return importlib.import_module(name)
    except ImportError:
        raise RequestError(
            f"this format needs the package {package}: pip install 'vgg-repro[{extra}]'"
        ) from None
