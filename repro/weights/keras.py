"""Keras's `.h5`, `.weights.h5` and `.keras`, whole nets or their weights alone.

Older: `block1_conv1/...kernel` with the order in the attributes `layer_names` and `weight_names`,
at the root or below `model_weights`. Newer: `layers/conv2d_3/vars/0` and `1`, the names being those
of the layers' classes, counted. A net within a net, as transfer learning has it, is a further group
(`vgg16/block1_conv1/kernel`, `layers/functional/layers/conv2d_3/vars/0`).
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from repro.errors import RequestError
from repro.weights.contents import Contents, Layer, library, tensor
from repro.weights.convention import CAFFE

INNER, CONFIG = "model.weights.h5", "config.json"
"""Entries of a `.keras` archive."""
COUNTED = re.compile(r"(.+/)?(conv2d|dense)(?:_(\d+))?")
PREPARES = re.compile(
    "rescaling|normalization|(tfop|slicingop)?lambda|getitem|stack|concatenate|add|subtract|multiply|"
    "(true)?divide"
)
"""Layers that may prepare images within the net, lower-case."""
SKIPPED = re.compile(rf"seedgenerator|{PREPARES.pattern}")
LARGEST = 4 * 2**30
"""Bytes of an archive's entry, and of all arrays of a file, once they are unpacked."""
TH_KERNELS = (
    "its kernels are in Theano's order (th_kernels): take the file whose name ends in "
    "tf_dim_ordering_tf_kernels.h5"
)


def is_archive(path: Path) -> bool:
    """Whether a zip file is a `.keras` archive."""
    with zipfile.ZipFile(path) as archive:
        return INNER in archive.namelist()


def read(path: Path) -> Contents:
    """The kernels and biases of all layers, in the net's order.

    A net with layers that may prepare its images tells no convention: what those do is not read.

    Raises:
        RequestError: h5py is missing, or the file points elsewhere or has other layers.
        Exception: h5py's own, where the file is damaged.
    """
    h5py = library("h5py", "h5py", "keras")
    opened: Any = path
    config = None
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if archive.getinfo(INNER).file_size > LARGEST:
                raise RequestError("its weights unpack to more than any of these nets has")
            opened, config = io.BytesIO(archive.read(INNER)), archive.read(CONFIG)
    with h5py.File(opened, "r") as file:
        arrays = _arrays(h5py, file)
        root = file.get("model_weights", file)
        if "layer_names" in root.attrs:
            if _texts(root, "backend") == ["theano"]:
                raise RequestError(TH_KERNELS)
            names, named = _texts(root, "layer_names"), dict(_by_name(root, arrays))
            config = file.attrs.get("model_config", config)
        else:
            names, named = [path.replace("/layers/", "/") for path in file.get("layers", ())], {}
            named = _by_counter(arrays)
        kinds = {_kind(name) for name in [*names, *_classes(json.loads(config or "{}"))]}
        layers = tuple(_layer(name, parts) for name, parts in named.items())
    if prepares := sorted(filter(PREPARES.fullmatch, kinds)):
        doubt = (
            f"it has a layer {prepares[0]}, which may prepare its images and is left out here, so "
            "that the file does not tell what its first convolution wants"
        )
        return Contents("Keras", layers, None, doubt)
    return Contents("Keras", layers, CAFFE)


def _kind(name: str) -> str:
    """A layer's class or its usual name, lower-case and without its counter."""
    return re.sub(r"_\d+$", "", name).replace("_", "").lower()


def _classes(tree: Any) -> Iterator[str]:
    """The classes of all layers that a net's configuration lists, those of nets within it too."""
    config = tree.get("config", {}) if isinstance(tree, dict) else {}
    for layer in config if isinstance(config, list) else config.get("layers", []):
        yield str(layer["class_name"])
        yield from _classes(layer)


def _arrays(h5py: Any, file: Any) -> dict[str, Any]:
    """Every data set of a file by its path; links to other files are not followed.

    Raises:
        RequestError: the data lie elsewhere, or are more than any net's.
    """
    found: dict[str, Any] = {}

    def note(name: str, entry: Any) -> None:
        if isinstance(entry, h5py.Dataset):
            if entry.external or entry.is_virtual:
                raise RequestError(f"its {name} keeps its data elsewhere: not read")
            found[name] = entry

    file.visititems(note)
    if sum(entry.nbytes for entry in found.values()) > LARGEST:
        raise RequestError("its arrays are larger than those of any of these nets")
    return found


def _texts(holder: Any, attribute: str) -> list[str]:
    values = np.ravel(holder.attrs.get(attribute, []))
    return [v.decode(errors="replace") if isinstance(v, bytes) else str(v) for v in values]


def _by_name(root: Any, arrays: dict[str, Any]) -> Iterator[tuple[str, list[Any]]]:
    """Each layer's arrays; those of a layer are neighbours that share their names' beginning."""
    for layer in _texts(root, "layer_names"):
        parts: dict[str, list[Any]] = {}
        for name in _texts(root[layer], "weight_names"):
            path = f"{root.name}/{layer}/{name}".strip("/")
            if path not in arrays:
                raise RequestError(f"its {path} is no array of the file")
            parts.setdefault(name.rpartition("/")[0] or layer, []).append(arrays[path])
        if not PREPARES.fullmatch(_kind(layer)):
            yield from parts.items()


def _by_counter(arrays: dict[str, Any]) -> dict[str, list[Any]]:
    groups: dict[str, list[Any]] = {}
    for path in sorted(arrays):
        layer, _, _ = path.rpartition("/vars/")
        kind = _kind(layer.rpartition("/")[2])
        if layer.startswith("layers/") and not SKIPPED.fullmatch(kind):
            groups.setdefault(layer.removeprefix("layers/"), []).append(arrays[path])
    for name in groups:
        if not COUNTED.fullmatch(name):
            raise RequestError(f"its layer {name} has weights: expected conv2d and dense only")
    if not groups:
        raise RequestError("it has neither Keras's layer_names nor its layers/*/vars")
    return dict(sorted(groups.items(), key=_order))


def _order(item: tuple[str, list[Any]]) -> tuple[str, int, int]:
    """FC layers follow the convolutions, the layers of a net within come first."""
    within, kind, number = COUNTED.fullmatch(item[0]).groups()  # type: ignore[union-attr]
    return kind, -len(within or ""), int(number or 0)


def _layer(name: str, parts: list[Any]) -> Layer:
    shapes = [part.shape for part in parts]
    if [len(shape) for shape in shapes] not in ([4], [4, 1], [2], [2, 1]):
        raise RequestError(f"its layer {name} has arrays {shapes}: expected a kernel and a bias")
    kernel, *biases = (tensor(part[()]) for part in parts)
    bias = biases[0] if biases else None
    if kernel.dim() == 2:
        return Layer(name, kernel.t(), bias, rows="HWC")
    if shapes[0][0] != shapes[0][1]:
        raise RequestError(f"its layer {name} has arrays {shapes}: {TH_KERNELS}")
    return Layer(name, kernel.permute(3, 2, 0, 1), bias)
