"""The dense form of a net: it runs over whole images of any shape (Section 3.2).

The first FC layer becomes a convolution as large as the map that it was trained on, the others
become 1x1 convolutions; the weights are the net's own, not copies.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from repro.nets.vgg import VGG


class Dense(nn.Module):
    """Maps images (N, channels, H, W) to the class score map (N, classes, h, w)."""

    def __init__(self, net: VGG) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        """The class score map; one cell where the image is as large as the crop."""
        maps: Tensor = self.net.features(images)
        linears = iter(self.net.spec.linears)
        for part in self.net.classifier:
            if isinstance(part, nn.Linear):
                layer = next(linears)
                kernel = part.weight.view(-1, layer.in_channels, layer.side, layer.side)
                maps = functional.conv2d(maps, kernel, part.bias)
            else:
                maps = part(maps)
        return maps

    def scores(self, images: Tensor) -> Tensor:
        """The class score map averaged over space: (N, classes)."""
        maps: Tensor = self(images)
        return maps.mean(dim=(2, 3))
