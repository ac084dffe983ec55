"""The layers of a file as our net's state dict; what is not that net is refused."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from repro.errors import RequestError
from repro.model import layers as spec
from repro.model.vgg import VGG
from repro.weights.contents import Contents, Layer

COUNTER = "num_batches_tracked"


def state_dict(contents: Contents, net: spec.Net) -> dict[str, Tensor]:
    """The state dict of `repro.model.vgg.VGG` for a net, float32, of a file's layers.

    Raises:
        RequestError: another number of layers, another shape, a bias or a batch normalisation too
            many or too few, a number that is not finite.
    """
    if len(contents.layers) != net.weight_layers:
        raise RequestError(
            f"it has {len(contents.layers)} weight layers: expected {net.weight_layers}, as in "
            f"arch={net.name}"
        )
    with torch.device("meta"):
        ours = VGG(net, 0)
    shapes = {name: tuple(values.shape) for name, values in ours.state_dict().items()}
    result: dict[str, Tensor] = {}
    for (name, after), wanted, layer in zip(
        _names(ours), net.weighted, contents.layers, strict=True
    ):
        parts = _parts(layer, wanted, name, after)
        expected = {key: shape for key, shape in shapes.items()
                    if key.startswith((f"{name}.", f"{after}."))}  # fmt: skip
        _check(layer, parts, expected, net)
        result |= {key: values.to(torch.float32).contiguous() for key, values in parts.items()}
        result |= {key: torch.tensor(0) for key in expected if key.endswith(COUNTER)}
    _check_finite(result)
    return result


def _names(net: VGG) -> Iterator[tuple[str, str]]:
    """The name of each weight layer's module and of the module after it."""
    for part in ("features", "classifier"):
        for place, module in enumerate(getattr(net, part)):
            if isinstance(module, nn.Conv2d | nn.Linear):
                yield f"{part}.{place}", f"{part}.{place + 1}"


def _parts(
    layer: Layer, wanted: spec.Conv | spec.Linear, name: str, after: str
) -> dict[str, Tensor]:
    weight = layer.weight
    if isinstance(wanted, spec.Linear):
        side, channels = wanted.side, wanted.in_channels
        if layer.rows == "HWC" and weight.shape[1:] == (side**2 * channels,):
            weight = weight.reshape(-1, side, side, channels).permute(0, 3, 1, 2)
        if weight.shape[1:] == (channels, side, side):
            weight = weight.reshape(len(weight), -1)
    bias = {} if layer.bias is None else {f"{name}.bias": layer.bias}
    norm = {f"{after}.{part}": values for part, values in layer.norm.items()}
    return {f"{name}.weight": weight} | bias | norm


def _check(
    layer: Layer, parts: dict[str, Tensor], shapes: dict[str, tuple[int, ...]], net: spec.Net
) -> None:
    wants_norm = any(key.endswith("running_mean") for key in shapes)
    if wants_norm and not layer.norm:
        plain = net.name.removesuffix("-BN")
        raise RequestError(
            f"its layer {layer.name} has no batch normalisation after it, as arch={net.name} wants "
            f"it: where that was folded into the convolutions, arch={plain} takes the file"
        )
    if layer.norm and not wants_norm:
        raise RequestError(
            f"its layer {layer.name} has a batch normalisation after it: expected none in "
            f"arch={net.name}; arch={net.name}-BN may be the net"
        )
    for key in [key for key in shapes if not key.endswith(COUNTER)] + list(parts):
        what = key.rpartition(".")[2]
        if key not in parts or key not in shapes:
            words = ("no", "one") if key in shapes else ("a", "none")
            raise RequestError(f"its layer {layer.name} has {words[0]} {what}: expected {words[1]}")
        found, shape = tuple(parts[key].shape), shapes[key]
        if found != shape:
            last = layer.bias is not None and shape[0] == net.classes and found[1:] == shape[1:]
            kind, as_in = ("classes", "") if last else (f"a {what}", f" as in arch={net.name}")
            sizes = (found[0], shape[0]) if last else (_sides(found), _sides(shape))
            raise RequestError(
                f"its layer {layer.name} has {kind} {sizes[0]}: expected {sizes[1]}{as_in}"
            )


def _sides(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


def _check_finite(result: dict[str, Tensor]) -> None:
    bad = [name for name, values in result.items() if not _finite(values)]
    if bad and all(name.startswith("classifier.") for name in bad):
        raise RequestError(
            "its FC layers are not numbers (NaN): it is a file of features only, which classifies "
            "nothing"
        )
    if bad:
        raise RequestError(f"its weights for {bad[0]} are not all finite numbers")


def _finite(values: Tensor) -> bool:
    # Passes NaN on, and makes no tensor as large as these.
    return all(math.isfinite(float(end)) for end in values.aminmax())
