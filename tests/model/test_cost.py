"""What the layer list says of a net, against torch, the paper and counts by hand."""

import pytest
import torch
from torch.nn import functional

from repro.config.choices import choice
from repro.config.schema import Recipe
from repro.model import layers
from repro.model.cost import (
    block_sides,
    cost,
    lrn_channels,
    map_side,
    receptive_field,
    score_map_side,
    training_flops,
    training_memory,
    view_flops,
)
from repro.model.dense import Dense
from repro.model.vgg import VGG
from repro.protocol.protocols import View
from tests.model.test_layers import at, net

Q = (224, 256, 288, 384, 512)
SMALL = {"width": 0.0625, "crop": 64, "channels": 1, "classes": 10}


def recipe(**changes: object) -> Recipe:
    return Recipe(**{**choice("recipe", "paper"), **changes})


@pytest.mark.parametrize("name", ["A", "A-LRN", "C", "alexnet"])
@pytest.mark.parametrize("side", [64, 73, 97])
def test_maps_are_those_of_the_real_net(name: str, side: int) -> None:
    small = net(name, width=1 / 16, crop=64, classes=10)
    images = torch.zeros(1, 3, side, side)
    module = VGG(small, 0.5).eval()
    assert module.features(images).shape[-1] == map_side(small, side)
    assert Dense(module)(images).shape[2:] == (score_map_side(small, side),) * 2


def test_blocks_fields_and_channels_are_those_of_table_1() -> None:
    assert block_sides(net("D")) == {1: 224, 2: 112, 3: 56, 4: 28, 5: 14}
    assert block_sides(at("D", "eighth")) == {1: 28, 2: 28, 3: 28, 4: 28, 5: 14}
    assert block_sides(net("alexnet")) == {1: 55, 2: 27, 3: 13}
    assert receptive_field(net("D").layers) == (212, 32)  # known of VGG-16's last pooling
    channels = [lrn_channels(of) for of in (net("A-LRN"), at("A-LRN", "eighth"), net("A"))]
    assert channels == [64, 4, None]


@pytest.mark.parametrize(("q", "cells"), [(224, 1), (256, 2), (384, 6), (512, 10)])
def test_operations_of_d_are_those_counted_by_hand(q: int, cells: int) -> None:
    # Channels in, channels out, side of the map on a 224 crop.
    convs = [(3, 64, 224), (64, 64, 224), (64, 128, 112), (128, 128, 112), (128, 256, 56)]
    convs += [(256, 256, 56)] * 2 + [(256, 512, 28)] + [(512, 512, 28)] * 2 + [(512, 512, 14)] * 3
    fc = 2 * (25_088 * 4096 + 4096 * 4096 + 4096 * 1000)

    def forward(side: int) -> int:
        return sum(2 * 9 * a * b * (at * side // 224) ** 2 for a, b, at in convs)

    d, crop = net("D"), forward(224) + fc
    assert cost(d).flops == crop == 30_940_528_640
    assert training_flops(d) == 3 * crop
    assert training_flops(d, "fc") == forward(224) + 3 * fc
    views = {"dense": forward(q) + fc * cells**2, "windows": cells**2 * crop}
    views |= {"grid": 25 * crop, "centre": crop}
    assert {kind: view_flops(d, View(kind, q, True)) for kind in views} == views


def kept(
    of: layers.Spec, batch: int, *, device: str = "meta", half: bool = False, fc: bool = False
) -> int:
    """Bytes that torch keeps between forward and backward pass, weights aside."""
    with torch.device(device):
        module = VGG(of, 0.5).to(memory_format=torch.channels_last)
        images = torch.empty(batch, of.channels, of.crop, of.crop)
        labels = torch.zeros(batch, dtype=torch.long)
    if fc:
        module.features.requires_grad_(False)
        module.features.eval()
    own = [tensor.untyped_storage()._cdata for tensor in module.state_dict().values()]
    storages: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            storages[storage._cdata] = storage
        return tensor

    images = images.contiguous(memory_format=torch.channels_last)
    with (
        torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=half),
    ):
        functional.cross_entropy(module(images), labels)
    return sum(storage.nbytes() for storage in storages.values())


@pytest.mark.parametrize("name", ["A-LRN", "B-5x5", "D", "D-BN", "alexnet"])
def test_activations_are_what_torch_keeps(name: str) -> None:
    estimate = training_memory(net(name), recipe(), "float32").activations
    assert estimate == pytest.approx(kept(net(name), 256), rel=1e-4)


def test_activations_of_the_fc_layers_alone_and_in_half_precision() -> None:
    estimate = training_memory(net("D"), recipe(), "float32", "fc")
    assert estimate.activations == pytest.approx(kept(net("D"), 256, fc=True), rel=1e-4)
    # FC-4096 on 7x7x512, FC-4096, FC-1000, with biases.
    assert estimate.gradients == 4 * (102_764_544 + 16_781_312 + 4_097_000)
    small, sixteen = net("D", **SMALL), recipe(batch=16)
    half = training_memory(small, sixteen, "bf16")
    copies = half.weights - training_memory(small, sixteen, "float32").weights
    measured = kept(small, 16, device="cpu", half=True)
    assert half.activations + copies == pytest.approx(measured, rel=0.01)


def test_weights_gradients_and_optimiser_of_d() -> None:
    of, number = net("D"), 138_357_544
    held = training_memory(of, recipe(), "float32")
    assert (held.weights, held.gradients, held.optimiser) == (4 * number,) * 3
    assert training_memory(of, recipe(optimiser="adam"), "float32").optimiser == 8 * number
    assert training_memory(of, recipe(momentum=0.0), "float32").optimiser == 0
    assert training_memory(of, recipe(), "float64").weights == 8 * number
    assert training_memory(of, recipe(), "float32", micro_batch=9999) == held
