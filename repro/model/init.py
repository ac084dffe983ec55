"""How weights start (Section 3.1): five distributions, and copying from net A.

Biases start at zero, batch normalisation as the identity. In a scale model the normal distributions
are wider, so that each layer multiplies activations by what it does in the paper's net.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Generator, Tensor, nn

from repro.errors import RequestError
from repro.model import layers
from repro.model.vgg import VGG

FILLS: dict[str, Callable[[Tensor, float, Generator], object]] = {
    "normal": lambda w, gain, g: nn.init.normal_(w, 0, 0.01 * gain, generator=g),
    "normal_literal": lambda w, gain, g: nn.init.normal_(w, 0, 0.1 * gain, generator=g),
    "glorot": lambda w, gain, g: nn.init.xavier_uniform_(w, generator=g),
    # What torch gives a layer that nothing is said about.
    "torch": lambda w, gain, g: nn.init.kaiming_uniform_(w, a=5**0.5, generator=g),
    "he": lambda w, gain, g: nn.init.kaiming_normal_(w, nonlinearity="relu", generator=g),
}
"""Each fills a weight; the second argument is the root of full fan-in over its own."""


def initialise(net: VGG, between: str, full: layers.Spec, seed: int) -> None:
    """Fill `net` in place by the distribution `between`; `full`: the net at the paper's size."""
    generator = torch.Generator().manual_seed(seed)
    own: list[nn.Conv2d | nn.Linear] = [*net.convs, *net.linears]
    for layer, here, there in zip(own, net.spec.weighted, full.weighted, strict=True):
        gain = (layers.fan_in(there) / layers.fan_in(here)) ** 0.5
        FILLS[between](layer.weight, gain, generator)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def copied(net: layers.Spec, parent: layers.Spec) -> list[tuple[str, int, int]]:
    """The layers that `net` takes from `parent`, as (kind, own index, parent's index).

    They are the first four convolutions, as far as `net` has one of the same shape at that place,
    and all FC layers; a RequestError: these have other shapes.
    """

    def shape(conv: layers.Conv) -> layers.Conv:
        return replace(conv, stride=1, padding=0, bias=True, batch_norm=False)

    places = {shape(conv): index for index, conv in enumerate(net.convs)}
    firsts = enumerate(map(shape, parent.convs[:4]))
    pairs = [("convs", places[first], index) for index, first in firsts if first in places]
    if net.linears != parent.linears:
        raise RequestError(f"{net.name} cannot take the FC layers of {parent.name}: other shapes")
    return pairs + [("linears", index, index) for index in range(len(net.linears))]


def copy_all_but_last(net: VGG, parent: VGG) -> None:
    """Copy all weights of `parent` into `net` but those of its last layer (Appendix A)."""
    last = f"classifier.{len(parent.classifier) - 1}."
    state = {key: t for key, t in parent.state_dict().items() if not key.startswith(last)}
    net.load_state_dict(state, strict=False)


def copy_layers(net: VGG, parent: VGG) -> None:
    """Copy weights and biases of the layers that `copied` names from `parent` into `net`."""
    with torch.no_grad():
        for kind, own, index in copied(net.spec, parent.spec):
            target, source = getattr(net, kind)[own], getattr(parent, kind)[index]
            target.weight.copy_(source.weight)
            if target.bias is not None and source.bias is not None:
                target.bias.copy_(source.bias)
