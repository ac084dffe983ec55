"""A narrow VGG of torchvision's own code, and files that hold it, written from public layouts."""

from dataclasses import replace
from pathlib import Path

import torch
import torchvision
from safetensors.torch import save_file
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
) -> layers.Spec:
    arch = Arch(**choice("arch", name))
    size = replace(reading.PAPER, crop=crop, width=width)
    return reading.spec_of(arch, size, channels=3, classes=classes)


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
    for name, values in net.state_dict().items():
        if values.dim() > 1:
            nn.init.kaiming_normal_(values)
        elif values.dim() == 1:
            # A variance is above zero.
            nn.init.uniform_(
                values, *((-0.5, 0.5) if name.endswith(("bias", "mean")) else (0.5, 1.5))
            )
    return net.eval()


def photographs(crop: int = CROP) -> Tensor:
    """Grey levels, RGB, uint8 (2, 3, crop, crop), the channels unlike each other."""
    made = torch.Generator().manual_seed(5)
    levels = torch.tensor([255, 160, 60])[:, None, None]
    return (torch.rand(2, 3, crop, crop, generator=made) * levels).to(torch.uint8)


def scores(weights: Weights, net: layers.Spec, images: Tensor) -> Tensor:
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


@torch.inference_mode()
def said(net: nn.Module, values: Tensor) -> Tensor:
    return net(values)  # type: ignore[no-any-return]


def same(found: Tensor, expected: Tensor) -> bool:
    spread = float(expected.std())
    assert spread > 0
    return bool((found - expected).abs().max() <= 1e-4 * spread)


def field(number: int, content: bytes | int) -> bytes:
    """A field of a protobuf message, as its wire format has it: a number or bytes."""
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    return varint(number << 3 | 2) + varint(len(content)) + content


def varint(number: int) -> bytes:
    more = number >> 7
    return bytes([number]) if not more else bytes([number & 127 | 128]) + varint(more)


def blob(values: Tensor, older: bool) -> bytes:
    data = field(5, values.detach().numpy().tobytes())
    if older:
        sides = [1] * (4 - values.dim()) + list(values.shape)
        return b"".join(field(n, side) for n, side in enumerate(sides, 1)) + data
    return data + field(7, field(1, b"".join(map(varint, values.shape))))


def write_caffe(net: nn.Module, path: Path, *, older: bool = True) -> None:
    """By the numbers of Caffe's caffe.proto, as V1LayerParameter or as LayerParameter."""
    layer, name, kind, blobs = (2, 4, 5, 6) if older else (100, 1, 2, 7)
    kinds = (4, 14) if older else (b"Convolution", b"InnerProduct")
    made = field(1, b"VGG")
    parts = (part for part in net.modules() if isinstance(part, nn.Conv2d | nn.Linear))
    for place, part in enumerate(parts):
        inner = field(name, b"layer%d" % place) + field(kind, kinds[isinstance(part, nn.Linear)])
        for values in (part.weight, part.bias):
            inner += field(blobs, blob(values, older))
        made += field(layer, inner) + field(layer, field(name, b"relu"))
    path.write_bytes(made)


FORMATS = {
    **{"Caffe": caffe_input, "older Caffe": caffe_input},
    **dict.fromkeys(("torchvision", "older torchvision", "safetensors"), torchvision_input),
}
"""The formats, and the input that a net in them wants."""


def write(kind: str, net: nn.Module, path: Path) -> None:
    """A file of a net in one of `FORMATS`."""
    older = kind.startswith("older")
    if "Caffe" in kind:
        write_caffe(net, path, older=older)
    elif kind == "safetensors":
        save_file(net.state_dict(), path)
    else:
        torch.save(net.state_dict(), path, _use_new_zipfile_serialization=not older)
