"""What a net holds in memory at once, from the layer list: an estimate, nothing is allocated.

In training, what is kept for the backward pass, of each image of the batch: the input; what each
convolution puts out once it is rectified (in place, so it is kept once; with batch normalisation
what went into that too); four maps inside local response normalisation; what each pooling puts
out, with the place of each maximum in 8 bytes; of each hidden FC layer what it puts out, the
dropout's mask and the product of both; the soft-max. Left out: what libraries use while they
compute a layer.
"""

from __future__ import annotations

from dataclasses import dataclass

from repro.config.schema import Recipe
from repro.model.cost import cost
from repro.model.layers import LRN, Conv, Layer, Linear, Net, Pool, sides

ACTIVATION_BYTES = {"float32": 4, "tf32": 4, "bf16": 2, "float64": 8}
PLACE_BYTES = 8


@dataclass(frozen=True)
class Memory:
    """Bytes that training holds at once."""

    weights: int
    """With bf16 the copies that are computed with too."""
    gradients: int
    optimiser: int
    """Momentum, or Adam's two moments."""
    activations: int
    """Kept for the backward pass of one batch, the input included."""

    @property
    def state(self) -> int:
        """All that does not depend on the batch."""
        return self.weights + self.gradients + self.optimiser

    @property
    def total(self) -> int:
        """All of it."""
        return self.state + self.activations


def training(
    net: Net,
    recipe: Recipe,
    precision: str,
    finetune: str = "all",
    micro_batch: int | None = None,
) -> Memory:
    """What training a net by a recipe holds in memory.

    Args:
        net: the layers.
        recipe: its batch and its optimiser.
        precision: of the run; weights are kept in float64 or float32.
        finetune: `all`, or `fc`: only the FC layers have gradients.
        micro_batch: images that are computed at once; None: the batch.
    """
    number = 8 if precision == "float64" else 4
    copies = 2 if precision == "bf16" else 0
    every = cost(net).parameters
    trained = every if finetune == "all" else _fc_parameters(net)
    moments = 2 if recipe.optimiser == "adam" else int(recipe.momentum > 0)
    return Memory(
        weights=every * (number + copies),
        gradients=trained * number,
        optimiser=trained * number * moments,
        activations=min(recipe.batch, micro_batch or recipe.batch)
        * _kept(net, ACTIVATION_BYTES[precision], finetune),
    )


def largest_map(net: Net) -> int:
    """How many numbers the largest map of one image of the crop's size has."""
    channels, largest = net.channels, net.channels * net.crop**2
    for layer, _, side in sides(net.features, net.crop):
        channels = layer.out_channels if isinstance(layer, Conv) else channels
        largest = max(largest, channels * side**2)
    return largest


def _fc_parameters(net: Net) -> int:
    return sum((fc.in_channels * fc.side**2 + 1) * fc.out_features for fc in net.linears)


def _kept(net: Net, number: int, finetune: str) -> int:
    """Bytes kept for the backward pass of one image, `number` bytes to an activation."""
    channels = net.channels
    total = number * channels * net.crop**2 if finetune == "all" else 0
    for layer, before, after in sides(net.layers, net.crop):
        channels = layer.out_channels if isinstance(layer, Conv) else channels
        if finetune == "all" or isinstance(layer, Linear):
            total += _kept_by(layer, channels, after, number)
        if finetune == "fc" and layer is net.linears[0]:
            # What it takes in; no layer before it has a gradient.
            total += number * channels * before**2
    return total


def _kept_by(layer: Layer, channels: int, side: int, number: int) -> int:
    """Bytes that one layer keeps of one image; `channels` and `side` of what it puts out."""
    match layer:
        case Conv():
            return number * channels * side**2 * (2 if layer.batch_norm else 1)
        case LRN():
            # The squares are padded by two channels on either side before they are summed.
            return number * (4 * channels + 4) * side**2
        case Pool():
            return (number + PLACE_BYTES) * channels * side**2
        case Linear():
            return number * layer.out_features * (3 if layer.hidden else 1)
