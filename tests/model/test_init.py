import math

import pytest
import torch

from repro.config.choices import choice
from repro.config.schema import Arch, Size
from repro.model import layers, reading
from repro.model.init import FILLS, copy_layers, initialise
from repro.model.vgg import VGG
from tests.model.activations import rms
from tests.model.test_layers import at
from tests.model.test_vgg import spec


def gains(net: VGG, images: torch.Tensor) -> torch.Tensor:
    """By what each layer multiplies the RMS of activations, the first layer left out."""
    sizes = torch.tensor([size for _, size in rms(net, images)])
    return sizes[1:] / sizes[:-1]


@pytest.mark.parametrize("name", ["normal", "normal_literal"])
@pytest.mark.parametrize("width", [0.25, pytest.param(1.0, marks=pytest.mark.slow)])
def test_a_narrow_net_multiplies_activations_as_the_wide_one(name: str, width: float) -> None:
    """Section 3.1's normal distributions, at a sixteenth against a quarter and the full width."""
    wide, narrow = at("A", "eighth", width=width), VGG(at("A", "eighth", width=1 / 16), 0.5)
    images = torch.randn(4, 3, 28, 28, generator=torch.Generator().manual_seed(0))
    net = VGG(wide, 0.5)
    initialise(net, name, wide, seed=0)
    expected = gains(net, images)

    def mean(full: layers.Spec) -> torch.Tensor:
        found = []
        for seed in range(12):
            initialise(narrow, name, full, seed=seed)
            found.append(gains(narrow, images).log())
        return torch.stack(found).mean(dim=0).exp()

    assert torch.allclose(mean(wide), expected, rtol=0.2)
    # By its own fan-ins it multiplies by less, as the root of the widths: half, a quarter.
    own = mean(narrow.spec) / expected
    assert torch.allclose(own, torch.full_like(own, (1 / 16 / width) ** 0.5), rtol=0.2)


@pytest.mark.parametrize("size", ["quarter", "eighth", "tiny"])
def test_the_first_layer_starts_as_in_the_paper(size: str) -> None:
    arch, chosen = Arch(**choice("arch", "D")), Size(**choice("size", size))
    net = VGG(reading.spec_of(arch, chosen, channels=3, classes=10), 0.5)
    full = reading.spec_of(arch, channels=3, classes=10)
    stds = []
    for seed in range(20):
        initialise(net, "normal", full, seed=seed)
        stds.append(net.convs[0].weight.std().item())
    assert sum(stds) / len(stds) == pytest.approx(0.01, rel=0.05), "its fan-in does not shrink"
    # The paper's FC6 sums over 7*7*512 inputs.
    inputs = net.linears[0].in_features
    expected = 0.01 * math.sqrt(7 * 7 * 512 / inputs)
    assert net.linears[0].weight.std().item() == pytest.approx(expected, rel=0.05)


def test_glorot_and_he_scale_by_the_fans() -> None:
    net = VGG(spec("A", 0.25, 64), 0.5)
    conv = net.convs[-1]
    fan = conv.in_channels * 9
    initialise(net, "glorot", net.spec, seed=0)
    assert conv.weight.std().item() == pytest.approx(math.sqrt(2 / (2 * fan)), rel=0.02)
    assert conv.weight.abs().max().item() <= math.sqrt(6 / (2 * fan))
    initialise(net, "he", net.spec, seed=0)
    assert conv.weight.std().item() == pytest.approx(math.sqrt(2 / fan), rel=0.02)


@pytest.mark.parametrize("name", FILLS)
def test_the_seed_decides(name: str) -> None:
    first, again, other = (VGG(spec("A", 1 / 16, 32), 0.5) for _ in range(3))
    for net, seed in ((first, 1), (again, 1), (other, 2)):
        initialise(net, name, net.spec, seed)
    assert torch.equal(first.convs[3].weight, again.convs[3].weight)
    assert not torch.equal(first.convs[3].weight, other.convs[3].weight)


@pytest.mark.parametrize(
    ("name", "places"),
    # The first of block 1, of block 2, and both of block 3 (Section 3.1), by index.
    [("A-LRN", [0, 1, 2, 3]), ("B", [0, 2, 4, 5]), ("D", [0, 2, 4, 5]), ("E", [0, 2, 4, 5])],
)
def test_layers_come_from_a_by_block_and_place(name: str, places: list[int]) -> None:
    net, parent = VGG(spec(name, 1 / 16, 32), 0.5), VGG(spec("A", 1 / 16, 32), 0.5)
    initialise(net, "he", net.spec, seed=0)
    initialise(parent, "he", parent.spec, seed=1)
    copy_layers(net, parent)
    same = {
        (own, theirs)
        for own, conv in enumerate(net.convs)
        for theirs, other in enumerate(parent.convs)
        if conv.weight.shape == other.weight.shape and torch.equal(conv.weight, other.weight)
    }
    assert same == set(zip(places, [0, 1, 2, 3], strict=True))
    for own, other in zip(net.linears, parent.linears, strict=True):
        assert torch.equal(own.weight, other.weight)
