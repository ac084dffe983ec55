"""Rescaling by smallest side (Sections 3.1 and 3.2), isotropic and with antialiasing."""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn import functional


def rescaled_shape(height: int, width: int, side: int, square: bool = False) -> tuple[int, int]:
    """(height, width) once the smallest side is `side` pixels; the other is rounded half up.

    `square` gives both sides the same length, whatever the image's shape was.
    """
    if square:
        return side, side
    if height <= width:
        return side, math.floor(width * side / height + 0.5)
    return math.floor(height * side / width + 0.5), side


def rescale(images: Tensor, side: int, square: bool = False) -> Tensor:
    """Grey levels (..., C, H, W), uint8, with the smallest side `side` pixels: bilinear, uint8."""
    height, width = rescaled_shape(images.shape[-2], images.shape[-1], side, square)
    if (height, width) == tuple(images.shape[-2:]):
        return images
    batch = images if images.dim() == 4 else images[None]
    resized = functional.interpolate(batch, (height, width), mode="bilinear", antialias=True)
    return resized if images.dim() == 4 else resized[0]
