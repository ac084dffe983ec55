"""Images with a smallest side of S or Q pixels (Sections 3.1, 3.2): bilinear, antialiased."""

import math
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Rescaling:
    """Isotropic, as the paper's, or to squares; the larger side is rounded half up."""

    square: bool = False
    """Both sides get the same length, whatever the image's shape was: `recipe.resize=square`."""

    def shape(self, height: int, width: int, side: int) -> tuple[int, int]:
        """(height, width) of an image once its smallest side is `side` pixels."""
        if self.square:
            return side, side
        other = math.floor(max(height, width) * side / min(height, width) + 0.5)
        return (side, other) if height <= width else (other, side)


ISOTROPIC = Rescaling()


def rescale(images: Tensor, side: int, rescaling: Rescaling = ISOTROPIC) -> Tensor:
    """Grey levels (..., C, H, W), uint8, with the smallest side `side` pixels, uint8."""
    height, width = rescaling.shape(images.shape[-2], images.shape[-1], side)
    if (height, width) == tuple(images.shape[-2:]):
        return images
    if images.dim() == 4:
        return _resampled(images, height, width)
    return _resampled(_batch_of_one(images), height, width)[0]


def rescaled_crop(image: Tensor, shape: tuple[int, int], top: int, left: int, crop: int) -> Tensor:
    """The [:, top : top + crop, left : left + crop] of an image rescaled to `shape`, bit for bit.

    torch resamples along rows, rounds, and resamples along columns: the first step needs the rows
    that the crop looks at, and the second the crop's own columns.
    """
    height, width = shape
    if shape == tuple(image.shape[-2:]):
        return image[:, top : top + crop, left : left + crop]
    rows = image.shape[-2]
    scale = rows / height
    # The filter reaches as far as one pixel of the coarser of the two images.
    reach = max(scale, 1.0)
    first = max(0, math.floor((top + 0.5) * scale - reach) - 1)
    last = min(rows, math.ceil((top + crop - 0.5) * scale + reach) + 1)
    wide = _resampled(_batch_of_one(image[:, first:last]), last - first, width)
    # Both passes keep the place of each row: the second one needs the image's whole height.
    narrow = image.new_empty(1, rows, crop, image.shape[0])
    narrow[:, first:last] = wide.permute(0, 2, 3, 1)[:, :, left : left + crop]
    return _resampled(narrow.permute(0, 3, 1, 2), height, crop)[0, :, top : top + crop]


def _batch_of_one(image: Tensor) -> Tensor:
    # Indexing with None gives a stride that torch takes for another format, slower by far.
    return image.permute(1, 2, 0)[None].permute(0, 3, 1, 2)


def _resampled(batch: Tensor, height: int, width: int) -> Tensor:
    return functional.interpolate(batch, (height, width), mode="bilinear", antialias=True)
