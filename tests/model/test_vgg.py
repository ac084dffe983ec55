from __future__ import annotations

import pytest
import torch
import torchvision
from torch import nn

from repro.config.choices import choice
from repro.config.schema import Arch
from repro.model import layers, reading
from repro.model.cost import cost
from repro.model.vgg import VGG

THEIRS = {
    "A": "vgg11",
    "B": "vgg13",
    "D": "vgg16",
    "E": "vgg19",
    "A-BN": "vgg11_bn",
    "B-BN": "vgg13_bn",
    "D-BN": "vgg16_bn",
    "E-BN": "vgg19_bn",
}
ARCHES = [*THEIRS, "A-LRN", "C", "B-5x5", "alexnet"]
ARCHES += ["blog-vgg11", "blog-vgg13", "blog-vgg16", "blog-vgg19"]


def spec(name: str, width: float, crop: int, channels: int = 3, classes: int = 10) -> layers.Net:
    arch = Arch(**choice("arch", name))
    return reading.read(arch, width=width, crop=crop, channels=channels, classes=classes)


@pytest.mark.parametrize("name", THEIRS)
def test_scores_equal_torchvisions(name: str) -> None:
    torch.manual_seed(0)
    theirs = getattr(torchvision.models, THEIRS[name])(weights=None, init_weights=False).eval()
    for module in theirs.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    with torch.device("meta"):
        ours = VGG(spec(name, 1, 224, classes=1000), 0.5).eval()
    ours.load_state_dict(theirs.state_dict(), assign=True)
    images = torch.rand(1, 3, 224, 224) - 0.5
    with torch.inference_mode():
        expected, scores = theirs(images), ours(images)
    assert (scores - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize("name", ARCHES)
def test_counted_parameters_are_those_of_the_net(name: str) -> None:
    for size in (spec(name, 1, 224, classes=1000), spec(name, 1 / 8, 64, channels=1)):
        with torch.device("meta"):
            net = VGG(size, 0.5)
        assert sum(weight.numel() for weight in net.parameters()) == cost(size).parameters


def test_lrn_is_alexnets_formula() -> None:
    part = next(m for m in VGG(spec("A-LRN", 1, 32), 0).features if "Response" in str(m))
    x = 20 * torch.rand(2, 9, 4, 4, dtype=torch.float64)
    expected = torch.empty_like(x)
    for channel in range(9):
        near = x[:, max(0, channel - 2) : channel + 3]
        expected[:, channel] = x[:, channel] / (2 + 1e-4 * (near**2).sum(dim=1)) ** 0.75
    assert torch.allclose(part(x), expected, rtol=1e-6)


def test_pooling_rounds_up() -> None:
    features = VGG(spec("A", 1 / 16, 32), 0).features
    assert features(torch.zeros(1, 3, 33, 65)).shape[2:] == (2, 3)


def test_the_blogs_own_eleven_has_one_convolution_a_block_and_no_bias() -> None:
    net = VGG(spec("blog-vgg11", 1 / 8, 32, channels=1), 0.5)
    assert [conv.out_channels for conv in net.convs] == [8, 16, 32, 64, 64]
    assert all(conv.bias is None for conv in net.convs)
    assert sum(isinstance(part, nn.BatchNorm2d) for part in net.features) == 5


@pytest.mark.parametrize("name", ["A", "D"])
def test_rounding_down_maps_are_torchvisions_on_any_image(name: str) -> None:
    """Theirs pool down; ours, as the authors' Caffe, up."""
    net = spec(name, 1 / 16, 224)
    ours, down = VGG(net, 0), VGG(layers.rounding_down(net), 0)
    down.load_state_dict(ours.state_dict())
    theirs = nn.Sequential(*ours.features)
    for place, part in enumerate(theirs):
        if isinstance(part, nn.MaxPool2d):
            theirs[place] = nn.MaxPool2d(2, 2)
    with torch.inference_mode():
        odd, even = torch.rand(1, 3, 255, 301), torch.rand(1, 3, 224, 256)
        assert torch.equal(down.features(odd), theirs(odd))
        assert ours.features(odd).shape[-2:] == (8, 10) != down.features(odd).shape[-2:]
        assert torch.equal(down.features(even), ours.features(even))
