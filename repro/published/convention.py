"""What a published net wants to see: channel order, value range, mean and standard deviation."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

ORDERS = {"grey": 1, "RGB": 3, "BGR": 3}
"""Channel orders, and how many channels each has."""
METADATA = "vgg_repro.input"
"""The key under which a safetensors file may say its convention; see `Convention.text`."""


@dataclass(frozen=True)
class Convention:
    """How grey levels 0-255 become a net's input: range, then minus the mean, over the deviation.

    The weights stay as the file has them: a net that was trained on BGR wants BGR here too.
    """

    order: str
    """`RGB`, `BGR` or `grey`."""
    input_range: float
    """Largest value before the mean is subtracted: 255 or 1."""
    mean: tuple[float, ...]
    """For each channel, in the net's own order and in the units of `input_range`."""
    std: tuple[float, ...]
    """As `mean`; 1 where nothing is divided."""

    def __post_init__(self) -> None:
        numbers = [self.input_range, *self.mean, *self.std]
        if ORDERS.get(self.order) != len(self.mean) or len(self.mean) != len(self.std):
            raise ValueError(f"{self.order} with {len(self.mean)} means, {len(self.std)} stds")
        if not all(map(math.isfinite, numbers)) or min(self.input_range, *self.std) <= 0:
            raise ValueError("an input range, a mean or a std that is no usable number")

    def prepare(self, images: Tensor) -> Tensor:
        """The net's input, float32 (N, C, H, W), of grey levels in RGB (or grey) order."""
        values = images.to(torch.float32)
        if self.order == "BGR":
            values = values.flip(1)
        mean, std = (values.new_tensor(v)[:, None, None] for v in (self.mean, self.std))
        return (values * (self.input_range / 255) - mean) / std

    def text(self) -> str:
        """The convention as one line of JSON; `parse` reads it back."""
        return json.dumps(asdict(self), sort_keys=True)


def parse(text: str) -> Convention:
    """The convention that `Convention.text` wrote.

    Raises:
        ValueError: it is none.
    """
    try:
        tree = json.loads(text)
        mean, std = (tuple(map(float, tree[key])) for key in ("mean", "std"))
        return Convention(str(tree["order"]), float(tree["input_range"]), mean, std)
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"no input convention: {error}") from None


CAFFE = Convention("BGR", 255.0, (103.939, 116.779, 123.68), (1.0, 1.0, 1.0))
"""The authors' own: mean pixel of ILSVRC-2012's training images, as published with their nets."""
TORCHVISION = Convention("RGB", 1.0, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
NAMED = {"caffe": CAFFE, "torchvision": TORCHVISION}
"""Conventions that a user may name for a file that does not tell."""
