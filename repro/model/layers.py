"""The layers of a net with their sizes, in order, as `repro.model.reading` makes them of words."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Conv:
    """A convolution, (normalised and) rectified: number `place`, from 1, of a block of Table 1."""

    kernel: int
    in_channels: int
    out_channels: int
    stride: int
    padding: int
    groups: int
    bias: bool
    batch_norm: bool
    block: int
    place: int


@dataclass(frozen=True)
class LRN:
    """Local response normalisation with AlexNet's n=5, alpha=1e-4 (not divided by n), beta, k."""

    channels: int


@dataclass(frozen=True)
class Pool:
    """Max-pooling. It rounds the side up, as the authors' Caffe does; torchvision's rounds down."""

    kernel: int
    stride: int
    block: int


@dataclass(frozen=True)
class Linear:
    """A fully connected layer: a convolution with a `side` x `side` kernel in the dense form.

    A hidden one (all but the last) is followed by a rectification and dropout.
    """

    in_channels: int
    side: int
    out_features: int
    hidden: bool


Layer = Conv | LRN | Pool | Linear


@dataclass(frozen=True)
class Spec:
    """A configuration at one size: layers in order, and what goes in."""

    name: str
    layers: tuple[Layer, ...]
    crop: int
    channels: int
    classes: int

    @property
    def features(self) -> tuple[Layer, ...]:
        """The layers before the fully connected ones, in order."""
        return tuple(layer for layer in self.layers if not isinstance(layer, Linear))

    @property
    def convs(self) -> tuple[Conv, ...]:
        """The convolutions, in order."""
        return tuple(layer for layer in self.layers if isinstance(layer, Conv))

    @property
    def linears(self) -> tuple[Linear, ...]:
        """The fully connected layers, in order."""
        return tuple(layer for layer in self.layers if isinstance(layer, Linear))

    @property
    def weighted(self) -> tuple[Conv | Linear, ...]:
        """The layers that have weights, in order."""
        return (*self.convs, *self.linears)

    @property
    def weight_layers(self) -> int:
        """The depth as the paper counts it: convolutions and fully connected layers."""
        return len(self.weighted)


def output_side(layer: Layer, side: int) -> int:
    """Side of a layer's output map for an input map of `side` (both in cells; 0: no map is left).

    Where a pooling rounds up, a last window that would start outside the map is left out (Caffe).
    """
    match layer:
        case Conv():
            return max(0, (side + 2 * layer.padding - layer.kernel) // layer.stride + 1)
        case Pool():
            out = (side - layer.kernel + layer.stride - 1) // layer.stride + 1
            return max(0, out - ((out - 1) * layer.stride >= side))
        case Linear():
            return max(0, side - layer.side + 1)
        case LRN():
            return side


def sides(layers: Iterable[Layer], side: int) -> Iterator[tuple[Layer, int, int]]:
    """Each layer with the sides of its input and its output map (cells), for an image of `side`."""
    for layer in layers:
        out = output_side(layer, side)
        yield layer, side, out
        side = out


def fan_in(layer: Conv | Linear) -> int:
    """Inputs that each output of a weight layer sums over."""
    if isinstance(layer, Conv):
        return layer.kernel**2 * (layer.in_channels // layer.groups)
    return layer.in_channels * layer.side**2
