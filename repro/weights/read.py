"""A file of weights, whatever its format, as the state dict of one of our nets.

The format is told by what the file holds, never by its name. Nothing in it is executed, and nothing
outside of it is read but the configuration and result of a run of ours.
"""

import hashlib
import os
import re
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from repro.errors import RequestError, flat, one_line
from repro.model.layers import Spec
from repro.model.vgg import VGG
from repro.store.checks import ORDERS
from repro.store.files import opened_whole
from repro.weights import caffe, keras, state_dicts
from repro.weights.contents import LARGEST, Weights, parse

# torch's files before they were archives begin as a pickle. Protobuf has no magic number: a Caffe
# net begins with its name or with its first layer.
READERS: dict[Callable[[Path], Weights], tuple[bytes, ...]] = {
    keras.read: (b"\x89HDF\r\n\x1a\n",),
    state_dicts.read_torch: (b"PK\x03\x04", b"\x80"),
    caffe.read: (b"\x0a", b"\x12", b"\xa2\x06"),
}
LONGEST = 300
"""Characters of a library's own words, or of the names in a file."""
COUNTER = "num_batches_tracked"
TORCHVISION = "torchvision:"
"""Begins the name of a net of torchvision's, as in `torchvision:vgg16`."""


def locate(weights: str, progress: bool, fetch: bool = True) -> Path:
    """The file that `weights` names; torchvision's is fetched into torch's cache, once and whole.

    RequestError: torchvision has no such net, or its file cannot be fetched or is damaged.
    """
    if not weights.startswith(TORCHVISION):
        return Path(os.path.expanduser(weights))
    from torchvision import models

    name = weights.removeprefix(TORCHVISION)
    known = [known for known in models.list_models(module=models) if known.startswith("vgg")]
    if name not in known:
        raise RequestError(f"weights={weights} is not known: choose from {', '.join(known)}")
    url = str(models.get_model_weights(name).DEFAULT.url)
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[1]
    # The beginning of its SHA-256 stands in the file's name.
    digest = re.findall(r"-([0-9a-f]{8,64})\.", path.name)[0]
    if not path.is_file():
        if not fetch:
            raise RequestError(f"weights={weights} is not at {path} yet, and nothing is fetched")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # It writes beside, compares the hash and renames.
            torch.hub.download_url_to_file(url, str(path), digest, progress)
        except (OSError, RuntimeError) as error:
            said = flat(one_line(error))
            raise RequestError(f"weights={weights} cannot be fetched from {url}: {said}") from None
    if not file_digest(path).startswith(digest):
        raise RequestError(f"{path} is damaged: its SHA-256 does not begin with {digest}")
    return path


def file_digest(path: Path) -> str:
    """The digest of a file's content, 64 hex digits; RequestError where it cannot be read."""
    try:
        with opened_whole(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RequestError(flat(f"weights={path} cannot be read: {reason}")) from None


def read(path: Path, net: Spec, wants: str | None = None, names: Sequence[str] = ()) -> Weights:
    """The weights of a file, as those of `net` at its size and with its classes.

    `wants` is the input as `weights_input` says it. `names` are those of the net's classes: of a
    file that knows more, these are taken. RequestError: no such file or format, another net,
    damaged or hostile content, a package that is missing, an input that nothing tells.
    """
    return read_any(path, lambda classes: net, wants, names)[1]


def read_any(
    path: Path, net_of: Callable[[int], Spec], wants: str | None = None, names: Sequence[str] = ()
) -> tuple[Spec, Weights]:
    """As `read`, with as many classes as the file has: `net_of` makes the net with these."""
    said = None if wants is None else parse(wants)
    try:
        found = _contents(path)
        if said is not None:
            found = found._replace(convention=said, doubt="")
        found = found.of_classes(names)
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
    reader = next((one for one, magics in READERS.items() if start.startswith(magics)), None)
    # safetensors: eight bytes of length, then the header.
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= size:
        reader = state_dicts.read_safetensors
    if reader is None:
        known = "Caffe, Keras (.h5, .keras), torch, safetensors (ONNX: docs/weights.md)"
        raise RequestError(f"it is no weight file: expected {known}")
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


def _check(found: Weights, layers: int, classes: int, net: Spec) -> None:
    order, names = found.convention.order, len(found.classes or range(classes))
    if found.doubt:
        raise RequestError(f"{found.doubt}: say it, as in weights_input=torchvision or RGB:0..1")
    if ORDERS[order] != net.channels:
        way = "data.channels=1" if order == "grey" else "data=imagenet data.root=FOLDER"
        raise RequestError(f"it wants {order} images, as in {way}")
    for count, expected, what in (
        (layers, net.weight_layers, "weight layers"),
        (classes, net.classes, "classes"),
        (names, net.classes, "names of classes"),
    ):
        if count != expected:
            raise RequestError(f"it has {count} {what}: expected {expected}, as in arch={net.name}")


def _state_dict(found: Weights, net: Spec) -> dict[str, Tensor]:
    """The state dict of `VGG` for a net, float32; what does not fit by its shape is refused."""
    with torch.device("meta"):
        ours = VGG(net, 0).state_dict()
    shapes = {name: values.shape for name, values in ours.items() if not name.endswith(COUNTER)}
    if len(shapes) != len(found.tensors):
        plain = net.name.removesuffix("-BN")
        raise RequestError(
            f"it has {len(found.tensors)} tensors: expected {len(shapes)}; arch={plain} takes one "
            f"without batch normalisation or with it folded in, arch={plain}-BN one with it"
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
        hint = ": it may be a file of features only" * ("features" not in bad[0])
        raise RequestError(f"its weights for {bad[0]} are not all finite numbers{hint}")
    return result | {name: torch.tensor(0) for name in ours if name.endswith(COUNTER)}
