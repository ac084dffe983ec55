"""How an image comes to a smallest side of S or Q pixels (Sections 3.1 and 3.2)."""

from __future__ import annotations

import math
from dataclasses import dataclass

KERNELS = {
    "bilinear": "bilinear, antialiased",
    "bilinear_pillow": "Pillow's bilinear",
    "bilinear_aliased": "bilinear, not antialiased",
    "bicubic_pillow": "Pillow's bicubic",
}
"""The kernels that images are resampled with, and what tables call them. The first is the suite's
own; `repro.data.rescale` computes them."""


@dataclass(frozen=True)
class Rescaling:
    """A way of rescaling. The paper says isotropic; the rest is a choice, ours or another's."""

    square: bool = False
    """Both sides get the same length, whatever the image's shape was."""
    kernel: str = "bilinear"
    """A key of `KERNELS`."""
    floor: bool = False
    """Whether the length of the larger side is rounded down, as torchvision does; else half up."""

    def shape(self, height: int, width: int, side: int) -> tuple[int, int]:
        """(height, width) of an image once its smallest side is `side` pixels."""
        if self.square:
            return side, side
        exact = max(height, width) * side / min(height, width)
        other = math.floor(exact if self.floor else exact + 0.5)
        return (side, other) if height <= width else (other, side)


OURS = Rescaling()
"""Isotropic, bilinear with antialiasing, rounded half up."""


def rescaling(resize: str) -> Rescaling:
    """What `recipe.resize` means: `isotropic` (the paper) or `square`."""
    return Rescaling(square=resize == "square")
