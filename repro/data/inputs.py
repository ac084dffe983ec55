"""What enters the net (Section 3.1), from grey levels to numbers around zero."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from repro.data.loader import normalise


@dataclass(frozen=True)
class Inputs:
    """Takes grey levels to the net's input, on its device. It is called with batches of images.

    A training image comes here by these steps, in this order:

    1. It is rescaled until its smaller side is S, which for jittered scales is drawn anew each
       time; a crop is cut out at random; half of the crops are flipped: `repro.data.loader.Cut`.
    2. A colour is drawn, to be added to the whole crop: `repro.data.statistics.shifts`.
    3. Here that colour is added, the training set's mean colour is subtracted, and the result is
       scaled from 0-255 to the recipe's range.

    A test image comes without a colour: `repro.data.whole`.
    """

    mean: Sequence[float]
    """Of each channel, in grey levels; zeros where the recipe subtracts none."""
    input_range: float
    """What 255 grey levels become: 255 in the paper."""
    device: torch.device
    dtype: torch.dtype
    layout: torch.memory_format
    std: Sequence[float] | None = None
    """What each channel is divided by in the end; None: nothing, as in the paper. Published nets
    want what they were trained with."""
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
        """The net's input, (B, C, H, W).

        Args:
            images: grey levels 0-255, uint8 (B, C, H, W).
            shift: colours to be added, in grey levels, (B, C); None: none.
        """
        images = images.to(self.device, non_blocking=True)
        if shift is not None:
            shift = shift.to(self.device, non_blocking=True)
        values = normalise(images, self._mean, self.input_range, shift)
        if self._std is not None:
            values /= self._std[:, None, None]
        if self.reverse:
            values = values.flip(1)
        return values.to(self.dtype).contiguous(memory_format=self.layout)
