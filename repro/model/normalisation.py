"""Normalisation that gives the same result however a batch is split, and each time it is computed.

torch's own layers are used as they are wherever they do: by one process, and on a CPU.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional


class BatchNorm(nn.BatchNorm2d):
    """Batch normalisation by the whole batch, whichever processes share it."""

    total: Callable[[Tensor], Tensor] | None = None
    """Sums a tensor over the processes, gradients included. None: this process has the batch."""

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape, where B is the number of this process's images.

        B may be 0. The running mean and variance are those of the whole batch in each process.
        (torch's SyncBatchNorm is for CUDA devices only.)
        """
        if not self.training or self.total is None:
            return super().forward(input)
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        values = input.to(self.weight.dtype)
        own = values.new_full((1,), values.numel() // values.shape[1])
        sums = self.total(torch.cat([values.sum(dim=(0, 2, 3)), own]))
        count, mean = sums[-1].detach(), sums[:-1] / sums[-1].detach()
        centred = values - mean[:, None, None]
        variance = self.total(centred.square().sum(dim=(0, 2, 3))) / count
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1).clamp(min=1), self.momentum)
        scale = self.weight * (variance + self.eps).rsqrt()
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(input.dtype)


def share_batch_norm(net: nn.Module, total: Callable[[Tensor], Tensor]) -> bool:
    """Have every batch normalisation of `net` sum its statistics by `total`.

    Returns:
        Whether there is one.
    """
    layers = [part for part in net.modules() if isinstance(part, BatchNorm)]
    for layer in layers:
        layer.total = total
    return bool(layers)


class LocalResponseNorm(nn.LocalResponseNorm):
    """Local response normalisation across channels, whose gradients are reproducible on CUDA too.

    torch's layer averages by `avg_pool3d`, which on a CUDA device adds up its gradients in an
    order that changes from time to time.
    """

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        return self.windowed(input) if input.is_cuda else super().forward(input)

    def windowed(self, input: Tensor) -> Tensor:
        """The same by sums of neighbouring channels, whose gradients have one order."""
        before, channels = self.size // 2, input.shape[1]
        after = (self.size - 1) // 2
        squares = functional.pad(input.square(), (0, 0, 0, 0, before, after))
        windows = [squares.narrow(1, first, channels) for first in range(self.size)]
        mean = sum(windows[1:], windows[0]) / self.size
        return input / (mean * self.alpha + self.k).pow(self.beta)
