"""A file of weights, whatever its format, as the state dict of one of our nets.

The format is told by what the file holds, never by its name. Nothing in it is executed, and nothing
outside of it is read, but for the configuration and the result of a run of ours beside its weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from repro.errors import RequestError, flat, one_line
from repro.model.layers import Net
from repro.store.checks import ORDERS
from repro.weights import caffe, convention, fit, keras, safetensors_file, torch_file
from repro.weights.contents import Contents
from repro.weights.convention import Convention

READERS: dict[bytes, Callable[[Path], Contents]] = {
    b"\x89HDF\r\n\x1a\n": keras.read,
    # torch's files before they were archives begin as a pickle.
    b"\x80": torch_file.read,
    # Protobuf has no magic number: a Caffe net begins with its name or with its first layer.
    b"\x0a": caffe.read,
    b"\x12": caffe.read,
    b"\xa2\x06": caffe.read,
}
ZIP = b"PK\x03\x04"
LARGEST = 4 * 2**30
"""Bytes of a file: seven times E's weights, as a checkpoint with its optimiser's state may have."""
LONGEST = 300
"""Characters of a library's own words, or of the names in a file."""


@dataclass(frozen=True)
class Weights:
    """A net that others trained, ready for `VGG.load_state_dict`."""

    tensors: Mapping[str, Tensor]
    """Under our net's names, in its shapes, float32; all finite. They may be views of the file:
    copy before writing into them, as `load_state_dict` does."""
    convention: Convention
    """The input that it wants; it is not folded into the weights."""
    classes: tuple[str, ...] | None
    """Names of the classes in the order of the scores; None: the file has none."""
    format: str
    """What wrote the file: `Caffe`, `Keras`, `torchvision`, ..."""


def read(path: Path, net: Net, wants: str | None = None) -> Weights:
    """The weights of a file, as those of a net.

    Args:
        path: the file.
        net: which net it must be, at its size and with its classes.
        wants: the input that the net wants, as `weights_input` says it, against what the file
            tells; None: what the file tells.

    Raises:
        RequestError: in one line: no such file, no known format, another net, damaged or hostile
            content, a format's package is missing, an input that nothing tells.
    """
    return read_any(path, lambda classes: net, wants)[1]


def read_any(
    path: Path, net_of: Callable[[int], Net], wants: str | None = None
) -> tuple[Net, Weights]:
    """As `read`, with as many classes as the file has; and the net with these.

    Args:
        path: the file.
        net_of: takes a number of classes to the net that the file must be.
        wants: as for `read`.

    Raises:
        RequestError: as `read`.
    """
    said = None if wants is None else convention.parse(wants)
    try:
        contents = _contents(path)
        # A last layer without axes is refused by its shape.
        net = net_of(max(1, next(iter(contents.layers[-1].weight.shape), 1)))
        wanted = _checked(said or contents.convention, contents, net)
        tensors = fit.state_dict(contents, net)
    except RequestError as error:
        words = str(error)
        if len(words) > LONGEST:
            words = f"{words[: LONGEST - 60]} ... {words[-55:]}"
        raise RequestError(flat(f"weights={path}: {words}")) from None
    return net, Weights(tensors, wanted, contents.classes, contents.format)


def _contents(path: Path) -> Contents:
    try:
        reader = _reader(path)
        contents = reader(path)
    except RequestError:
        raise
    except Exception as error:
        # Whatever a library makes of a damaged or a hostile file.
        raise RequestError(f"it is damaged, or no file of its format: {one_line(error)}") from None
    if not contents.layers:
        raise RequestError("it has no layers with weights")
    return contents


def _reader(path: Path) -> Callable[[Path], Contents]:
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(16)
    except OSError as error:
        raise RequestError(f"cannot be read: {error.strerror}") from None
    if size > LARGEST:
        raise RequestError(f"it has {size / 1e9:.1f} GB, and none of these nets has so many")
    if start.startswith(ZIP):
        return keras.read if keras.is_archive(path) else torch_file.read
    # Eight bytes of length, then the header.
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= size:
        return safetensors_file.read
    for magic, reader in READERS.items():
        if start.startswith(magic):
            return reader
    raise RequestError(
        "it is no weight file that is known: expected Caffe, Keras (.h5, .keras), torch or "
        "safetensors (docs/weights.md converts ONNX to it)"
    )


def _checked(wanted: Convention | None, contents: Contents, net: Net) -> Convention:
    if wanted is None:
        raise RequestError(
            f"{contents.doubt}: say it, as in weights_input=torchvision, caffe or RGB:0..1"
        )
    if ORDERS[wanted.order] != net.channels:
        raise RequestError(
            f"it wants {wanted.order} images, and the data has {net.channels} "
            f"channel{'s' * (net.channels > 1)}: say what to test it on, as in data=imagenet "
            "data.root=FOLDER"
        )
    if contents.classes is not None and len(contents.classes) != net.classes:
        raise RequestError(f"it names {len(contents.classes)} classes: expected {net.classes}")
    return wanted
