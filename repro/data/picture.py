"""A picture of what a net is trained on: crops of the same images at several training scales."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image
from torch.nn import functional

from repro.data.rescale import rescale
from repro.data.split import Split
from repro.protocol.rescaling import OURS, Rescaling

IMAGES = 10
GAP = 2
"""White pixels between crops."""


def crops_picture(
    split: Split, scales: list[tuple[int, int]], crop: int, rescaling: Rescaling = OURS
) -> bytes:
    """A PNG with one row of random crops for each training scale, the same images in each row.

    Args:
        split: the training images; ten of them, evenly spread, are shown.
        scales: S of each row as (smallest, largest), in pixels.
        crop: side of the crop in pixels.
        rescaling: how images come to S.
    """
    random = np.random.default_rng(0)
    count = min(IMAGES, len(split.images))
    indices = np.linspace(0, len(split.images) - 1, count).astype(int)
    crops = []
    for smallest, largest in scales:
        for index in indices:
            side = int(random.integers(smallest, largest, endpoint=True))
            image = rescale(split.images[int(index)], side, rescaling)
            top = int(random.integers(image.shape[1] - crop, endpoint=True))
            left = int(random.integers(image.shape[2] - crop, endpoint=True))
            crops.append(image[:, top : top + crop, left : left + crop])
    edge = [functional.pad(image, (0, GAP, 0, GAP), value=255) for image in crops]
    rows = [torch.cat(edge[at : at + count], dim=2) for at in range(0, len(edge), count)]
    grid = functional.pad(torch.cat(rows, dim=1), (GAP, 0, GAP, 0), value=255)
    buffer = io.BytesIO()
    Image.fromarray(grid.expand(3, -1, -1).permute(1, 2, 0).numpy()).save(buffer, "PNG")
    return buffer.getvalue()
