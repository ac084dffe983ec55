"""What a size can show: score maps, overhang, borders (the limits of a scale model).

The paper's arguments about dense evaluation and about borders are arguments about geometry. At a
smaller crop the same net meets another geometry; these are the numbers that say how different.
"""

from __future__ import annotations

from dataclasses import dataclass

from repro.model.cost import receptive_field
from repro.model.layers import LRN, Conv, Net, output_side, sides

LRN_WINDOW = 5
"""Neighbouring channels that local response normalisation sums over, AlexNet's n."""


def map_side(net: Net, side: int) -> int:
    """Side of the last feature map, in cells, for an image side in pixels."""
    *_, (_, _, last) = sides(net.features, side)
    return last


def score_map_side(net: Net, side: int) -> int:
    """Side of the class score map of dense evaluation, in cells (Section 3.2)."""
    return map_side(net, side) - map_side(net, net.crop) + 1


def block_sides(net: Net) -> dict[int, int]:
    """Side of the maps that each block works on, in cells: of what its last convolution gives."""
    every = sides(net.features, net.crop)
    return {layer.block: side for layer, _, side in every if isinstance(layer, Conv)}


def lrn_channels(net: Net) -> int | None:
    """Fewest channels that a local response normalisation works on; None: the net has none."""
    return min((layer.channels for layer in net.layers if isinstance(layer, LRN)), default=None)


@dataclass(frozen=True)
class Geometry:
    """One net on images of one side."""

    side: int
    """Image side in pixels."""
    map_side: int
    score_map_side: int
    overhang: int
    """Pixels by which the last window of the score map hangs over the image."""
    receptive_field: int
    """Of one cell before the FC layers, in pixels."""
    step: int
    padded_taps: float
    """Share of the convolutions' filter taps that fall on zero padding, weighted by their work."""


def _inside_taps(layer: Conv, side: int) -> int:
    """Filter taps of one axis that fall on the map, over all output positions."""
    return sum(
        min(side, start + layer.kernel) - max(0, start)
        for start in range(
            -layer.padding, -layer.padding + output_side(layer, side) * layer.stride, layer.stride
        )
    )


def padded_taps(net: Net, side: int) -> float:
    """Share of multiply-adds of the convolutions that meet zero padding, for a square image."""
    taps, inside = 0, 0
    for layer, before, after in sides(net.features, side):
        if isinstance(layer, Conv):
            weight = layer.in_channels // layer.groups * layer.out_channels
            taps += weight * (after * layer.kernel) ** 2
            inside += weight * _inside_taps(layer, before) ** 2
    return 1 - inside / taps


def geometry(net: Net, side: int) -> Geometry:
    """The geometry of a net on square images of `side` pixels."""
    field, step = receptive_field(net.layers)
    scores = score_map_side(net, side)
    return Geometry(
        side=side,
        map_side=map_side(net, side),
        score_map_side=scores,
        overhang=max(0, (scores - 1) * step + net.crop - side),
        receptive_field=field,
        step=step,
        padded_taps=padded_taps(net, side),
    )
