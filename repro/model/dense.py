"""The dense form of a net: FC layers become convolutions over images of any shape (Section 3.2)."""

from torch import Tensor, nn
from torch.nn import functional

from repro.model.vgg import VGG


class Dense(nn.Module):
    """Maps images (N, C, H, W) to scores (N, classes, h, w), or to `hidden` activations."""

    def __init__(self, net: VGG, hidden: bool = False) -> None:
        super().__init__()
        self.net, self.classifier = net, net.classifier[:-1] if hidden else net.classifier

    def forward(self, images: Tensor) -> Tensor:
        """The class score map; one cell where the image is as large as the crop."""
        maps: Tensor = self.net.features(images)
        linears = iter(self.net.spec.linears)
        for part in self.classifier:
            if isinstance(part, nn.Linear):
                maps = _at_every_place(maps, part, next(linears).side)
            else:
                maps = part(maps)
        return maps

    def scores(self, images: Tensor) -> Tensor:
        """The class score map averaged over space, (N, classes)."""
        cells: Tensor = self(images)
        return cells.mean(dim=(2, 3))


def _at_every_place(maps: Tensor, layer: nn.Linear, side: int) -> Tensor:
    """An FC layer of windows of `side` cells: (N, C, H, W) to (N, out, H - side + 1, ...)."""
    # As a product of matrices: a convolution would rearrange the layer's weights for each batch.
    images, _, height, width = maps.shape
    scores: Tensor = layer(functional.unfold(maps, side).transpose(1, 2)).transpose(1, 2)
    return scores.reshape(images, layer.out_features, height - side + 1, width - side + 1)
