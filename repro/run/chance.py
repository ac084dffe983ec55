"""Whether a net has learned: its validation error against chance."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Chance:
    """The error of a net that names the commonest class whatever it sees."""

    error: float
    """In percent."""
    threshold: float
    """Three standard deviations of the validation error below it: an error under it is no luck."""


def chance(labels: NDArray[np.int64], validation_images: int) -> Chance:
    """Chance by the training labels, and what is clearly better on so many validation images."""
    error = 1 - np.bincount(labels).max() / len(labels)
    deviation = math.sqrt(error * (1 - error) / validation_images)
    return Chance(100 * error, 100 * (error - 3 * deviation))
