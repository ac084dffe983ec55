"""A configuration of Table 1 as a net (Section 2.1), layer by layer from its list of layers.

The names of its weights are torchvision's, so that either loads the other's.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.nn import functional

from repro.errors import RunError
from repro.model import layers
from repro.model.cost import LRN_WINDOW
from repro.store.runs import WEIGHTS, read_weights


class VGG(nn.Module):
    """Maps images (N, channels, crop, crop) to scores (N, classes), before the soft-max."""

    def __init__(self, net: layers.Spec, dropout: float) -> None:
        super().__init__()
        self.spec = net
        features = (part for layer in net.features for part in build(layer, dropout))
        classifier = (part for layer in net.linears for part in build(layer, dropout))
        self.features, self.classifier = nn.Sequential(*features), nn.Sequential(*classifier)

    def forward(self, images: Tensor) -> Tensor:
        """Scores (N, classes) of crops (N, channels, crop, crop)."""
        scores: Tensor = self.classifier(torch.flatten(self.features(images), 1))
        return scores

    @property
    def convs(self) -> list[nn.Conv2d]:
        """The convolutions, in the order of `spec.convs`."""
        return [part for part in self.features if isinstance(part, nn.Conv2d)]

    @property
    def linears(self) -> list[nn.Linear]:
        """The fully connected layers, in the order of `spec.linears`."""
        return [part for part in self.classifier if isinstance(part, nn.Linear)]


def build(layer: layers.Layer, dropout: float) -> Iterator[nn.Module]:
    """The modules of one layer: those that are rectified or dropped from bring what does so."""
    match layer:
        case layers.Conv():
            shape = layer.in_channels, layer.out_channels, layer.kernel
            stride, padding = layer.stride, layer.padding
            yield nn.Conv2d(*shape, stride, padding, groups=layer.groups, bias=layer.bias)
            if layer.batch_norm:
                yield BatchNorm(layer.out_channels)
            yield nn.ReLU(inplace=True)
        case layers.LRN():
            # torch divides alpha by n, AlexNet's formula does not: 5e-4 here is its 1e-4.
            yield LocalResponseNorm(LRN_WINDOW, alpha=5e-4, beta=0.75, k=2.0)
        case layers.Pool():
            yield nn.MaxPool2d(layer.kernel, layer.stride, ceil_mode=True)
        case layers.Linear():
            yield nn.Linear(layer.in_channels * layer.side**2, layer.out_features)
            if layer.hidden:
                yield nn.ReLU(inplace=True)
                yield Dropout(dropout)


# Dropout and normalisation give the same however a batch is split, and each time again. torch's own
# layers are used as they are wherever they do: by one process, and on a CPU.


class Dropout(nn.Dropout):
    """Drops activations (Section 3.1) of some rows of a batch by the mask of the whole batch."""

    rows = slice(None)
    total = 0
    """The rows of the batch that come in, and how many it has; 0: all come in."""

    def forward(self, input: Tensor) -> Tensor:
        """(B, ...) to the same shape; processes that share a batch drop what a single one would."""
        if not self.training or self.total in (0, len(input)):
            return super().forward(input)
        ones = torch.ones(self.total, *input.shape[1:], dtype=input.dtype, device=input.device)
        return input * functional.dropout(ones, self.p)[self.rows]


def set_dropout_rows(net: nn.Module, rows: slice, total: int) -> None:
    """Tell every dropout of `net` that `rows` of a batch of `total` images come in next."""
    for part in net.modules():
        if isinstance(part, Dropout):
            part.rows, part.total = rows, total


def seed_masks(device: torch.device, value: int) -> None:
    """Seed what masks are drawn from: of torch's generators the CPU's and the device's."""
    # torch.manual_seed looks for every device there may be, which takes a share of a small step.
    torch.default_generator.manual_seed(value)
    if device.type == "cuda":
        torch.cuda.manual_seed(value)
    elif device.type == "mps":
        torch.mps.manual_seed(value)


class BatchNorm(nn.BatchNorm2d):
    """Batch normalisation by the whole batch, whichever processes share it."""

    total: Callable[[Tensor], Tensor] | None = None
    """Sums a tensor over the processes, gradients included. None: this process has the batch."""

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape; B may be 0. (SyncBatchNorm is for CUDA devices only.)"""
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


def share_batch_norm(net: nn.Module, total: Callable[[Tensor], Tensor]) -> None:
    """Have every batch normalisation of `net` sum by `total`."""
    for part in net.modules():
        if isinstance(part, BatchNorm):
            part.total = total


class LocalResponseNorm(nn.LocalResponseNorm):
    """Local response normalisation across channels, reproducible on CUDA too, and of any numbers.

    torch's layer averages by `avg_pool3d`, which on CUDA adds up its gradients in a varying order,
    and which a CPU lacks for bf16.
    """

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        windowed = input.is_cuda or input.dtype == torch.bfloat16
        return self.windowed(input) if windowed else super().forward(input)

    def windowed(self, input: Tensor) -> Tensor:
        """The same by sums of neighbouring channels, whose gradients have one order."""
        before, channels = self.size // 2, input.shape[1]
        after = (self.size - 1) // 2
        # By a product: autocast computes powers in full precision, and all that follows.
        squares = functional.pad(input * input, (0, 0, 0, 0, before, after))
        windows = [squares.narrow(1, first, channels) for first in range(self.size)]
        mean = sum(windows[1:], windows[0]) / self.size
        return (input / (mean * self.alpha + self.k).pow(self.beta)).to(input.dtype)


def encoded(net: VGG) -> bytes:
    """The content of a run's file of weights."""
    return save({name: t.detach().cpu().contiguous() for name, t in net.state_dict().items()})


def load_weights(net: VGG, folder: Path) -> str:
    """Load a finished run's weights into a net of the same shape; their digest.

    A RunError says why it cannot.
    """
    content, digest = read_weights(folder)
    try:
        net.load_state_dict(load(content))
    except (SafetensorError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise RunError(f"{folder / WEIGHTS} is damaged: {reason}; remove the folder") from None
    return digest
