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

IMAGES, GAP = 10, 2
"""Crops in a row, and white pixels between them."""


def crops_picture(
    split: Split, scales: list[tuple[int, int]], crop: int, rescaling: Rescaling = OURS
) -> bytes:
    """A PNG with a row of random crops for each training scale (smallest and largest S, in pixels).

    Each row shows the same ten training images, evenly spread.
    """
    random, few = np.random.default_rng(0), split.spread(IMAGES).images
    rows = []
    for smallest, largest in scales:
        row = []
        for index in range(len(few)):
            side = int(random.integers(smallest, largest, endpoint=True))
            image = rescale(few[index], side, rescaling)
            top = int(random.integers(image.shape[1] - crop, endpoint=True))
            left = int(random.integers(image.shape[2] - crop, endpoint=True))
            cut = image[:, top : top + crop, left : left + crop]
            row.append(functional.pad(cut, (0, GAP, 0, GAP), value=255))
        rows.append(torch.cat(row, dim=2))
    grid = functional.pad(torch.cat(rows, dim=1), (GAP, 0, GAP, 0), value=255)
    buffer = io.BytesIO()
    Image.fromarray(grid.expand(3, -1, -1).permute(1, 2, 0).numpy()).save(buffer, "PNG")
    return buffer.getvalue()
