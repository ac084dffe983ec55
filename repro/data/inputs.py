"""What enters the net (Section 3.1), from grey levels to numbers around zero."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True)
class Inputs:
    """Takes batches of grey levels to the net's input, on its device.

    The colour shift of a training image is added, the training set's mean colour subtracted, and
    the result scaled from 0-255 to the recipe's range.
    """

    mean: Sequence[float]
    """The mean of each channel in grey levels; zeros where the recipe subtracts none."""
    input_range: float
    """The value that 255 grey levels become: 255 in the paper."""
    device: torch.device
    dtype: torch.dtype
    layout: torch.memory_format
    std: Sequence[float] | None = None
    """The divisor of each channel in the end; None: none, as in the paper."""
    reverse: bool = False
    """Whether the net takes the channels in the other order, BGR."""

    @cached_property
    def _mean(self) -> Tensor:
        # Once: a copy to a device would have it wait in each step.
        return torch.tensor(self.mean, dtype=torch.float32, device=self.device)

    @cached_property
    def _std(self) -> Tensor | None:
        return None if self.std is None else torch.tensor(self.std, device=self.device)

    def __call__(self, images: Tensor, shift: Tensor | None = None) -> Tensor:
        """The net's input of grey levels 0-255, uint8 (B, C, H, W), plus colours (B, C), if any."""
        images = images.to(self.device, non_blocking=True)
        if shift is not None:
            shift = shift.to(self.device, non_blocking=True)
        values = normalise(images, self._mean, self.input_range, shift)
        if self._std is not None:
            values /= self._std[:, None, None]
        if self.reverse:
            values = values.flip(1)
        return values.to(self.dtype).contiguous(memory_format=self.layout)


def normalise(
    images: Tensor, mean: Sequence[float] | Tensor, input_range: float, shift: Tensor | None = None
) -> Tensor:
    """Grey levels (B, C, H, W) minus mean plus shift (B, C), 255 as `input_range`, float32."""
    offset = -torch.as_tensor(mean, dtype=torch.float32, device=images.device)[None, :]
    if shift is not None:
        offset = offset + shift
    values = images.to(torch.float32, copy=True)
    if values.is_contiguous(memory_format=torch.channels_last):
        # Row by row a short axis of channels is slow to broadcast along; whole rows are not.
        rows = values.permute(0, 2, 3, 1).flatten(2)
        rows += offset.repeat(1, images.shape[-1])[:, None, :]
    else:
        values += offset[:, :, None, None]
    return values if input_range == 255 else values.mul_(input_range / 255)
