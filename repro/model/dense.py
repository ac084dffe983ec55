"""The dense form of a net: FC layers become convolutions over images of any shape (Section 3.2).

Images of several shapes can share a batch: each stands in the upper left corner of the common
shape, and whatever lies outside an image is set back to zero after every layer. Zeros are what its
own padding would have been, and a pooling passes them over beside rectified values.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from repro.model.layers import LRN, Conv, Net, Pool, output_side
from repro.model.vgg import VGG


class Dense(nn.Module):
    """Maps images (N, channels, H, W) to the class score map (N, classes, h, w).

    With `hidden` to the activations of the last hidden FC layer in place of scores (Appendix B).
    """

    def __init__(self, net: VGG, hidden: bool = False) -> None:
        super().__init__()
        self.net, self.classifier = net, net.classifier[:-1] if hidden else net.classifier

    def forward(self, images: Tensor) -> Tensor:
        """The class score map; one cell where the image is as large as the crop."""
        return self._classified(self.net.features(images))

    def scores(self, images: Tensor, shapes: Tensor | None = None) -> Tensor:
        """The class score map averaged over space, (N, classes).

        `shapes`, (N, 2), are the height and width of each image where they differ, for a net that
        `mixes_shapes`; what lies outside may be set to zero. None: all fill H and W.
        """
        if shapes is not None:
            # Part of a batch may fill less than the batch did.
            height, width = shapes.amax(dim=0).tolist()
            images = images[..., :height, :width]
        if shapes is None or bool((shapes == shapes[0]).all()):
            cells: Tensor = self(images)
            return cells.mean(dim=(2, 3))
        maps, extents = blank(images, shapes), shapes
        after = iter(_extents(self.net.spec, shapes))
        for part in self.net.features:
            maps = part(maps)
            # A convolution ends with its rectification, and normalisation keeps zeros as they are.
            if isinstance(part, nn.ReLU | nn.MaxPool2d):
                extents = next(after)
                blank(maps, extents)
        *_, extents = after
        maps = blank(self._classified(maps), extents)
        return maps.sum(dim=(2, 3)) / extents.prod(dim=1, keepdim=True).to(maps.device)

    def _classified(self, maps: Tensor) -> Tensor:
        linears = iter(self.net.spec.linears)
        for part in self.classifier:
            if isinstance(part, nn.Linear):
                layer = next(linears)
                kernel = part.weight.view(-1, layer.in_channels, layer.side, layer.side)
                maps = functional.conv2d(maps, kernel, part.bias)
            else:
                maps = part(maps)
        return maps


def mixes_shapes(net: Net) -> bool:
    """Whether images of several shapes can share a batch: no pooling sees unrectified values."""
    return next(isinstance(layer, Conv) for layer in net.layers if isinstance(layer, Conv | Pool))


def _extents(net: Net, shapes: Tensor) -> list[Tensor]:
    """Heights and widths, (N, 2), of the images' maps after each layer but normalisation."""
    sides, places = torch.unique(shapes, return_inverse=True)
    found, now = [], sides.tolist()
    for layer in (one for one in net.layers if not isinstance(one, LRN)):
        now = [output_side(layer, side) for side in now]
        found.append(torch.tensor(now)[places])
    return found


def blank(maps: Tensor, extents: Tensor) -> Tensor:
    """Set to zero, in place, the cells of `maps` (N, C, H, W) outside of each one's extent.

    Only the strips that some extent does not reach are touched.
    """
    for axis in (0, 1):
        least, most = int(extents[:, axis].min()), maps.shape[2 + axis]
        inside = (torch.arange(least, most) < extents[:, axis, None]).to(maps)
        if axis == 0:
            inside = inside[:, None, :, None]
        else:
            # As many channels as the maps and in their order: several times faster.
            inside = inside[:, None, None, :].expand(-1, maps.shape[1], -1, -1)
            inside = inside.contiguous(memory_format=torch.channels_last)
        maps.narrow(2 + axis, least, most - least).mul_(inside)
    return maps
