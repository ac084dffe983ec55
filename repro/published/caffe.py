"""Caffe's `.caffemodel`: the authors' own release (`VGG_ILSVRC_16_layers.caffemodel`).

A protobuf of which few fields are read. The messages are described here, at run time, with `data`
as bytes: numpy then reads a layer's numbers at once, where a field of repeated floats takes
protobuf's older versions ten times as long.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from repro.errors import RequestError
from repro.published.convention import CAFFE
from repro.published.found import Found, Layer, library, tensor

CONVOLUTION = (4, b"Convolution")
INNER_PRODUCT = (14, b"InnerProduct")
"""The two types of layer that have weights: V1LayerParameter's number, LayerParameter's name."""

# Message -> field -> (number, type, whether there are several). Text is read as bytes.
MESSAGES: dict[str, dict[str, tuple[int, str, bool]]] = {
    "BlobShape": {"dim": (1, "INT64", True)},
    "BlobProto": {
        "num": (1, "INT32", False),
        "channels": (2, "INT32", False),
        "height": (3, "INT32", False),
        "width": (4, "INT32", False),
        "data": (5, "BYTES", True),
        "shape": (7, "BlobShape", False),
    },
    "V1LayerParameter": {
        "name": (4, "BYTES", False),
        "type": (5, "INT32", False),
        "blobs": (6, "BlobProto", True),
    },
    "LayerParameter": {
        "name": (1, "BYTES", False),
        "type": (2, "BYTES", False),
        "blobs": (7, "BlobProto", True),
    },
    "NetParameter": {
        "layers": (2, "V1LayerParameter", True),
        "layer": (100, "LayerParameter", True),
    },
}


def read(path: Path) -> Found:
    """The convolutions and inner products of a trained net, in the file's order.

    Raises:
        RequestError: protobuf is missing, or a layer with weights is of another type.
        Exception: protobuf's own, where the file is damaged.
    """
    message = _net_parameter()
    message.ParseFromString(path.read_bytes())
    layers = [_layer(part) for part in (*message.layers, *message.layer) if part.blobs]
    return Found("Caffe", tuple(layers), CAFFE)


def _net_parameter() -> Any:
    descriptions = library("google.protobuf.descriptor_pb2", "protobuf", "caffe")
    pools = library("google.protobuf.descriptor_pool", "protobuf", "caffe")
    factory = library("google.protobuf.message_factory", "protobuf", "caffe")
    kinds = descriptions.FieldDescriptorProto
    file = descriptions.FileDescriptorProto(name="caffe.proto", package="caffe", syntax="proto2")
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, (number, kind, several) in fields.items():
            label = kinds.LABEL_REPEATED if several else kinds.LABEL_OPTIONAL
            added = message.field.add(name=field, number=number, label=label)
            if kind in MESSAGES:
                added.type, added.type_name = kinds.TYPE_MESSAGE, f".caffe.{kind}"
            else:
                added.type = getattr(kinds, f"TYPE_{kind}")
    pool = pools.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return factory.GetMessageClass(pool.FindMessageTypeByName("caffe.NetParameter"))()


def _layer(part: Any) -> Layer:
    name = part.name.decode(errors="replace")
    blobs = [_blob(blob, name) for blob in part.blobs]
    if part.type not in CONVOLUTION + INNER_PRODUCT or len(blobs) > 2:
        raise RequestError(
            f"its layer {name} has weights and is of type {part.type}: expected Convolution and "
            "InnerProduct layers only"
        )
    weight = blobs[0]
    if part.type in INNER_PRODUCT:
        # Older files write it as (1, 1, out, in).
        weight = weight.reshape(weight.shape[-2:])
    return Layer(name, weight, blobs[1].flatten() if len(blobs) == 2 else None)


def _blob(blob: Any, layer: str) -> Tensor:
    if blob.HasField("shape"):
        shape = tuple(blob.shape.dim)
    else:
        shape = (blob.num, blob.channels, blob.height, blob.width)
    data = b"".join(blob.data) if len(blob.data) > 1 else (*blob.data, b"")[0]
    if min(shape, default=0) < 1 or len(data) != 4 * math.prod(shape):
        sides = " x ".join(map(str, shape))
        raise RequestError(
            f"its layer {layer} has a blob of {sides} with {len(data)} bytes: expected 4 for each "
            "number, packed"
        )
    return tensor(np.frombuffer(data, "<f4")).reshape(shape)
