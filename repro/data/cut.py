"""Images become crops of one size: rescaled, cropped, mirrored (Sections 3.1 and 3.2)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from torch import Tensor

from repro.data.images import ArrayImages, Images
from repro.data.rescale import Rescaling, rescale, rescaled_crop


@dataclass(frozen=True)
class Cut:
    """Makes batches of rescaled, cropped (no `crop`: whole, of one shape) and mirrored images."""

    images: Images
    smin: int
    smax: int
    crop: int | None
    mirror: bool
    rescaling: Rescaling
    windows: bool = False
    """The crops' windows (see `repro.protocol.boxes`), float64 (B, 5), are given with them."""

    def __call__(self, batch: tuple[NDArray[np.int64], NDArray[np.float64] | None]) -> Any:
        """Images (B,) by what was drawn for each, (B, 4), as uint8 (B, C, crop, crop).

        Where nothing was drawn all are mirrored or none, and crops are at the centre.
        """
        indices, uniform = batch
        sides, flips = np.full(len(indices), self.smin), np.full(len(indices), self.mirror)
        if uniform is not None:
            sides += (uniform[:, 0] * (self.smax - self.smin + 1)).astype(int)
            flips &= uniform[:, 3] < 0.5
        if isinstance(self.images, ArrayImages):
            crops = self._in_memory(self.images, indices, sides, uniform)
            crops[flips] = crops[flips].flip(-1)
            sizes = [tuple(self.images.array.shape[-2:])] * len(indices)
            return self._with_windows(crops, sizes, sides, flips, uniform)
        found, sizes = [], []
        for row, (index, side) in enumerate(zip(indices.tolist(), sides.tolist(), strict=True)):
            image = self.images[index]
            sizes.append(tuple(image.shape[-2:]))
            if self.crop is None:
                image = rescale(image, side, self.rescaling)
            else:
                shape = self.rescaling.shape(image.shape[-2], image.shape[-1], side)
                top, left = self._places(shape, self.crop, uniform, [row])[:, 0].tolist()
                image = rescaled_crop(image, shape, top, left, self.crop)
            # As a batch they lie row by row, their channels last.
            found.append((image.flip(-1) if flips[row] else image).permute(1, 2, 0))
        crops = torch.stack(found).permute(0, 3, 1, 2)
        return self._with_windows(crops, sizes, sides, flips, uniform)

    def _with_windows(
        self,
        crops: Tensor,
        sizes: Sequence[tuple[int, ...]],
        sides: NDArray[np.int64],
        flips: NDArray[np.bool_],
        uniform: NDArray[np.float64] | None,
    ) -> Any:
        if not self.windows or self.crop is None:
            return crops
        found = []
        for row, ((height, width), side) in enumerate(zip(sizes, sides.tolist(), strict=True)):
            shape = self.rescaling.shape(height, width, side)
            place = self._places(shape, self.crop, uniform, [row])[:, 0]
            found.append(window(shape, tuple(place), self.crop, bool(flips[row])))
        return crops, np.array(found)

    def _places(
        self, shape: tuple[int, int], crop: int, uniform: NDArray[np.float64] | None, rows: Any
    ) -> NDArray[np.int64]:
        """First rows and first columns (2, B) of crops in images rescaled to `shape`."""
        room: NDArray[np.int64] = np.array(shape)[:, None] - crop
        if uniform is None:
            # The centre of the 5x5 grid too (a half rounds to the even number).
            return np.rint(room / 2).astype(int)
        return np.asarray((uniform[rows, 1:3].T * (room + 1)).astype(int))

    def _in_memory(
        self,
        images: ArrayImages,
        indices: NDArray[np.int64],
        sides: NDArray[np.int64],
        uniform: NDArray[np.float64] | None,
    ) -> Tensor:
        """A batch of images in memory: those of one S in one step instead of one by one."""
        if self.crop is None:
            return rescale(images.take(indices).array, self.smin, self.rescaling)
        found = images.array.new_empty(len(indices), images.array.shape[1], self.crop, self.crop)
        for side in np.unique(sides).tolist():
            rows = np.flatnonzero(sides == side)
            array = rescale(images.take(indices[rows]).array, side, self.rescaling)
            shape = (array.shape[-2], array.shape[-1])
            top, left = self._places(shape, self.crop, uniform, rows)
            windows = sliding_window_view(array.numpy(), (self.crop, self.crop), axis=(2, 3))
            found[rows] = torch.from_numpy(windows[np.arange(len(rows)), :, top, left])
        return found


def window(
    shape: tuple[int, int], place: tuple[int, ...], crop: int, flipped: bool = False
) -> tuple[float, ...]:
    """The window (see `repro.protocol.boxes`) of a crop at a place (top, left) of an image."""
    (height, width), (top, left) = shape, place
    return left / width, top / height, crop / width, crop / height, float(flipped)
