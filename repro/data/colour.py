"""The random colour shift of training images: AlexNet's, along the principal colours."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from repro.data.statistics import Statistics


def shifts(normals: NDArray[np.float64], statistics: Statistics, std: float) -> NDArray[np.float32]:
    """Shifts in grey levels, (N, C), from standard normal numbers (N, C).

    Each is the sum of the principal components, each times its eigenvalue times N(0, std), of
    pixels in 0-1 (Krizhevsky et al., 2012, Section 4.1, as re-implementations take it). Images of
    one channel have no colour and are not shifted.
    """
    if normals.shape[1] == 1:
        return np.zeros(normals.shape, dtype=np.float32)
    weights = std * normals * np.array(statistics.eigenvalues)
    result = 255 * weights @ np.array(statistics.eigenvectors).T
    return np.asarray(result, dtype=np.float32)
