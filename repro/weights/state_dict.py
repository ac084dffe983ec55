"""State dicts by the names of their tensors: torchvision's, timm's, jcjohnson's, ours."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from repro.errors import RequestError
from repro.weights.convention import CAFFE, TORCHVISION
from repro.weights.found import Found, Layer, Norm

FIRST = "features.0.weight"
NUMBERED = re.compile(r"(features|classifier)\.(\d{1,4})")
TIMM = ("pre_logits.fc1", "pre_logits.fc2", "head.fc")
JCJOHNSON = ["classifier.1", "classifier.4", "classifier.6"]
NORM = ("weight", "bias", "running_mean", "running_var")


def layers(tensors: Mapping[str, Tensor]) -> Found:
    """The layers that a state dict names, in order; a prefix of all names is put aside.

    Raises:
        RequestError: the names are of no net like these.
    """
    tensors = _without_prefix(tensors)
    modules: dict[str, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        module, _, part = name.rpartition(".")
        if part != "num_batches_tracked":
            modules.setdefault(module, {})[part] = _plain(name, value)
    if TIMM[0] in modules:
        found = [*_features(modules), *(_linear(name, modules.pop(name, {})) for name in TIMM)]
        _check_left(modules)
        return Found("timm", tuple(found), TORCHVISION)
    features = list(_features(modules))
    names = sorted((name for name in modules if NUMBERED.fullmatch(name)), key=_number)
    found = [*features, *(_linear(name, modules.pop(name)) for name in names)]
    _check_left(modules)
    if names == JCJOHNSON:
        return Found("jcjohnson's torch file", tuple(found), CAFFE)
    return Found("torchvision", tuple(found), TORCHVISION)


def _without_prefix(tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    prefix = next((name[: -len(FIRST)] for name in tensors if name.endswith(FIRST)), None)
    if prefix is None:
        some = ", ".join(list(tensors)[:3]) or "nothing"
        raise RequestError(f"it holds {some} ...: expected {FIRST} and so on")
    return {name.removeprefix(prefix): value for name, value in tensors.items()}


def _plain(name: str, value: Tensor) -> Tensor:
    plain = (
        value.layout == torch.strided and value.is_floating_point() and value.device.type == "cpu"
    )
    if not plain or value.is_quantized:
        raise RequestError(f"its {name} is no plain tensor of floating-point numbers")
    # Strides of zero would make much of little.
    if not value.is_contiguous() and value.numel() > value.untyped_storage().nbytes():
        raise RequestError(f"its {name} has more numbers than the file has bytes")
    return value.detach()


def _number(name: str) -> int:
    return int(name.rpartition(".")[2])


def _features(modules: dict[str, dict[str, Tensor]]) -> Iterator[Layer]:
    """The convolutions, each with the batch normalisation that follows it; taken out."""
    names = [name for name in modules if name.startswith("features.") and NUMBERED.fullmatch(name)]
    parts = [(name, modules.pop(name)) for name in sorted(names, key=_number)]
    for (name, part), (_, after) in zip(parts, [*parts[1:], ("", {})], strict=True):
        if "running_mean" in part:
            continue
        norm = None
        if "running_mean" in after:
            if set(after) != set(NORM):
                raise RequestError(f"the batch normalisation after its {name} lacks a tensor")
            norm = Norm(*(after[key] for key in NORM))
        yield _weighted(name, part, 4, norm)


def _linear(name: str, part: dict[str, Tensor]) -> Layer:
    layer = _weighted(name, part, None)
    if layer.weight.dim() == 4:
        # timm's FC layers are convolutions.
        return Layer(name, layer.weight.flatten(1), layer.bias)
    return layer


def _weighted(
    name: str, part: dict[str, Tensor], dim: int | None, norm: Norm | None = None
) -> Layer:
    weight, bias = part.get("weight"), part.get("bias")
    fits = weight is not None and (weight.dim() == dim if dim else weight.dim() in (2, 4))
    if not fits or not set(part) <= {"weight", "bias"}:
        raise RequestError(
            f"its layer {name} has {', '.join(part) or 'no tensors'}: expected a weight of "
            f"{dim or '2 or 4'} axes, and maybe a bias"
        )
    assert weight is not None
    return Layer(name, weight, bias, norm)


def _check_left(modules: dict[str, dict[str, Tensor]]) -> None:
    if modules:
        raise RequestError(f"it also holds {next(iter(modules))}, which these nets do not have")
