"""What a published net wants to see: channel order, value range, mean and standard deviation."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from repro.config.schema import Config
from repro.data.inputs import Inputs
from repro.store.checks import ORDERS
from repro.store.identity import PUBLISHED

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
        return self.inputs(images.device, torch.float32, torch.contiguous_format)(images)

    def inputs(
        self, device: torch.device, dtype: torch.dtype, layout: torch.memory_format
    ) -> Inputs:
        """The same as `prepare`, as testing calls it."""
        # There the mean is in grey levels and RGB order.
        mean = [value * 255 / self.input_range for value in self.mean]
        step = -1 if self.order == "BGR" else 1
        divided = None if set(self.std) == {1.0} else self.std[::step]
        return Inputs(
            mean[::step], self.input_range, device, dtype, layout, divided, self.order == "BGR"
        )

    @property
    def tree(self) -> dict[str, Any]:
        """The convention as a run records it; `of` reads it back."""
        tree = asdict(self)
        return tree | {key: list(tree[key]) for key in ("mean", "std")}

    def text(self) -> str:
        """The convention as one line of JSON; `parse` reads it back."""
        return json.dumps(self.tree, sort_keys=True)


def parse(text: str) -> Convention:
    """The convention that `Convention.text` wrote.

    Raises:
        ValueError: it is none.
    """
    try:
        return of(json.loads(text))
    except RecursionError as error:
        raise ValueError(f"no input convention: {error}") from None


def of(tree: Mapping[str, Any]) -> Convention:
    """The convention that a run recorded.

    Raises:
        ValueError: it is none.
    """
    try:
        mean, std = (tuple(map(float, tree[key])) for key in ("mean", "std"))
        return Convention(str(tree["order"]), float(tree["input_range"]), mean, std)
    except (KeyError, TypeError) as error:
        raise ValueError(f"no input convention: {error}") from None


def of_run(config: Config, result: Mapping[str, Any]) -> Convention:
    """The convention of a finished run: that of the file that it tested, or its recipe's.

    Args:
        config: of the run.
        result: its `result.json`.
    """
    if PUBLISHED in result:
        return of(result[PUBLISHED]["input"])
    levels, mean = config.recipe.input_range, [0.0] * config.data.channels
    if config.recipe.subtract_mean:
        mean = result["data"]["mean"]
    scaled = [value * levels / 255 for value in mean]
    order = "grey" if len(mean) == 1 else "RGB"
    return Convention(order, levels, tuple(scaled), (1.0,) * len(mean))


CAFFE = Convention("BGR", 255.0, (103.939, 116.779, 123.68), (1.0, 1.0, 1.0))
"""The authors' own: mean pixel of ILSVRC-2012's training images, as published with their nets."""
TORCHVISION = Convention("RGB", 1.0, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
NAMED = {"caffe": CAFFE, "torchvision": TORCHVISION}
"""Conventions that a user may name for a file that does not tell."""
