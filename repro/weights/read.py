"""A file of weights, whatever its format, as the state dict of one of our nets.

The format is told by what the file holds, never by its name. Nothing in it is executed, and nothing
outside of it is read, but for the configuration and the result of a run of ours beside its weights.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from repro.errors import RequestError, flat, one_line
from repro.model.layers import Net
from repro.model.vgg import VGG
from repro.store.checks import ORDERS
from repro.weights import caffe, convention, keras, state_dicts
from repro.weights.contents import LARGEST, Weights

READERS: dict[bytes, Callable[[Path], Weights]] = {
    b"\x89HDF\r\n\x1a\n": keras.read,
    b"PK\x03\x04": state_dicts.read_torch,
    # torch's files before they were archives begin as a pickle.
    b"\x80": state_dicts.read_torch,
    # Protobuf has no magic number: a Caffe net begins with its name or with its first layer.
    b"\x0a": caffe.read,
    b"\x12": caffe.read,
    b"\xa2\x06": caffe.read,
}
LONGEST = 300
"""Characters of a library's own words, or of the names in a file."""
COUNTER = "num_batches_tracked"


def read(path: Path, net: Net, wants: str | None = None) -> Weights:
    """The weights of a file, as those of `net` at its size and with its classes.

    `wants` is the input as `weights_input` says it, against what the file tells. RequestError, in
    one line: no such file, no known format, another net, damaged or hostile content, a format's
    package is missing, an input that nothing tells.
    """
    return read_any(path, lambda classes: net, wants)[1]


def read_any(
    path: Path, net_of: Callable[[int], Net], wants: str | None = None
) -> tuple[Net, Weights]:
    """As `read`, with as many classes as the file has: `net_of` makes the net with these."""
    said = None if wants is None else convention.parse(wants)
    try:
        found = _contents(path)
        if said is not None:
            found = found._replace(convention=said, doubt="")
        weights = [values for values in found.tensors.values() if values.dim() > 1]
        if not weights:
            raise RequestError("it has no layers with weights")
        net = net_of(len(weights[-1]))
        _check(found, len(weights), len(weights[-1]), net)
        found = found._replace(tensors=_state_dict(found, net))
    except RequestError as error:
        raise RequestError(flat(f"weights={path}: {str(error)[:LONGEST]}")) from None
    return net, found


def _contents(path: Path) -> Weights:
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(16)
    except OSError as error:
        raise RequestError(f"cannot be read: {error.strerror}") from None
    if size > LARGEST:
        raise RequestError(f"it has {size / 1e9:.1f} GB, and none of these nets has so many")
    reader = next((READERS[magic] for magic in READERS if start.startswith(magic)), None)
    # safetensors: eight bytes of length, then the header.
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= size:
        reader = state_dicts.read_safetensors
    if reader is None:
        raise RequestError(
            "it is no weight file: expected Caffe, Keras (.h5, .keras), torch or safetensors "
            "(docs/weights.md converts ONNX to it)"
        )
    try:
        if zipfile.is_zipfile(path) and keras.INNER in zipfile.ZipFile(path).namelist():
            reader = keras.read
        return reader(path)
    except RequestError:
        raise
    except ImportError as error:
        extra = "keras" if reader is keras.read else "caffe"
        raise RequestError(f"{one_line(error)}: pip install 'vgg-repro[{extra}]'") from None
    except Exception as error:
        # Whatever a library makes of a damaged or a hostile file.
        raise RequestError(f"it is damaged, or no file of its format: {one_line(error)}") from None


def _check(found: Weights, layers: int, classes: int, net: Net) -> None:
    order = found.convention.order
    if found.doubt:
        raise RequestError(f"{found.doubt}: say it, as in weights_input=torchvision or RGB:0..1")
    if ORDERS[order] != net.channels:
        raise RequestError(
            f"it wants {order} images, and the data's have {net.channels} channel(s): say what to "
            "test it on, as in data=imagenet data.root=FOLDER"
        )
    for what, number, expected in (
        ("weight layers", layers, net.weight_layers),
        ("classes", classes, net.classes),
        ("names of classes", len(found.classes or range(classes)), net.classes),
    ):
        if number != expected:
            raise RequestError(
                f"it has {number} {what}: expected {expected}, as in arch={net.name}"
            )


def _state_dict(found: Weights, net: Net) -> dict[str, Tensor]:
    """The state dict of `VGG` for a net, float32; what does not fit by its shape is refused."""
    with torch.device("meta"):
        ours = VGG(net, 0).state_dict()
    shapes = {name: values.shape for name, values in ours.items() if not name.endswith(COUNTER)}
    if len(shapes) != len(found.tensors):
        plain = net.name.removesuffix("-BN")
        raise RequestError(
            f"it has {len(found.tensors)} tensors: expected {len(shapes)}, as in "
            f"arch={net.name}; arch={plain} takes weights without batch normalisation (which may "
            f"be folded into the convolutions), arch={plain}-BN those with it"
        )
    result, linears = {}, iter(net.linears)
    for (key, shape), (name, values) in zip(shapes.items(), found.tensors.items(), strict=True):
        if len(shape) == 2:
            layer = next(linears)
            channels, side = layer.in_channels, layer.side
            if found.channels_last and values.shape[1:] == (side**2 * channels,):
                values = values.reshape(-1, side, side, channels).permute(0, 3, 1, 2)
            # FC layers come in their form as a convolution too.
            values = values.flatten(1) if values.shape[1:] == (channels, side, side) else values
        if values.shape != shape:
            here, there = ("x".join(map(str, sides)) for sides in (values.shape, shape))
            raise RequestError(f"its {name} has {here}: expected {there}, as in arch={net.name}")
        result[key] = values.to(torch.float32).contiguous()
    # The extremes pass NaN on, and make no tensor as large as these.
    ends = {key: torch.stack(values.aminmax()).isfinite().all() for key, values in result.items()}
    if bad := [key for key in ends if not ends[key]]:
        hint = "" if "features" in bad[0] else ": it may be a file of features only"
        raise RequestError(f"its weights for {bad[0]} are not all finite numbers{hint}")
    return result | {name: torch.tensor(0) for name in ours if name.endswith(COUNTER)}
