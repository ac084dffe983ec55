"""Reading a published net's weights, whatever format the file has.

The format is told by what the file holds, never by what it is called, and nothing in it is ever
executed. Nothing is read that lies outside of it, but for the configuration and the result of a run
of ours beside its weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from repro.errors import RequestError, flat, one_line
from repro.model.cost import cost
from repro.model.layers import Net
from repro.store.checks import ORDERS
from repro.weights import caffe, fit, keras, matconvnet, onnx_file, safetensors_file, torch_file
from repro.weights.convention import NAMED, Convention
from repro.weights.found import Found

KNOWN = "Caffe, Keras (HDF5), torch, safetensors, MatConvNet and ONNX"
HDF5 = b"\x89HDF\r\n\x1a\n"
PICKLED = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
"""How torch began its files before they were zip archives: its magic number, pickled."""
MAGIC: dict[bytes, Callable[[Path], Found]] = {
    HDF5: keras.read,
    b"PK\x03\x04": torch_file.read,
    PICKLED: torch_file.read,
    b"MATLAB 5.0 MAT-file": matconvnet.read,
    # Protobuf has none: the first field of an ONNX model is its version, of a Caffe net its name
    # or its first layer.
    b"\x08": onnx_file.read,
    b"\x0a": caffe.read,
    b"\x12": caffe.read,
    b"\xa2\x06": caffe.read,
}
LONGEST = 300
"""Characters of a library's own words, or of the names in a file."""
USUAL = 1000
"""Classes by which a file's size is judged before it has said how many it has."""


@dataclass(frozen=True)
class PublishedWeights:
    """A published net, ready for `VGG.load_state_dict`."""

    tensors: Mapping[str, Tensor]
    """Under our net's names, in its shapes, float32; all finite. They may be views of the file:
    copy before writing into them, as `load_state_dict` does."""
    convention: Convention
    """The input that it wants; it is not folded into the weights."""
    classes: tuple[str, ...] | None
    """Names of the classes in the order of the scores; None: the file has none."""
    format: str
    """What wrote the file: `Caffe`, `Keras`, `torchvision`, ..."""
    layers: tuple[str, ...]
    """The file's names of the weight layers, in order."""


def read(path: Path, net: Net, convention: str | None = None) -> PublishedWeights:
    """The weights of a file, as those of a net.

    At most it takes memory for four times the net's weights and what the format's own library adds.

    Args:
        path: the file.
        net: which net it must be, at its size and with its classes.
        convention: the input that it wants, `caffe` or `torchvision`, against what the file tells.

    Raises:
        RequestError: in one line: no such file, no known format, another net, damaged or hostile
            content, a reader's package is missing.
    """
    _check_known(convention)
    with _of(path):
        return _fitted(_found(path, net), net, convention)


def read_any(
    path: Path, net: Callable[[int], Net], convention: str | None = None
) -> tuple[Net, PublishedWeights]:
    """As `read`, with as many classes as the file has; and the net that it is.

    Args:
        path: the file.
        net: takes a number of classes to the net that it must be.
        convention: as for `read`.

    Raises:
        RequestError: as `read`.
    """
    _check_known(convention)
    with _of(path):
        found = _found(path, net(USUAL))
        own = net(_classes(found))
        return own, _fitted(found, own, convention)


def _classes(found: Found) -> int:
    """As many as the last layer has outputs; what is no layer is refused by its shape later."""
    shape = found.layers[-1].weight.shape if found.layers else ()
    return (shape[0] if shape else 0) or USUAL


def _check_known(convention: str | None) -> None:
    if convention is not None and convention not in NAMED:
        raise RequestError(
            f"weights_input={convention} is not known: choose from {', '.join(NAMED)}"
        )


@contextmanager
def _of(path: Path) -> Iterator[None]:
    try:
        yield
    except RequestError as error:
        # Names in a file may be of any length.
        raise RequestError(flat(f"weights={path}: {_shortened(str(error))}")) from None


def _fitted(found: Found, net: Net, convention: str | None) -> PublishedWeights:
    wanted = found.convention if convention is None else NAMED[convention]
    _check_input(wanted, net)
    _check_classes(found, net)
    assert wanted is not None
    names = tuple(layer.name for layer in found.layers)
    tensors = fit.tensors(found, net)
    return PublishedWeights(tensors, wanted, found.classes, found.format, names)


def _reader(path: Path, net: Net) -> Callable[[Path], Found]:
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(520)
    except OSError as error:
        raise RequestError(f"cannot be read: {error.strerror}") from None
    needed = 4 * cost(net).parameters
    if size > 4 * needed + 2**26:
        raise RequestError(
            f"it has {size / 1e6:,.1f} MB, and the weights of arch={net.name} at this size "
            f"{needed / 1e6:,.1f} MB: it is another net"
        )
    if start.startswith(b"MATLAB 7.3"):
        raise RequestError("it is a MATLAB 7.3 file: save it with -v7")
    # Eight bytes of length, then the header.
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= size:
        return safetensors_file.read
    for magic, reader in MAGIC.items():
        if start.startswith(magic):
            return reader
    if start.startswith(b"\x80"):
        raise RequestError("it is a pickle that torch did not write: pickles are not opened")
    raise RequestError(f"it is no weight file that is known: expected {KNOWN}")


def _found(path: Path, net: Net) -> Found:
    reader = _reader(path, net)
    try:
        return reader(path)
    except RequestError:
        raise
    except Exception as error:
        # Whatever a library makes of a damaged or a hostile file.
        raise RequestError(f"it is damaged, or no file of its format: {one_line(error)}") from None


def _shortened(words: str) -> str:
    return words if len(words) <= LONGEST else f"{words[: LONGEST - 60]} ... {words[-55:]}"


def _check_input(convention: Convention | None, net: Net) -> None:
    if convention is None:
        raise RequestError(
            "nothing tells what input it wants: say weights_input=torchvision or =caffe, or read "
            "it in the folder of its run"
        )
    if ORDERS[convention.order] != net.channels:
        raise RequestError(
            f"it wants {convention.order} images, and the data has {net.channels} "
            f"channel{'s' * (net.channels > 1)}: say what to test it on, as in data=imagenet "
            "data.root=FOLDER"
        )


def _check_classes(found: Found, net: Net) -> None:
    if found.classes is not None and len(found.classes) != net.classes:
        raise RequestError(f"it names {len(found.classes)} classes: expected {net.classes}")
