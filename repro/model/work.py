"""What training and testing a net compute, in floating point operations (two a multiply-add)."""

from __future__ import annotations

from collections.abc import Callable

from repro.model.cost import cost, multiply_adds
from repro.model.geometry import map_side, score_map_side
from repro.model.layers import Net
from repro.protocol.protocols import GRID, View
from repro.protocol.scales import pixels

PASSES = 3
"""Forward passes that a training step costs: its own, the gradients of the activations and those
of the weights, each as many multiply-adds."""


def training(net: Net, finetune: str = "all") -> int:
    """Of a training step, for one image.

    Args:
        net: the layers.
        finetune: `all`, or `fc`: the convolutions have no gradients and only pass forward.
    """
    if finetune == "all":
        return PASSES * cost(net).flops
    side, classifier = map_side(net, net.crop), 0
    for layer in net.linears:
        classifier += 2 * multiply_adds(layer, side)
        side = 1
    return cost(net).flops + (PASSES - 1) * classifier


def view(net: Net, looked_at: View) -> int:
    """Of one view of one test image (Section 3.2), a square of side Q where it is looked at whole.

    A photograph is longer than that square by the ratio of its sides, and so is what it costs.
    """
    return OF_KIND[looked_at.kind](net, pixels(looked_at.q, net.crop))


OF_KIND: dict[str, Callable[[Net, int], int]] = {
    "dense": lambda net, side: cost(net, side).flops,
    "grid": lambda net, side: GRID**2 * cost(net).flops,
    "centre": lambda net, side: cost(net).flops,
    "windows": lambda net, side: score_map_side(net, side) ** 2 * cost(net).flops,
}
"""Operations for one image of `side` pixels, by the kind of view (`repro.protocol.protocols`)."""
