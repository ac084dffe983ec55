"""What a net costs, sees and holds, from the layer list: nothing is allocated, without torch."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from repro.config.schema import Recipe
from repro.model.layers import LRN, Conv, Layer, Linear, Pool, Spec, fan_in, output_side, sides
from repro.protocol.protocols import GRID, View
from repro.protocol.scales import pixels

LRN_WINDOW = 5
"""Neighbouring channels that local response normalisation sums over, AlexNet's n."""
PASSES = 3
"""Forward passes that a training step costs: its own, the gradients of the activations and those
of the weights, each as many multiply-adds."""
ACTIVATION_BYTES = {"float32": 4, "tf32": 4, "bf16": 2, "float64": 8}
PLACE_BYTES = 8
"""Bytes that keep the place of a pooling's maximum."""


def parameters(layer: Layer) -> int:
    """Trainable numbers of one layer, biases and batch normalisation included."""
    if isinstance(layer, Conv):
        return layer.out_channels * (fan_in(layer) + layer.bias + 2 * layer.batch_norm)
    return layer.out_features * (fan_in(layer) + 1) if isinstance(layer, Linear) else 0


def multiply_adds(layer: Layer, side: int) -> int:
    """Multiply-add operations of one layer on an input map of `side` (weights only)."""
    if not isinstance(layer, Conv | Linear):
        return 0
    outputs = layer.out_channels if isinstance(layer, Conv) else layer.out_features
    return fan_in(layer) * outputs * output_side(layer, side) ** 2


class Cost(NamedTuple):
    """Totals of one net on one image; two floating point operations for each multiply-add."""

    parameters: int
    multiply_adds: int

    @property
    def flops(self) -> int:
        """Floating point operations of one forward pass."""
        return 2 * self.multiply_adds


def cost(net: Spec, side: int | None = None) -> Cost:
    """Parameters and multiply-adds of a net on a square image of `side`; None: of its crop."""
    every = sides(net.layers, side or net.crop)
    work = sum(multiply_adds(layer, before) for layer, before, _ in every)
    return Cost(sum(map(parameters, net.layers)), work)


def training_flops(net: Spec, finetune: str = "all") -> int:
    """Operations of a training step, for one image; `fc`: the convolutions only pass forward."""
    trained = Conv | Linear if finetune == "all" else Linear
    every = sides(net.layers, net.crop)
    gradients = sum(multiply_adds(one, side) for one, side, _ in every if isinstance(one, trained))
    return cost(net).flops + (PASSES - 1) * 2 * gradients


def view_flops(net: Spec, view: View) -> int:
    """Operations of one view of one test image (Section 3.2), taken for a square of side Q."""
    return OF_KIND[view.kind](net, pixels(view.q, net.crop))


OF_KIND: dict[str, Callable[[Spec, int], int]] = {
    "dense": lambda net, side: cost(net, side).flops,
    "grid": lambda net, side: GRID**2 * cost(net).flops,
    "centre": lambda net, side: cost(net).flops,
    "box": lambda net, side: cost(net).flops,
    # The classification net scores each cell.
    "box_dense": lambda net, side: 2 * cost(net, side).flops,
    "windows": lambda net, side: score_map_side(net, side) ** 2 * cost(net).flops,
    # Of the image and of its mirror image.
    "descriptor": lambda net, side: 2 * cost(net, side).flops,
    "pixels": lambda net, side: 0,
}
"""Operations for one image of `side` pixels, by the kind of view (`repro.protocol.protocols`)."""


def receptive_field(layers: Iterable[Layer]) -> tuple[int, int]:
    """Side of what one cell before the FC layers sees, and the step between cells, in pixels."""
    field, step = 1, 1
    for layer in layers:
        if isinstance(layer, Conv | Pool):
            field += (layer.kernel - 1) * step
            step *= layer.stride
    return field, step


def map_side(net: Spec, side: int) -> int:
    """Side of the last feature map, in cells, for an image side in pixels."""
    *_, (_, _, last) = sides(net.features, side)
    return last


def score_map_side(net: Spec, side: int) -> int:
    """Side of the class score map of dense evaluation, in cells (Section 3.2)."""
    return map_side(net, side) - map_side(net, net.crop) + 1


def block_sides(net: Spec) -> dict[int, int]:
    """Side of the maps that each block works on, in cells: of what its last convolution gives."""
    every = sides(net.features, net.crop)
    return {layer.block: side for layer, _, side in every if isinstance(layer, Conv)}


def lrn_channels(net: Spec) -> int | None:
    """Fewest channels that a local response normalisation works on; None: the net has none."""
    return min((layer.channels for layer in net.layers if isinstance(layer, LRN)), default=None)


def overhang(net: Spec, side: int) -> int:
    """Pixels by which the last window of the score map hangs over an image of `side`."""
    _, step = receptive_field(net.layers)
    return max(0, (score_map_side(net, side) - 1) * step + net.crop - side)


class Memory(NamedTuple):
    """Bytes that training holds at once: an estimate, without what libraries use to compute.

    `weights` has bf16's copies too; `activations` are those of one batch, the input included.
    """

    weights: int
    gradients: int
    optimiser: int
    activations: int


def training_memory(
    net: Spec, recipe: Recipe, precision: str, finetune: str = "all", micro_batch: int | None = None
) -> Memory:
    """The memory of training a net by a recipe, with `micro_batch` images at once."""
    number = 8 if precision == "float64" else 4
    copies = 2 if precision == "bf16" else 0
    every = cost(net).parameters
    trained = every if finetune == "all" else sum(map(parameters, net.linears))
    moments = 2 if recipe.optimiser == "adam" else int(recipe.momentum > 0)
    images = min(recipe.batch, micro_batch or recipe.batch)
    activations = images * _kept(net, ACTIVATION_BYTES[precision], finetune)
    gradients = trained * number
    return Memory(every * (number + copies), gradients, gradients * moments, activations)


def _kept(net: Spec, number: int, finetune: str) -> int:
    """Bytes kept for the backward pass of one image, `number` bytes to an activation."""
    channels, total = net.channels, 0
    first = net.layers[0] if finetune == "all" else net.linears[0]
    for layer, before, after in sides(net.layers, net.crop):
        if layer is first:
            total += number * channels * before**2
        channels = layer.out_channels if isinstance(layer, Conv) else channels
        if finetune != "all" and not isinstance(layer, Linear):
            continue
        match layer:
            case Conv():
                # The output, rectified in place; with batch normalisation also what went into that.
                total += number * channels * after**2 * (1 + layer.batch_norm)
            case LRN() if number == 2:
                # The output, and in full precision a power and what it is of.
                total += (number + 2 * 4) * channels * after**2
            case LRN():
                # The squares are padded by two channels on either side before they are summed.
                total += number * (4 * channels + 4) * after**2
            case Pool():
                total += (number + PLACE_BYTES) * channels * after**2
            case Linear():
                # Of a hidden layer the dropout's mask and the product too.
                total += number * layer.out_features * (3 if layer.hidden else 1)
    return total


def largest_map(net: Spec) -> int:
    """How many numbers the largest map of one image of the crop's size has."""
    channels, largest = net.channels, net.channels * net.crop**2
    for layer, _, side in sides(net.features, net.crop):
        channels = layer.out_channels if isinstance(layer, Conv) else channels
        largest = max(largest, channels * side**2)
    return largest
