from __future__ import annotations

import math

import pytest
import torch

from repro.errors import RequestError
from repro.nets.init import FILLS, copied, copy_layers, initialise
from repro.nets.vgg import VGG
from tests.nets.test_vgg import spec


@pytest.mark.parametrize(("name", "std"), [("normal", 0.01), ("normal_literal", 0.1)])
@pytest.mark.parametrize("width", [1.0, 0.25])
def test_normal_is_divided_by_the_root_of_the_width(name: str, std: float, width: float) -> None:
    net = VGG(spec("A", width, 64), 0.5)
    initialise(net, name, net.spec, seed=0)
    for layer in (net.convs[-1], net.linears[0]):
        assert layer.weight.std().item() == pytest.approx(std / math.sqrt(width), rel=0.02)
        assert layer.weight.mean().item() == pytest.approx(0, abs=std / 20)
        assert not layer.bias.any()


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
    initialise(first, name, first.spec, seed=1)
    initialise(again, name, again.spec, seed=1)
    initialise(other, name, other.spec, seed=2)
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


def test_other_fc_layers_are_refused() -> None:
    with pytest.raises(RequestError, match="cannot take the FC layers"):
        copied(spec("B", 1 / 16, 32), spec("A", 1 / 8, 32))
