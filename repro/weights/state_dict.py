"""State dicts by the names of their tensors: torchvision's, timm's, jcjohnson's, ours."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from repro.errors import RequestError
from repro.weights.contents import Contents, Layer
from repro.weights.convention import CAFFE, TORCHVISION

FIRST = "features.0.weight"
WRAPPERS = {"module", "_orig_mod"}
"""What DataParallel, averaging and `torch.compile` put between the names of modules."""
COUNTERS = ("num_batches_tracked", "n_averaged")
NUMBERED = re.compile(r"(features|classifier)\.(\d{1,4})")
TIMM = ["pre_logits.fc1", "pre_logits.fc2", "head.fc"]
JCJOHNSON = ["classifier.1", "classifier.4", "classifier.6"]
NORM = ("weight", "bias", "running_mean", "running_var")
Modules = dict[str, dict[str, Tensor]]


def contents(tensors: Mapping[str, Tensor]) -> Contents:
    """The layers that a state dict names, in order; wrappers and a common prefix are put aside.

    Raises:
        RequestError: the names are of no net like these.
    """
    modules: Modules = {}
    for name, value in _plain_names(tensors).items():
        module, _, part = name.rpartition(".")
        if part not in COUNTERS:
            modules.setdefault(module, {})[part] = _plain(name, value)
    features = list(_features(modules))
    names = [name for name in TIMM if name in modules]
    written = ("timm", TORCHVISION)
    if not names:
        names = sorted((name for name in modules if NUMBERED.fullmatch(name)), key=_number)
        jcjohnson = names == JCJOHNSON
        written = ("jcjohnson's torch file", CAFFE) if jcjohnson else ("torchvision", TORCHVISION)
    layers = [*features, *(_layer(name, modules.pop(name), (2, 4)) for name in names)]
    if modules:
        raise RequestError(f"it also holds {next(iter(modules))}, which these nets do not have")
    return Contents(written[0], tuple(layers), written[1])


def _plain_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    plain = {
        ".".join(part for part in name.split(".") if part not in WRAPPERS): value
        for name, value in tensors.items()
    }
    prefix = next((name[: -len(FIRST)] for name in plain if name.endswith(FIRST)), None)
    if prefix is None:
        some = ", ".join(list(tensors)[:3]) or "nothing"
        raise RequestError(f"it holds {some} ...: expected {FIRST} and so on")
    return {name.removeprefix(prefix): value for name, value in plain.items()}


def _plain(name: str, value: Tensor) -> Tensor:
    cpu = value.layout == torch.strided and value.device.type == "cpu" and not value.is_quantized
    if not cpu or not value.is_floating_point():
        raise RequestError(f"its {name} is no plain tensor of floating-point numbers")
    # Strides of zero would make much of little.
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        raise RequestError(f"its {name} has more numbers than the file has bytes")
    return value.detach()


def _number(name: str) -> int:
    return int(name.rpartition(".")[2])


def _features(modules: Modules) -> Iterator[Layer]:
    """The convolutions, each with the batch normalisation that follows it; taken out."""
    names = [name for name in modules if name.startswith("features.") and NUMBERED.fullmatch(name)]
    parts = [(name, modules.pop(name)) for name in sorted(names, key=_number)]
    for (name, part), (_, after) in zip(parts, [*parts[1:], ("", {})], strict=True):
        if "running_mean" in part:
            continue
        norm = after if "running_mean" in after else {}
        if norm and set(norm) != set(NORM):
            raise RequestError(f"the batch normalisation after its {name} lacks a tensor")
        yield _layer(name, part, (4,), norm)


def _layer(
    name: str, part: dict[str, Tensor], axes: tuple[int, ...], norm: Mapping[str, Tensor] = {}
) -> Layer:
    weight = part.get("weight")
    if weight is None or weight.dim() not in axes or not set(part) <= {"weight", "bias"}:
        raise RequestError(
            f"its layer {name} has {', '.join(part) or 'no tensors'}: expected a weight of "
            f"{' or '.join(map(str, axes))} axes, and maybe a bias"
        )
    return Layer(name, weight, part.get("bias"), norm)
