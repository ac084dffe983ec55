"""What a file of weights holds, whatever its format."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import torch
from numpy.typing import NDArray
from torch import Tensor

from repro.errors import RequestError
from repro.weights.convention import Convention

LARGEST = 4 * 2**30
"""Bytes of a file and of what it unpacks to, as a checkpoint of E with its optimiser may have."""


class Weights(NamedTuple):
    """What a file of weights holds. Tensors may be views of the file: copy before writing."""

    tensors: dict[str, Tensor]
    """A reader's: by the file's names, in the order in which the net applies them: of each layer
    weight, bias, then those of a batch normalisation (weight, bias, running_mean, running_var), the
    axes in our order. `read`'s: our net's state dict, float32, all finite."""
    convention: Convention
    """The input that the net wants; it is not folded into the weights."""
    format: str
    """What wrote the file: `Caffe`, `Keras`, `torchvision`, ..."""
    classes: tuple[str, ...] | None = None
    """Names of the classes in the order of the scores; None: the file has none."""
    doubt: str = ""
    """Why the convention may be another: it has to be said."""
    channels_last: bool = False
    """Whether the map was flattened with its channels last for the first FC layer."""


def tensor(array: NDArray[Any]) -> Tensor:
    """A tensor that shares an array's memory; RequestError: its numbers are no floating-point."""
    if array.dtype.kind != "f":
        raise RequestError(f"its weights are of type {array.dtype}: expected floating-point ones")
    with warnings.catch_warnings():
        # That a view of a file may not be written to: a net copies it when it loads it.
        warnings.simplefilter("ignore")
        return torch.from_numpy(array.astype(array.dtype.newbyteorder("="), copy=False))
