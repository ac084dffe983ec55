"""What a net costs and sees, counted layer by layer from the layer list: nothing is allocated."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from repro.model.layers import LRN, Conv, Layer, Linear, Net, Pool, output_side, sides


def parameters(layer: Layer) -> int:
    """Trainable numbers of one layer, biases and batch normalisation included."""
    if isinstance(layer, Conv):
        weights = layer.kernel**2 * (layer.in_channels // layer.groups) * layer.out_channels
        normalisation = 2 * layer.out_channels if layer.batch_norm else 0
        return weights + (layer.out_channels if layer.bias else 0) + normalisation
    if isinstance(layer, Linear):
        return (layer.in_channels * layer.side**2 + 1) * layer.out_features
    return 0


def multiply_adds(layer: Layer, side: int) -> int:
    """Multiply-add operations of one layer on an input map of `side` (weights only)."""
    out = output_side(layer, side)
    if isinstance(layer, Conv):
        taps = layer.kernel**2 * (layer.in_channels // layer.groups)
        return taps * layer.out_channels * out**2
    if isinstance(layer, Linear):
        return layer.in_channels * layer.side**2 * layer.out_features * out**2
    return 0


def activations(layer: Layer, side: int) -> int:
    """Numbers that one layer puts out for an input map of `side`."""
    out = output_side(layer, side)
    if isinstance(layer, Conv):
        return layer.out_channels * out**2
    return layer.out_features * out**2 if isinstance(layer, Linear) else 0


@dataclass(frozen=True)
class Cost:
    """Totals of one net on one image."""

    parameters: int
    multiply_adds: int
    activations: int

    @property
    def flops(self) -> int:
        """Floating point operations of one forward pass: two for each multiply-add."""
        return 2 * self.multiply_adds


def cost(net: Net, side: int | None = None) -> Cost:
    """Parameters, multiply-adds and activations of a net on one square image.

    Args:
        net: the layers.
        side: of the image in pixels, where it is not the crop: dense evaluation (Section 3.2).
    """
    every = list(sides(net.layers, side or net.crop))
    return Cost(
        parameters=sum(parameters(layer) for layer in net.layers),
        multiply_adds=sum(multiply_adds(layer, before) for layer, before, _ in every),
        activations=sum(activations(layer, before) for layer, before, _ in every),
    )


def receptive_field(layers: Iterable[Layer]) -> tuple[int, int]:
    """Side of what one cell of the last map sees, and the step between neighbours, in pixels.

    Fully connected layers are left out: they see whatever the crop is.
    """
    field, step = 1, 1
    for layer in layers:
        if isinstance(layer, Conv | Pool):
            field += (layer.kernel - 1) * step
            step *= layer.stride
        elif not isinstance(layer, LRN):
            break
    return field, step
