"""A narrow VGG of torchvision's own code, and files that hold it, written from public layouts."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor, nn

from repro.config.choices import choice
from repro.config.schema import Arch
from repro.model import layers, reading
from repro.model.vgg import VGG
from repro.weights.read import PublishedWeights

CROP, WIDTH, CLASSES = 64, 1 / 16, 7
"""The map before FC6 has two cells a side, so that the order of its rows matters."""
THEIRS = {"A": "A", "B": "B", "D": "D", "E": "E"}
Write = Callable[[nn.Module, Path], None]


def spec(name: str = "D", crop: int = CROP, classes: int = CLASSES) -> layers.Net:
    arch = Arch(**choice("arch", name))
    return reading.read(arch, width=WIDTH, crop=crop, channels=3, classes=classes)


def torchvisions(letter: str = "D", norm: bool = False, crop: int = CROP) -> nn.Module:
    """torchvision's net, narrower; scores that differ from class to class."""
    torch.manual_seed(3)
    cfg = [v if v == "M" else int(v * WIDTH) for v in torchvision.models.vgg.cfgs[letter]]
    features = torchvision.models.vgg.make_layers(cfg, norm)
    # Its own classifier is of full width.
    with torch.device("meta"):
        net = torchvision.models.VGG(features, CLASSES, init_weights=False)
    side, hidden = crop // 32, int(4096 * WIDTH)
    net.avgpool = nn.Identity()
    net.classifier = nn.Sequential(
        *(nn.Linear(int(512 * WIDTH) * side**2, hidden), nn.ReLU(), nn.Dropout()),
        *(nn.Linear(hidden, hidden), nn.ReLU(), nn.Dropout(), nn.Linear(hidden, CLASSES)),
    )
    for part in net.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(part.weight)
            nn.init.uniform_(part.bias, -0.5, 0.5)
        if isinstance(part, nn.BatchNorm2d):
            for values, low, high in (
                (part.weight, 0.5, 1.5),
                (part.bias, -0.5, 0.5),
                (part.running_mean, -0.5, 0.5),
                (part.running_var, 0.5, 1.5),
            ):
                nn.init.uniform_(values, low, high)
    return net.eval()


def photographs(crop: int = CROP) -> Tensor:
    """Grey levels, RGB, uint8 (2, 3, crop, crop), the channels unlike each other."""
    made = torch.Generator().manual_seed(5)
    levels = (
        torch.rand(2, 3, crop, crop, generator=made) * torch.tensor([255, 160, 60])[:, None, None]
    )
    return levels.to(torch.uint8)


def scores(published: PublishedWeights, net: layers.Net, images: Tensor) -> Tensor:
    """What our net says of grey levels, with a file's weights and the input that it wants."""
    ours = VGG(net, 0.5).eval()
    ours.load_state_dict(dict(published.tensors))
    with torch.inference_mode():
        return ours(published.convention.prepare(images))


def caffe_input(images: Tensor) -> Tensor:
    """As the authors say: BGR, 0-255, minus the mean pixel."""
    bgr = images.float()[:, [2, 1, 0]]
    return bgr - torch.tensor([103.939, 116.779, 123.68])[:, None, None]


def torchvision_input(images: Tensor) -> Tensor:
    """As torchvision's own transforms of its weights make it, without their rescaling."""
    return torchvision.transforms.functional.normalize(
        images.float() / 255, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    )


def same(found: Tensor, expected: Tensor) -> bool:
    spread = float(expected.std())
    assert spread > 0
    return bool((found - expected).abs().max() <= 1e-4 * spread)


def weighted(net: nn.Module) -> list[nn.Conv2d | nn.Linear]:
    return [part for part in net.modules() if isinstance(part, nn.Conv2d | nn.Linear)]


def varint(number: int) -> bytes:
    out = b""
    while number > 127:
        out += bytes([number % 128 + 128])
        number //= 128
    return out + bytes([number])


def field(number: int, value: int | bytes) -> bytes:
    """A field of a protobuf as it is written."""
    if isinstance(value, int):
        return varint(number * 8) + varint(value)
    return varint(number * 8 + 2) + varint(len(value)) + value


def blob(values: Tensor, *, older: bool) -> bytes:
    shape = list(values.shape)
    data = field(5, values.detach().numpy().astype("<f4").tobytes())
    if not older:
        return field(7, field(1, b"".join(map(varint, shape)))) + data
    padded = [1] * (4 - len(shape)) + shape
    return b"".join(field(place, side) for place, side in enumerate(padded, start=1)) + data


def write_caffe(net: nn.Module, path: Path, *, older: bool = True) -> None:
    out = field(1, b"VGG")
    for place, part in enumerate(weighted(net)):
        blobs = [blob(values, older=older) for values in (part.weight, part.bias)]
        conv = isinstance(part, nn.Conv2d)
        if older:
            layer = field(2, b"bottom") + field(3, b"top") + field(4, b"layer%d" % place)
            layer += field(5, 4 if conv else 14) + b"".join(field(6, each) for each in blobs)
            # Layers without weights stand between; their multipliers (7, floats) are not ours.
            layer += varint(7 * 8 + 5) + struct.pack("<f", 1.0)
            out += field(2, layer) + field(2, field(4, b"relu") + field(5, 18))
        else:
            layer = field(1, b"layer%d" % place)
            layer += field(2, b"Convolution" if conv else b"InnerProduct")
            out += field(100, layer + b"".join(field(7, each) for each in blobs))
    path.write_bytes(out)


# Message -> field -> (number, type, whether there are several), as in Caffe's caffe.proto.
CAFFE: dict[str, dict[str, tuple[int, str, bool]]] = {
    "BlobShape": {"dim": (1, "INT64", True)},
    "BlobProto": {"data": (5, "FLOAT", True), "shape": (7, "BlobShape", False)},
    "LayerParameter": {
        "name": (1, "STRING", False),
        "type": (2, "STRING", False),
        "loss_weight": (5, "FLOAT", True),
        "blobs": (7, "BlobProto", True),
    },
    "NetParameter": {"name": (1, "STRING", False), "layer": (100, "LayerParameter", True)},
}


def caffe_message(net: nn.Module) -> Any:
    """The net as protobuf's own library has it."""
    descriptions = pytest.importorskip("google.protobuf.descriptor_pb2")
    from google.protobuf import descriptor_pool, message_factory

    kinds = descriptions.FieldDescriptorProto
    file = descriptions.FileDescriptorProto(name="caffe.proto", package="caffe", syntax="proto2")
    for name, fields in CAFFE.items():
        message = file.message_type.add(name=name)
        for field_name, (number, kind, several) in fields.items():
            label = kinds.LABEL_REPEATED if several else kinds.LABEL_OPTIONAL
            added = message.field.add(name=field_name, number=number, label=label)
            if kind in CAFFE:
                added.type, added.type_name = kinds.TYPE_MESSAGE, f".caffe.{kind}"
            else:
                added.type = getattr(kinds, f"TYPE_{kind}")
            if field_name in ("data", "dim"):
                added.options.packed = True
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    made = message_factory.GetMessageClass(pool.FindMessageTypeByName("caffe.NetParameter"))()
    made.name = "VGG"
    for place, part in enumerate(weighted(net)):
        kind = "Convolution" if isinstance(part, nn.Conv2d) else "InnerProduct"
        layer = made.layer.add(name=f"layer{place}", type=kind, loss_weight=[0.5, 1.5])
        for values in (part.weight, part.bias):
            written = layer.blobs.add(data=values.detach().flatten().tolist())
            written.shape.dim.extend(values.shape)
        made.layer.add(name=f"relu{place}", type="ReLU")
    return made


def write_matconvnet(
    net: nn.Module, path: Path, *, older: bool = False, compressed: bool = True
) -> None:
    from scipy.io import savemat

    parts = weighted(net)
    side, cells = CROP // 32, []
    for place, part in enumerate(parts):
        weight = part.weight.detach()
        if isinstance(part, nn.Linear):
            cut = side if part.in_features == int(512 * WIDTH) * side**2 else 1
            weight = weight.reshape(len(weight), -1, cut, cut)
        pair = [weight.permute(2, 3, 1, 0).numpy(), part.bias.detach().numpy()[:, None]]
        cell: dict[str, Any] = {"name": f"layer{place}", "type": "conv"}
        if older:
            cell |= {"filters": pair[0], "biases": pair[1]}
        else:
            weights = np.empty((1, 2), dtype=object)
            weights[0, :] = pair
            cell["weights"] = weights
        cells += [
            cell,
            {"name": f"relu{place}", "type": "relu", "weights": np.empty((0, 0), object)},
        ]
    row = np.empty((1, len(cells)), dtype=object)
    row[0, :] = cells
    names = np.empty((1, CLASSES), dtype=object)
    names[0, :] = [f"class {number}" for number in range(CLASSES)]
    meta = {
        "normalization": {"averageImage": np.array(MEAN, np.float32)[None, None, :]},
        "classes": {"description": names},
    }
    if older:
        picture = np.broadcast_to(np.array(MEAN, np.float32), (4, 4, 3))
        meta["normalization"] = {"averageImage": picture}
    savemat(path, {"layers": row} | (meta if older else {"meta": meta}), do_compression=compressed)


MEAN = (122.0, 113.5, 101.25)


def onnx_model(net: nn.Module, *, matmul: bool = False) -> Any:
    """The net as a graph, written with onnx's own helpers; names that say nothing."""
    onnx = pytest.importorskip("onnx")
    make, array = onnx.helper, onnx.numpy_helper
    nodes, initialisers, last = [], [], "image"

    def put(values: Tensor) -> str:
        initialisers.append(array.from_array(values.detach().numpy(), f"t{len(initialisers)}"))
        return f"t{len(initialisers) - 1}"

    def apply(kind: str, *inputs: str, **attributes: Any) -> None:
        nonlocal last
        nodes.append(make.make_node(kind, [last, *inputs], [f"n{len(nodes)}"], **attributes))
        last = f"n{len(nodes) - 1}"

    for part in [*net.features, nn.Flatten(), *net.classifier]:
        match part:
            case nn.Conv2d():
                names = (put(part.weight), put(part.bias))
                apply("Conv", *names, kernel_shape=[3, 3], pads=[1, 1, 1, 1])
            case nn.BatchNorm2d():
                four = (part.weight, part.bias, part.running_mean, part.running_var)
                apply("BatchNormalization", *map(put, four), epsilon=part.eps)
            case nn.Linear() if matmul:
                apply("MatMul", put(part.weight.t().contiguous()))
                apply("Add", put(part.bias))
            case nn.Linear():
                apply("Gemm", put(part.weight), put(part.bias), transB=1)
            case nn.MaxPool2d():
                apply("MaxPool", kernel_shape=[2, 2], strides=[2, 2])
            case nn.ReLU() | nn.Flatten():
                apply({"ReLU": "Relu"}.get(type(part).__name__, "Flatten"))
    kind = onnx.TensorProto.FLOAT
    entry = make.make_tensor_value_info("image", kind, ["n", 3, CROP, CROP])
    end = make.make_tensor_value_info(last, kind, ["n", CLASSES])
    # Initialisers may stand in any order.
    graph = make.make_graph(nodes, "net", [entry], [end], initialisers[::-1])
    return make.make_model(graph, opset_imports=[make.make_opsetid("", 17)], ir_version=8)
