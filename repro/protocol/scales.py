"""Paper pixels: S and Q as the paper writes them, and what they are at another size."""

import math

from repro.config.schema import Scale

PAPER_CROP = 224
PICTURED = ((256, 256), (384, 384), (256, 512))
"""The training scales that the picture of crops shows, a row each, in paper pixels."""


def pixels(paper_pixels: int, crop: int) -> int:
    """A scale of the paper in pixels of an experiment with this crop, rounded half up."""
    return math.floor(paper_pixels * crop / PAPER_CROP + 0.5)


def single_q(scale: Scale) -> int:
    """The one test scale, in paper pixels: S, or the middle of [smin, smax] (Section 4.1)."""
    return (scale.smin + scale.smax) // 2


def several_q(scale: Scale) -> tuple[int, int, int]:
    """The three test scales in paper pixels: S-32, S, S+32, or smin, middle, smax (Section 4.2)."""
    if scale.smin == scale.smax:
        return scale.smin - 32, scale.smin, scale.smin + 32
    return scale.smin, single_q(scale), scale.smax
