"""What a file of weights holds, whatever its format, and the input that its net wants."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from repro.config.schema import Config
from repro.data.inputs import Inputs
from repro.errors import RequestError
from repro.store.checks import ORDERS
from repro.store.identity import PUBLISHED

METADATA = "vgg_repro.input"
"""The key under which a safetensors file may hold `Convention.tree` as JSON."""
LARGEST = 4 * 2**30
"""Bytes of a file and of what it unpacks to, as a checkpoint of E with its optimiser may have."""


@dataclass(frozen=True)
class Convention:
    """Takes grey levels 0-255 to a net's input: range, then minus the mean, over the deviation."""

    order: str
    """`RGB`, `BGR` or `grey`."""
    input_range: float
    """The value that 255 becomes before the mean is subtracted."""
    mean: tuple[float, ...]
    """For each channel, in the net's own order and in the units of `input_range`."""
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    """As `mean`; 1 where nothing is divided."""

    def __post_init__(self) -> None:
        if not ORDERS.get(self.order) == len(self.mean) == len(self.std):
            raise ValueError(f"{self.order} with {len(self.mean)} means, {len(self.std)} stds")
        numbers = [self.input_range, *self.mean, *self.std]
        if not all(map(math.isfinite, numbers)) or min(self.input_range, *self.std) <= 0:
            raise ValueError("an input range, a mean or a std that is no usable number")

    def inputs(
        self,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
        layout: torch.memory_format = torch.contiguous_format,
    ) -> Inputs:
        """The same steps on decoded RGB (or grey) images, the mean in grey levels."""
        mean = [value * 255 / self.input_range for value in self.mean]
        step = -1 if self.order == "BGR" else 1
        std = None if set(self.std) == {1.0} else self.std[::step]
        return Inputs(mean[::step], self.input_range, device, dtype, layout, std, step == -1)

    @property
    def tree(self) -> dict[str, Any]:
        """The convention as plain data, as a run records it; `recorded` reads it back."""
        return asdict(self) | {"mean": list(self.mean), "std": list(self.std)}


CAFFE = Convention("BGR", 255.0, (103.939, 116.779, 123.68))
"""The authors' own: mean pixel of ILSVRC-2012's training images, as published with their nets."""
TORCHVISION = Convention("RGB", 1.0, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
NAMED = {"caffe": CAFFE, "torchvision": TORCHVISION}


def parse(text: str) -> Convention:
    """The convention of a name, or `ORDER:LOW..HIGH[:MEAN[:STD]]`, numbers by channel with `/`."""
    if text in NAMED:
        return NAMED[text]
    try:
        # Others than these characters would not do in the name of a run.
        order, span, *said = re.fullmatch("[A-Za-z0-9.:/-]+", text)[0].split(":")  # type: ignore[index]
        low, high = map(float, span.split(".."))
        each = [*said, *("0", "1")[len(said) :]]
        numbers = ([float(number) for number in part.split("/")] for part in each)
        mean, std = (n * ORDERS[order] if len(n) == 1 else n for n in numbers)
        shifted = tuple(value - low for value in mean)
        return Convention(order, high - low, shifted, tuple(std))
    except (TypeError, KeyError, ValueError):
        raise RequestError(
            f"weights_input={text} is not known: choose from {', '.join(NAMED)}, or say "
            "ORDER:LOW..HIGH:MEAN:STD, as in RGB:-1..1 or RGB:0..1:0.485/0.456/0.406:0.226"
        ) from None


def recorded(tree: Mapping[str, Any]) -> Convention:
    """The convention that a run or a file recorded; ValueError where the record is none."""
    try:
        mean, std = (tuple(map(float, tree[key])) for key in ("mean", "std"))
        return Convention(str(tree["order"]), float(tree["input_range"]), mean, std)
    except (KeyError, TypeError) as error:
        raise ValueError(f"no input convention: {error}") from None


def of_run(config: Config, result: Mapping[str, Any]) -> Convention:
    """The convention of a finished run; a RequestError: its `result.json` does not say."""
    levels, channels = config.recipe.input_range, config.data.channels
    try:
        if PUBLISHED in result:
            return recorded(result[PUBLISHED]["input"])
        mean = result["data"]["mean"] if config.recipe.subtract_mean else [0.0] * channels
        scaled = tuple(value * levels / 255 for value in mean)
        return Convention("grey" if channels == 1 else "RGB", levels, scaled, (1.0,) * len(mean))
    except (KeyError, ValueError):
        wanted = f"expected data.mean with {channels} numbers"
        raise RequestError(f"result.json of {result['name']}: {wanted}") from None


def synsets() -> tuple[str, ...]:
    """The WordNet numbers of ILSVRC-2012's 1,000 classes, in their order."""
    return tuple(Path(__file__).with_name("ilsvrc2012.txt").read_text("utf-8").split())


class Weights(NamedTuple):
    """The content of a file of weights. Tensors may be views of the file: copy before writing."""

    tensors: dict[str, Tensor]
    """A reader's: by the file's names, in the order in which the net applies them, weight and bias
    before those of batch normalisation, axes in our order. `read`'s: our net's state dict."""
    convention: Convention
    """The input that the net wants; it is not folded into the weights."""
    format: str
    """The program that wrote the file: `Caffe`, `Keras`, `torchvision`, ..."""
    classes: tuple[str, ...] | None = None
    """Names of the classes in the order of the scores; None: the file has none."""
    doubt: str = ""
    """Why the convention may be another: it has to be said."""
    channels_last: bool = False
    """Whether the map was flattened with its channels last for the first FC layer."""

    def of_classes(self, names: Sequence[str]) -> "Weights":
        """The net that knows `names`, in this order, if all are its own or ImageNet's."""
        last, known = [*self.tensors][-2:], self.classes or synsets()
        fits = {len(self.tensors[key]) for key in last} == {len(known)}
        if not names or tuple(names) == known or not ({*names} <= {*known} and fits):
            return self
        rows = [known.index(name) for name in names]
        fewer = self.tensors | {key: self.tensors[key][rows] for key in last}
        said = f"{self.format}, {len(rows)} of its {len(known)} classes"
        return self._replace(tensors=fewer, classes=tuple(names), format=said)
