"""A narrow VGG of torchvision's own code, and files that hold it, written from public layouts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn

from repro.config.choices import choice
from repro.config.schema import Arch
from repro.model import layers, reading
from repro.model.vgg import VGG
from repro.weights.contents import Weights

CPU = torch.device("cpu")
CROP, WIDTH, CLASSES = 64, 1 / 16, 7
"""The map before FC6 has two cells a side, so that the order of its rows matters."""


def spec(
    name: str = "D", crop: int = CROP, classes: int = CLASSES, width: float = WIDTH
) -> layers.Net:
    arch = Arch(**choice("arch", name))
    return reading.read(arch, width=width, crop=crop, channels=3, classes=classes)


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
            for values in (part.weight, part.running_var):
                nn.init.uniform_(values, 0.5, 1.5)
            for values in (part.bias, part.running_mean):
                nn.init.uniform_(values, -0.5, 0.5)
    return net.eval()


def photographs(crop: int = CROP) -> Tensor:
    """Grey levels, RGB, uint8 (2, 3, crop, crop), the channels unlike each other."""
    made = torch.Generator().manual_seed(5)
    levels = torch.tensor([255, 160, 60])[:, None, None]
    return (torch.rand(2, 3, crop, crop, generator=made) * levels).to(torch.uint8)


def scores(weights: Weights, net: layers.Net, images: Tensor) -> Tensor:
    """What our net says of grey levels, with a file's weights and the input that it wants."""
    ours = VGG(net, 0.5).eval()
    ours.load_state_dict(dict(weights.tensors))
    with torch.inference_mode():
        return ours(weights.convention.inputs(CPU)(images))


def caffe_input(images: Tensor) -> Tensor:
    """As the authors say: BGR, 0-255, minus the mean pixel."""
    bgr = images.float()[:, [2, 1, 0]]
    return bgr - torch.tensor([103.939, 116.779, 123.68])[:, None, None]


def torchvision_input(images: Tensor) -> Tensor:
    """As torchvision's own transforms of its weights make it, without their rescaling."""
    return torchvision.transforms.functional.normalize(
        images.float() / 255, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    )


def said(net: nn.Module, values: Tensor) -> Tensor:
    with torch.inference_mode():
        result: Tensor = net(values)
    return result


def same(found: Tensor, expected: Tensor) -> bool:
    spread = float(expected.std())
    assert spread > 0
    return bool((found - expected).abs().max() <= 1e-4 * spread)


def weighted(net: nn.Module) -> list[nn.Conv2d | nn.Linear]:
    return [part for part in net.modules() if isinstance(part, nn.Conv2d | nn.Linear)]


# As in Caffe's caffe.proto: * where there are several, + where these are packed.
CAFFE = {
    "BlobShape": "dim=1:INT64+",
    "BlobProto": "num=1:INT32 channels=2:INT32 height=3:INT32 width=4:INT32 data=5:FLOAT+ "
    "shape=7:BlobShape",
    "V0LayerParameter": "name=1:STRING type=2:STRING",
    "V1LayerParameter": "layer=1:V0LayerParameter bottom=2:STRING* name=4:STRING type=5:INT32 "
    "blobs=6:BlobProto* blobs_lr=7:FLOAT*",
    "LayerParameter": "name=1:STRING type=2:STRING loss_weight=5:FLOAT* blobs=7:BlobProto*",
    "NetParameter": "name=1:STRING layers=2:V1LayerParameter* layer=100:LayerParameter*",
}


def caffe_net() -> Any:
    """An empty NetParameter as protobuf's own library has it, floats being floats."""
    descriptions = pytest.importorskip("google.protobuf.descriptor_pb2")
    from google.protobuf import descriptor_pool, message_factory

    file = descriptions.FileDescriptorProto(name="caffe.proto", package="caffe", syntax="proto2")
    for name, fields in CAFFE.items():
        message = file.message_type.add(name=name)
        for key, number, kind, several in re.findall(r"(\w+)=(\d+):(\w+)([*+]?)", fields):
            added = message.field.add(name=key, number=int(number), label=3 if several else 1)
            if kind in CAFFE:
                added.type_name = f".caffe.{kind}"
            else:
                added.type = getattr(added, f"TYPE_{kind}")
            if several == "+":
                added.options.packed = True
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("caffe.NetParameter"))()


def write_caffe(net: nn.Module, path: Path, *, older: bool = True) -> None:
    made = caffe_net()
    made.name = "VGG"
    for place, part in enumerate(weighted(net)):
        conv = isinstance(part, nn.Conv2d)
        if older:
            layer = made.layers.add(name=f"layer{place}", type=4 if conv else 14, blobs_lr=[1, 2])
            made.layers.add(name="relu", type=18)
        else:
            kind = "Convolution" if conv else "InnerProduct"
            layer = made.layer.add(name=f"layer{place}", type=kind, loss_weight=[0.5])
            made.layer.add(name="relu", type="ReLU")
        for values in (part.weight, part.bias):
            blob = layer.blobs.add(data=values.detach().flatten().tolist())
            if older:
                sides = [1] * (4 - values.dim()) + list(values.shape)
                blob.num, blob.channels, blob.height, blob.width = sides
            else:
                blob.shape.dim.extend(values.shape)
    path.write_bytes(made.SerializeToString())
