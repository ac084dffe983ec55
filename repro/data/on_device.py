"""Training crops of whole batches at once, on the device that trains (Section 3.1).

Antialiased bilinear rescaling is linear along each axis, so a crop of an image rescaled to its own
S is two matrix products: one makes the crop's columns, one its rows. Where an image is rescaled, a
grey level may differ from `repro.data.loader`'s by two: a CPU rounds the weights of a pixel too.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from repro.data.images import ArrayImages, Images
from repro.data.rescale import Rescaling
from repro.errors import RunError

LARGEST = 2**33
"""Bytes of images that are held on a device, at most."""


def held(images: Images, device: torch.device) -> ArrayImages:
    """Images in memory, copied to a device; a RunError says that they cannot lie there."""
    if not isinstance(images, ArrayImages):
        raise RunError("data.on_device=true: the images are files, take data.in_memory=true too")
    if (size := images.array.nbytes) > LARGEST:
        most = f"expected {LARGEST / 2**30:.0f} GiB of images at most"
        raise RunError(f"data.on_device=true: {most}, and here are {size / 2**30:.0f}")
    return ArrayImages(images.array.to(device))


@dataclass(frozen=True)
class CutOnDevice:
    """Makes batches of images that are rescaled, cropped and mirrored where the images lie."""

    images: ArrayImages
    smin: int
    smax: int
    crop: int
    mirror: bool
    rescaling: Rescaling

    def __call__(self, batch: tuple[NDArray[np.int64], NDArray[np.float64]]) -> Tensor:
        """Images (B,) by what was drawn for each, (B, 4), as uint8 (B, C, crop, crop)."""
        indices, uniform = batch
        array = self.images.array
        size, sides = array.shape[-2:], range(self.smin, self.smax + 1)
        shapes = np.array([self.rescaling.shape(size[0], size[1], side) for side in sides])
        shape = shapes[(uniform[:, 0] * len(shapes)).astype(int)]
        corner = (uniform[:, 1:3] * (shape - self.crop + 1)).astype(int)
        flip = (uniform[:, 3] < 0.5) & self.mirror
        # In one copy, which no device waits for.
        drawn = torch.from_numpy(np.column_stack([indices, shape, corner, flip]))
        index, height, width, top, left, flips = drawn.to(array.device, non_blocking=True).T
        place = torch.arange(self.crop, device=array.device)
        columns = left[:, None] + torch.where(flips[:, None] > 0, place.flip(0), place)
        across = _weights(size[1], width, columns)
        down = _weights(size[0], height, top[:, None] + place)
        # Not in tf32, whatever training takes: it would round the weights of pixels.
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("highest")
        try:
            # Grey levels are rounded between the two, as on a CPU.
            wide = (array[index].float() @ across.transpose(1, 2)[:, None] + 0.5).floor()
            return (down[:, None] @ wide + 0.5).floor().to(torch.uint8)
        finally:
            torch.set_float32_matmul_precision(before)


def _weights(length: int, scaled: Tensor, places: Tensor) -> Tensor:
    """Shares (B, crop, length) of an axis's pixels in those at `places` of `scaled`: triangles."""
    step = (length / scaled)[:, None, None]
    centre = (places[..., None] + 0.5) * step
    pixels = torch.arange(length, device=places.device) + 0.5
    weights = (1 - (pixels - centre).abs() / step.clamp(min=1)).clamp(min=0)
    return weights / weights.sum(dim=-1, keepdim=True)
