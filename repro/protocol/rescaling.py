"""How an image comes to a smallest side of S or Q pixels (Sections 3.1 and 3.2)."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Rescaling:
    """Isotropic, as the paper's, or to squares; the larger side is rounded half up."""

    square: bool = False
    """Both sides get the same length, whatever the image's shape was."""

    def shape(self, height: int, width: int, side: int) -> tuple[int, int]:
        """(height, width) of an image once its smallest side is `side` pixels."""
        if self.square:
            return side, side
        other = math.floor(max(height, width) * side / min(height, width) + 0.5)
        return (side, other) if height <= width else (other, side)


OURS = Rescaling()
"""The paper's."""


def rescaling(resize: str) -> Rescaling:
    """What `recipe.resize` means: `isotropic` (the paper) or `square`."""
    return Rescaling(square=resize == "square")
