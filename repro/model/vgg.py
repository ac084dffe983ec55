"""A configuration of Table 1 as a net (Section 2.1).

The net is two plain sequences, `features` and `classifier`, built layer by layer from the list
that `repro.model.reading` makes of the YAML. For A, B, D and E the names of its weights are
those of torchvision's vgg11, vgg13, vgg16 and vgg19, so that either loads the other's.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from repro.model import layers as spec
from repro.model.dropout import Dropout
from repro.model.geometry import LRN_WINDOW
from repro.model.normalisation import BatchNorm, LocalResponseNorm


class VGG(nn.Module):
    """Maps images (N, channels, crop, crop) to scores (N, classes), before the soft-max."""

    def __init__(self, net: spec.Net, dropout: float) -> None:
        super().__init__()
        self.spec = net
        features = (layer for layer in net.layers if not isinstance(layer, spec.Linear))
        self.features = nn.Sequential(*(part for layer in features for part in build(layer)))
        self.classifier = nn.Sequential(
            *(part for layer in net.linears for part in fully_connected(layer, dropout))
        )

    def forward(self, images: Tensor) -> Tensor:
        """Scores (N, classes) of crops (N, channels, crop, crop)."""
        scores: Tensor = self.classifier(torch.flatten(self.features(images), 1))
        return scores

    @property
    def convs(self) -> list[nn.Conv2d]:
        """The convolutions, in the order of `spec.convs`."""
        return [part for part in self.features if isinstance(part, nn.Conv2d)]

    @property
    def linears(self) -> list[nn.Linear]:
        """The fully connected layers, in the order of `spec.linears`."""
        return [part for part in self.classifier if isinstance(part, nn.Linear)]


def build(layer: spec.Conv | spec.LRN | spec.Pool) -> Iterator[nn.Module]:
    """The modules of one layer of a block: a convolution brings its rectification."""
    match layer:
        case spec.Conv():
            yield nn.Conv2d(
                layer.in_channels,
                layer.out_channels,
                layer.kernel,
                stride=layer.stride,
                padding=layer.padding,
                groups=layer.groups,
                bias=layer.bias,
            )
            if layer.batch_norm:
                yield BatchNorm(layer.out_channels)
            yield nn.ReLU(inplace=True)
        case spec.LRN():
            # torch divides alpha by n, AlexNet's formula does not: 5e-4 here is its 1e-4.
            yield LocalResponseNorm(LRN_WINDOW, alpha=5e-4, beta=0.75, k=2.0)
        case spec.Pool():
            yield nn.MaxPool2d(layer.kernel, layer.stride, ceil_mode=layer.ceil)


def fully_connected(layer: spec.Linear, dropout: float) -> Iterator[nn.Module]:
    """The modules of one FC layer: a hidden one brings its rectification and dropout."""
    yield nn.Linear(layer.in_channels * layer.side**2, layer.out_features)
    if layer.hidden:
        yield nn.ReLU(inplace=True)
        yield Dropout(dropout)
