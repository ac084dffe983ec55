"""Caffe's `.caffemodel`: the authors' own release (`VGG_ILSVRC_16_layers.caffemodel`)."""

import math
import re
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from repro.errors import RequestError
from repro.weights.contents import CAFFE, Weights

KINDS = {"4": 4, "Convolution": 4, "14": 2, "InnerProduct": 2}
"""Axes of the weight, by type of layer: V1LayerParameter's number or LayerParameter's name."""
# The few fields of Caffe's caffe.proto that matter, * where there are several. Names are bytes so
# that any file can be shown. So are packed floats, which have the same wire format: as floats the
# library would make an object of each number.
PROTO = {
    "BlobShape": "dim=1:INT64*",
    "BlobProto": "num=1:INT32 channels=2:INT32 height=3:INT32 width=4:INT32 data=5:BYTES* "
    "shape=7:BlobShape",
    "V1LayerParameter": "layer=1:BYTES name=4:BYTES type=5:INT32 blobs=6:BlobProto*",
    "LayerParameter": "name=1:BYTES type=2:BYTES blobs=7:BlobProto*",
    "NetParameter": "layers=2:V1LayerParameter* layer=100:LayerParameter*",
}


@cache
def message() -> Any:
    """The class of Caffe's NetParameter, with the fields of `PROTO`."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="vgg.proto", package="caffe", syntax="proto2")
    for name, fields in PROTO.items():
        kind = file.message_type.add(name=name)
        for key, number, type_, several in re.findall(r"(\w+)=(\d+):(\w+)(\*?)", fields):
            added = kind.field.add(name=key, number=int(number), label=3 if several else 1)
            if type_ in PROTO:
                added.type_name = f".caffe.{type_}"
            else:
                added.type = getattr(added, f"TYPE_{type_}")
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("caffe.NetParameter"))


def read(path: Path) -> Weights:
    """The convolutions and inner products of a trained net, in the file's order."""
    net = message().FromString(path.read_bytes())
    if any(layer.HasField("layer") for layer in net.layers):
        raise RequestError("it is of Caffe's first format (V0): run upgrade_net_proto_binary on it")
    tensors: dict[str, Tensor] = {}
    for layer in (*net.layers, *net.layer):
        name = layer.name.decode(errors="replace")
        kind = layer.type if isinstance(layer.type, int) else layer.type.decode(errors="replace")
        if layer.blobs and str(kind) not in KINDS:
            raise RequestError(f"its layer {name} is of type {kind}: expected {', '.join(KINDS)}")
        for blob, axes in zip(layer.blobs, (KINDS.get(str(kind), 4), 1), strict=False):
            older = [blob.num, blob.channels, blob.height, blob.width]
            shape = list(blob.shape.dim) if blob.HasField("shape") else older
            data = bytearray().join(blob.data)
            if not 0 < len(shape) <= 4 or min(shape) <= 0 or len(data) != 4 * math.prod(shape):
                raise RequestError(f"its layer {name} has a blob of {shape[:5]}, {len(data)} bytes")
            values = torch.frombuffer(data, dtype=torch.float32).reshape(shape)
            # Older files write fewer axes as 1 x 1 x OUT x IN.
            tensors[f"{name}, {len(tensors)}"] = values.reshape(shape[-axes:])
    return Weights(tensors, CAFFE, "Caffe")
