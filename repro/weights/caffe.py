"""Caffe's `.caffemodel`: the authors' own release (`VGG_ILSVRC_16_layers.caffemodel`)."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from repro.errors import RequestError
from repro.weights.contents import Contents, Layer, library, tensor
from repro.weights.convention import CAFFE

CONVOLUTION = ("4", "Convolution")
INNER_PRODUCT = ("14", "InnerProduct")
"""The two types of layer that have weights: V1LayerParameter's number, LayerParameter's name."""

# The few fields of Caffe's caffe.proto that matter: message -> field -> number, type, repeated.
# Names are bytes so that any file can be shown. So are packed floats, which have the same wire
# format: as floats the library would make an object of each number.
PROTO: dict[str, dict[str, tuple[int, str, bool]]] = {
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
        "layer": (1, "BYTES", False),
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


@cache
def message() -> Any:
    """The class of Caffe's NetParameter, with the fields of `PROTO`.

    Raises:
        RequestError: protobuf is missing.
    """
    described = library("google.protobuf.descriptor_pb2", "protobuf", "caffe")
    pools = library("google.protobuf.descriptor_pool", "protobuf", "caffe")
    factory = library("google.protobuf.message_factory", "protobuf", "caffe")
    kinds = described.FieldDescriptorProto
    file = described.FileDescriptorProto(name="vgg_repro.proto", package="caffe", syntax="proto2")
    for name, fields in PROTO.items():
        kind = file.message_type.add(name=name)
        for key, (number, type_, repeated) in fields.items():
            added = kind.field.add(name=key, number=number, label=3 if repeated else 1)
            if type_ in PROTO:
                added.type, added.type_name = kinds.TYPE_MESSAGE, f".caffe.{type_}"
            else:
                added.type = getattr(kinds, f"TYPE_{type_}")
    pool = pools.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return factory.GetMessageClass(pool.FindMessageTypeByName("caffe.NetParameter"))


def read(path: Path) -> Contents:
    """The convolutions and inner products of a trained net, in the file's order.

    Raises:
        RequestError: protobuf is missing, the file is of Caffe's first format, a layer with weights
            is of another type, or a blob is not whole.
        Exception: protobuf's own, where the file is damaged.
    """
    net = message().FromString(path.read_bytes())
    if any(layer.HasField("layer") for layer in net.layers):
        raise RequestError(
            "it is of Caffe's first format (V0): Caffe's own tool upgrade_net_proto_binary writes "
            "the later one"
        )
    layers = (_layer(layer) for layer in (*net.layers, *net.layer) if layer.blobs)
    return Contents("Caffe", tuple(layers), CAFFE)


def _layer(layer: Any) -> Layer:
    name = layer.name.decode(errors="replace")
    kind = layer.type if isinstance(layer.type, int) else layer.type.decode(errors="replace")
    if str(kind) not in CONVOLUTION + INNER_PRODUCT or len(layer.blobs) > 2:
        raise RequestError(
            f"its layer {name} has weights and is of type {kind}: expected Convolution and "
            "InnerProduct layers only"
        )
    weight, *bias = (_blob(blob, name) for blob in layer.blobs)
    if str(kind) in INNER_PRODUCT:
        # Older files write it as (1, 1, out, in).
        weight = weight.reshape(weight.shape[-2:])
    return Layer(name, weight, bias[0].flatten() if bias else None)


def _blob(blob: Any, layer: str) -> Tensor:
    older = [blob.num, blob.channels, blob.height, blob.width]
    shape = list(blob.shape.dim) if blob.HasField("shape") else older
    data = b"".join(blob.data) if len(blob.data) > 1 else next(iter(blob.data), b"")
    if not 0 < len(shape) <= 4 or min(shape) <= 0 or len(data) != 4 * math.prod(shape):
        raise RequestError(
            f"its layer {layer} has a blob of {' x '.join(map(str, shape[:5]))} with {len(data)} "
            "bytes: expected 4 for each number, packed"
        )
    return tensor(np.frombuffer(data, "<f4")).reshape(shape)
