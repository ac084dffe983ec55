"""The memory of training, against the tensors that torch keeps for the backward pass."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from repro.config.choices import choice
from repro.config.schema import Arch, Recipe
from repro.model import layers, memory, reading
from repro.model.vgg import VGG

FULL = {"width": 1.0, "crop": 224, "channels": 3, "classes": 1000}
SMALL = {"width": 0.0625, "crop": 64, "channels": 1, "classes": 10}


def spec(arch: str, size: dict[str, float]) -> layers.Net:
    return reading.read(Arch(**choice("arch", arch)), **size)  # type: ignore[arg-type]


def recipe(**changes: object) -> Recipe:
    return Recipe(**{**choice("recipe", "paper"), **changes})


def kept(
    net: layers.Net, batch: int, *, device: str = "meta", half: bool = False, fc: bool = False
) -> int:
    """Bytes that torch keeps between forward and backward pass, weights aside."""
    with torch.device(device):
        module = VGG(net, 0.5).to(memory_format=torch.channels_last)
        images = torch.empty(batch, net.channels, net.crop, net.crop)
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
        nn.functional.cross_entropy(module(images), labels)
    return sum(storage.nbytes() for storage in storages.values())


@pytest.mark.parametrize("arch", ["A-LRN", "B-5x5", "D", "E", "D-BN", "alexnet"])
def test_activations_are_what_torch_keeps(arch: str) -> None:
    net = spec(arch, FULL)
    estimate = memory.training(net, recipe(), "float32").activations
    assert estimate == pytest.approx(kept(net, 256), rel=1e-4)


def test_activations_of_the_fc_layers_alone() -> None:
    net = spec("D", FULL)
    estimate = memory.training(net, recipe(), "float32", "fc")
    assert estimate.activations == pytest.approx(kept(net, 256, fc=True), rel=1e-4)
    # FC-4096 on 7x7x512, FC-4096, FC-1000, with biases.
    assert estimate.gradients == 4 * (102_764_544 + 16_781_312 + 4_097_000)
    assert estimate.weights == 4 * 138_357_544


def test_activations_in_half_precision() -> None:
    net = spec("D", SMALL)
    estimate = memory.training(net, recipe(batch=16), "bf16")
    whole = memory.training(net, recipe(batch=16), "float32")
    copies = estimate.weights - whole.weights
    measured = kept(net, 16, device="cpu", half=True)
    assert estimate.activations + copies == pytest.approx(measured, rel=0.01)


def test_a_micro_batch_beyond_the_batch_is_the_batch() -> None:
    net = spec("A", SMALL)
    whole = memory.training(net, recipe(batch=16), "float32")
    assert memory.training(net, recipe(batch=16), "float32", micro_batch=99) == whole


def test_weights_gradients_and_optimiser_of_d() -> None:
    net, number = spec("D", FULL), 138_357_544
    held = memory.training(net, recipe(), "float32")
    assert (held.weights, held.gradients, held.optimiser) == (4 * number,) * 3
    assert held.total == held.state + held.activations == 12 * number + held.activations
    assert memory.training(net, recipe(optimiser="adam"), "float32").optimiser == 8 * number
    assert memory.training(net, recipe(momentum=0.0), "float32").optimiser == 0
    double = memory.training(net, recipe(), "float64")
    assert (double.weights, double.optimiser) == (8 * number, 8 * number)
    # The places of the maxima stay whole numbers of 8 bytes.
    assert 1.8 < double.activations / held.activations < 2


@pytest.mark.parametrize("arch", ["A", "A-LRN", "D", "alexnet"])
@pytest.mark.parametrize("size", [FULL, SMALL])
def test_the_largest_map_is_the_largest_that_a_layer_puts_out(
    arch: str, size: dict[str, float]
) -> None:
    net = spec(arch, size)
    found = [net.channels * net.crop**2]
    with torch.device("meta"):
        module = VGG(net, 0.5).eval()
        for part in module.features:
            part.register_forward_hook(lambda _, inputs, maps: found.append(maps.numel()))
        module(torch.empty(1, net.channels, net.crop, net.crop))
    assert memory.largest_map(net) == max(found)
