"""Caffe's `.caffemodel`: the authors' own release (`VGG_ILSVRC_16_layers.caffemodel`).

A protobuf of which few fields are read; their numbers are those of Caffe's `caffe.proto`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from repro.errors import RequestError
from repro.weights.convention import CAFFE
from repro.weights.found import Found, Layer, tensor
from repro.weights.wire import Budget, Message

CONVOLUTION = ("4", "Convolution")
INNER_PRODUCT = ("14", "InnerProduct")
"""The two types of layer that have weights: V1LayerParameter's number, LayerParameter's name."""
DATA, SHAPE, DIM, SIDES = 5, 7, 1, (1, 2, 3, 4)
"""Of a blob: its numbers, its shape and the shape's sides; older files give four sides."""


@dataclass(frozen=True)
class Kind:
    """A message of a layer: its field in the net, and its own fields."""

    field: int
    name: int
    type: int
    blobs: int


V1_LAYER = Kind(field=2, name=4, type=5, blobs=6)
LAYER = Kind(field=100, name=1, type=2, blobs=7)


def read(path: Path) -> Found:
    """The convolutions and inner products of a trained net, in the file's order.

    Raises:
        RequestError: a layer with weights is of another type, or a blob is not whole.
        ValueError: the file is damaged, or has more messages than any of these nets.
    """
    net = Message(memoryview(path.read_bytes()), Budget())
    layers = [
        _layer(part, kind)
        for kind in (V1_LAYER, LAYER)
        for part in net.messages(kind.field)
        if part.has(kind.blobs)
    ]
    return Found("Caffe", tuple(layers), CAFFE)


def _layer(part: Message, kind: Kind) -> Layer:
    name = part.text(kind.name)
    written = str(part.integer(kind.type)) if kind is V1_LAYER else part.text(kind.type)
    blobs = [_blob(blob, name) for blob in part.messages(kind.blobs)]
    if written not in CONVOLUTION + INNER_PRODUCT or len(blobs) > 2:
        raise RequestError(
            f"its layer {name} has weights and is of type {written}: expected Convolution and "
            "InnerProduct layers only"
        )
    weight = blobs[0]
    if written in INNER_PRODUCT:
        # Older files write it as (1, 1, out, in).
        weight = weight.reshape(weight.shape[-2:])
    return Layer(name, weight, blobs[1].flatten() if len(blobs) == 2 else None)


def _blob(blob: Message, layer: str) -> Tensor:
    if blob.has(SHAPE):
        shape = blob.message(SHAPE).integers(DIM)
    else:
        shape = [blob.integer(side) for side in SIDES]
    data = blob.data(DATA)
    whole = 0 < len(shape) <= 4 and min(shape) > 0
    if not whole or len(data) != 4 * math.prod(shape):
        sides = " x ".join(map(str, shape[:5]))
        raise RequestError(
            f"its layer {layer} has a blob of {sides} with {len(data)} bytes: expected 4 for each "
            "number, packed"
        )
    return tensor(np.frombuffer(data, "<f4")).reshape(shape)
