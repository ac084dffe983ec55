"""Dropout whose mask belongs to the batch, not to the process that computes a part of it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class Dropout(nn.Dropout):
    """Drops activations (Section 3.1) of some rows of a batch by the mask of the whole batch."""

    rows = slice(None)
    total = 0
    """The rows of the batch that come in, and how many it has; 0: all come in."""

    def forward(self, input: Tensor) -> Tensor:
        """(B, ...) to the same shape, where B is the number of `rows`.

        Which activations are dropped depends on torch's generator, on `total` and on the place of
        a row, so that processes which share a batch drop what a single one would.
        """
        if not self.training or self.total in (0, len(input)):
            return super().forward(input)
        ones = torch.ones(self.total, *input.shape[1:], dtype=input.dtype, device=input.device)
        return input * functional.dropout(ones, self.p)[self.rows]


def share(net: nn.Module, rows: slice, total: int) -> None:
    """Tell every dropout of `net` that `rows` of a batch of `total` images come in next."""
    for part in net.modules():
        if isinstance(part, Dropout):
            part.rows, part.total = rows, total


def seed(device: torch.device, value: int) -> None:
    """Seed what masks are drawn from: of torch's generators the CPU's and the device's.

    torch.manual_seed looks for every device there may be, at each call, which takes a share of a
    small net's step.
    """
    torch.default_generator.manual_seed(value)
    if device.type == "cuda":
        torch.cuda.manual_seed(value)
    elif device.type == "mps":
        torch.mps.manual_seed(value)
