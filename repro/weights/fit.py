"""From the layers of a file to our net's tensors; what is not that net is refused."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from repro.errors import RequestError
from repro.model import layers as spec
from repro.model.vgg import VGG
from repro.weights import operations
from repro.weights.found import Found, Layer


def tensors(found: Found, net: spec.Net) -> dict[str, Tensor]:
    """The state dict of `repro.model.vgg.VGG` for a net, float32, of a file's layers.

    Raises:
        RequestError: another number of layers, other operations between them where the file tells,
            another shape, a number that is not finite.
    """
    if len(found.layers) != net.weight_layers:
        raise RequestError(
            f"it has {len(found.layers)} weight layers: expected {net.weight_layers}, as in "
            f"arch={net.name}"
        )
    if found.operations is not None:
        operations.check(found.operations, net)
    result: dict[str, Tensor] = {}
    for (name, norm), wanted, layer in zip(_names(net), net.weighted, found.layers, strict=True):
        result[f"{name}.weight"] = _weight(layer, wanted, net)
        result |= _bias(layer, wanted, name)
        result |= _norm(layer, wanted, norm)
    _check_finite(result, net)
    return result


def _names(net: spec.Net) -> Iterator[tuple[str, str]]:
    """Of each weight layer: its module's name, and that of the module after it."""
    with torch.device("meta"):
        modules = VGG(net, 0)
    for part in ("features", "classifier"):
        for place, module in enumerate(getattr(modules, part)):
            if isinstance(module, nn.Conv2d | nn.Linear):
                yield f"{part}.{place}", f"{part}.{place + 1}"


def _sides(shape: torch.Size | tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _refuse(
    layer: Layer, what: str, found: object, expected: object, net: str = ""
) -> RequestError:
    return RequestError(f"its layer {layer.name} has {what} {found}: expected {expected}{net}")


def _weight(layer: Layer, wanted: spec.Conv | spec.Linear, net: spec.Net) -> Tensor:
    weight = layer.weight
    as_in = f" as in arch={net.name}"
    if isinstance(wanted, spec.Conv):
        inputs = wanted.in_channels // wanted.groups
        shape: tuple[int, ...] = (wanted.out_channels, inputs, wanted.kernel, wanted.kernel)
        if tuple(weight.shape) != shape:
            raise _refuse(layer, "a weight", _sides(weight.shape), _sides(shape), as_in)
        return _copied(weight)
    side = wanted.side
    shape = (wanted.out_features, wanted.in_channels * side**2)
    map_shape = (wanted.out_features, wanted.in_channels, side, side)
    if tuple(weight.shape) not in (shape, map_shape):
        if not wanted.hidden and weight.shape[1:].numel() == shape[1]:
            raise _refuse(layer, "classes", len(weight), wanted.out_features)
        raise _refuse(layer, "a weight", _sides(weight.shape), _sides(shape), as_in)
    if layer.rows == "HWC":
        weight = weight.reshape(-1, side, side, wanted.in_channels).permute(0, 3, 1, 2)
    return _copied(weight.reshape(shape))


def _bias(layer: Layer, wanted: spec.Conv | spec.Linear, name: str) -> dict[str, Tensor]:
    has_bias = isinstance(wanted, spec.Linear) or wanted.bias
    if (layer.bias is not None) != has_bias:
        words = ("no bias", "one") if has_bias else ("a bias", "none")
        raise RequestError(f"its layer {layer.name} has {words[0]}: expected {words[1]}")
    if layer.bias is None:
        return {}
    outputs = wanted.out_channels if isinstance(wanted, spec.Conv) else wanted.out_features
    if tuple(layer.bias.shape) != (outputs,):
        raise _refuse(layer, "a bias", _sides(layer.bias.shape), outputs)
    return {f"{name}.bias": _copied(layer.bias)}


def _norm(layer: Layer, wanted: spec.Conv | spec.Linear, name: str) -> dict[str, Tensor]:
    expected = isinstance(wanted, spec.Conv) and wanted.batch_norm
    if (layer.norm is not None) != expected:
        words = ("no", "one") if expected else ("a", "none")
        raise RequestError(
            f"its layer {layer.name} has {words[0]} batch normalisation after it: expected "
            f"{words[1]}"
        )
    if layer.norm is None:
        return {}
    assert isinstance(wanted, spec.Conv)
    parts = vars(layer.norm)
    for part, value in parts.items():
        if tuple(value.shape) != (wanted.out_channels,):
            raise _refuse(layer, f"a {part}", _sides(value.shape), wanted.out_channels)
    counted = {f"{name}.num_batches_tracked": torch.tensor(0)}
    return {f"{name}.{part}": _copied(value) for part, value in parts.items()} | counted


def _copied(values: Tensor) -> Tensor:
    """Float32, in our order, in memory of its own only where it must be."""
    return values.to(torch.float32).contiguous()


def _finite(values: Tensor) -> bool:
    # Passes NaN on, and makes no tensor as large as these.
    least, most = values.aminmax()
    return math.isfinite(float(least)) and math.isfinite(float(most))


def _check_finite(result: dict[str, Tensor], net: spec.Net) -> None:
    bad = [name for name, values in result.items() if not _finite(values)]
    if not bad:
        return
    if all(name.startswith("classifier.") for name in bad):
        raise RequestError(
            "its FC layers are not numbers (NaN): it is a file of features only, which classifies "
            "nothing"
        )
    raise RequestError(f"its weights for {bad[0]} are not all finite numbers")
