"""Dense evaluation against an explicit sliding window (Section 3.2)."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from repro.config.schema import Arch
from repro.model import reading
from repro.model.dense import Dense
from repro.model.init import initialise
from repro.model.vgg import VGG
from tests.model.test_vgg import spec


def build(arch: Arch, crop: int) -> VGG:
    size = reading.spec_of(arch, replace(reading.PAPER, crop=crop), channels=2, classes=5)
    net = VGG(size, 0.5)
    initialise(net, "he", net.spec, seed=3)
    for layer in net.linears:
        torch.nn.init.normal_(layer.bias)
    return net.double().eval()


@pytest.mark.parametrize("name", ["A-LRN", "C", "D-BN", "alexnet"])
def test_on_its_own_crop_it_is_the_net(name: str) -> None:
    net = VGG(spec(name, 1 / 16, 64), 0.5)
    initialise(net, "he", net.spec, seed=0)
    net.double().eval()
    images = torch.rand(2, 3, 64, 64, dtype=torch.float64)
    maps = Dense(net)(images)
    assert maps.shape == (2, 10, 1, 1)
    assert torch.allclose(maps[:, :, 0, 0], net(images), rtol=1e-9, atol=1e-12)
    assert {*map(id, Dense(net).parameters())} == {*map(id, net.parameters())}, "no copies"


def slide(net: VGG, images: Tensor, stride: int, cells: tuple[int, int]) -> Tensor:
    """The net on every window, one at a time; what lies outside the image is zero."""
    crop = net.spec.crop
    images = functional.pad(images, (0, crop, 0, crop))
    rows = [
        torch.stack(
            [
                net(images[:, :, y * stride : y * stride + crop, x * stride : x * stride + crop])
                for x in range(cells[1])
            ],
            dim=-1,
        )
        for y in range(cells[0])
    ]
    return torch.stack(rows, dim=-2)


@pytest.mark.parametrize(("down", "across"), [(0, 0), (1, 2), (3, 1)])
def test_without_padding_it_is_the_sliding_window(down: int, across: int, device: str) -> None:
    arch = Arch("small", [["conv3-4p0"], ["conv3-6p0"]], fc=["FC-7", "FC-classes"])
    crop, stride = 22, 4  # 22 -> 20 -> 10 -> 8 -> 4 cells: no pooling rounds
    net = build(arch, crop).to(device)
    shape = 2, 2, crop + stride * down, crop + stride * across
    images = torch.rand(shape, dtype=torch.float64, device=device)
    expected = slide(net, images, stride, (down + 1, across + 1))
    assert torch.allclose(Dense(net)(images), expected, rtol=1e-9, atol=1e-12)
    scores = expected.mean(dim=(2, 3))
    assert torch.allclose(Dense(net).scores(images), scores, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("height", "width"), [(17, 16), (19, 22), (21, 17)])
def test_with_overhang_it_is_the_zero_extended_window(height: int, width: int) -> None:
    # 1x1 layers without bias keep zero at zero, so extending the image extends every map.
    arch = Arch("small", [["conv1-4"], ["conv1-6"]], fc=["FC-7", "FC-classes"], conv_bias=False)
    net = build(arch, 16)
    images = torch.rand(1, 2, height, width, dtype=torch.float64)
    maps = Dense(net)(images)
    cells = (-(-(height - 16) // 4) + 1, -(-(width - 16) // 4) + 1)
    assert maps.shape[2:] == cells
    assert torch.allclose(maps, slide(net, images, 4, cells), rtol=1e-9, atol=1e-12)
