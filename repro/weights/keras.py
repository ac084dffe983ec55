"""Keras's `.h5`, `.weights.h5` and `.keras`, whole nets or their weights alone.

Older: `block1_conv1/...kernel`, in the order of the attributes `layer_names` and `weight_names`.
Newer: `layers/conv2d_3/vars/0` and `1`, by the layers' classes, counted. A net within a net is a
further group (`vgg16/block1_conv1/kernel`, `layers/functional/layers/conv2d_3/vars/0`).
"""

import io
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from repro.errors import RequestError
from repro.weights.contents import CAFFE, LARGEST, Weights

INNER, CONFIG = "model.weights.h5", "config.json"
COUNTED = re.compile(r"layers/(.+/)?(conv2d|dense)(?:_(\d+))?/vars/(\d+)")
PREPARES = re.compile(
    "rescaling|normalization|(tfop|slicingop)?lambda|getitem|stack|concatenate|add|subtract|multiply|"
    "(true)?divide"
)
"""Layers that may prepare images within the net, lower-case."""


def read(path: Path) -> Weights:
    """The kernels and biases in the net's order; layers that may prepare images are doubted."""
    import h5py

    opened: Any = path
    config = None
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if max(archive.getinfo(name).file_size for name in (INNER, CONFIG)) > LARGEST:
                raise RequestError("it unpacks to more than any of these nets has")
            opened, config = io.BytesIO(archive.read(INNER)), archive.read(CONFIG)
    with h5py.File(opened, "r") as file:
        arrays = _arrays(file)
        root = file.get("model_weights", file)
        if "layer_names" in root.attrs:
            names, order = _texts(root, "layer_names"), list(_by_name(root))
            config = file.attrs.get("model_config", config)
        else:
            names, order = list(file.get("layers", ())), _by_counter(arrays)
        kinds = {_kind(name) for name in [*names, *_classes(json.loads(config or "{}"))]}
        tensors = {path: _tensor(arrays[path][()]) for path in order}
    doubt = ""
    if prepares := sorted(filter(PREPARES.fullmatch, kinds)):
        doubt = f"it has a layer {prepares[0]}, which may prepare its images and is left out here"
    return Weights(tensors, CAFFE, "Keras", doubt=doubt, channels_last=True)


def _kind(name: str) -> str:
    """A layer's class or its usual name, lower-case and without its counter."""
    return re.sub(r"_\d+$", "", name).replace("_", "").lower()


def _classes(tree: Any) -> Iterator[str]:
    """The classes of all layers that a net's configuration lists, those of nets within it too."""
    config = tree.get("config", {}) if isinstance(tree, dict) else {}
    for layer in config if isinstance(config, list) else config.get("layers", []):
        yield str(layer["class_name"])
        yield from _classes(layer)


def _arrays(file: Any) -> dict[str, Any]:
    """Every data set of a file by its path; links to other files are not followed."""
    found: dict[str, Any] = {}
    file.visititems(lambda name, at: found.update({name: at} if hasattr(at, "dtype") else {}))
    if elsewhere := [name for name, entry in found.items() if entry.external or entry.is_virtual]:
        raise RequestError(f"its {elsewhere[0]} keeps its data elsewhere: not read")
    if sum(entry.nbytes for entry in found.values()) > LARGEST:
        raise RequestError("its arrays are larger than those of any of these nets")
    return found


def _texts(holder: Any, attribute: str) -> list[str]:
    values = np.ravel(holder.attrs.get(attribute, []))
    return [v.decode(errors="replace") if isinstance(v, bytes) else str(v) for v in values]


def _by_name(root: Any) -> Iterator[str]:
    if _texts(root, "backend") == ["theano"]:
        raise RequestError("its kernels are Theano's, turned by 180 degrees: take TensorFlow's")
    for layer in _texts(root, "layer_names"):
        if not PREPARES.fullmatch(_kind(layer)):
            for name in _texts(root[layer], "weight_names"):
                yield f"{root.name}/{layer}/{name}".strip("/")


def _by_counter(arrays: dict[str, Any]) -> list[str]:
    """FC layers follow the convolutions, those of a net within come first."""
    order = {}
    for path in arrays:
        if match := COUNTED.fullmatch(path):
            order[match[2], -len(match[1] or ""), int(match[3] or 0), int(match[4])] = path
        elif path.startswith("layers/"):
            kind = _kind(path.partition("/vars/")[0].rpartition("/")[2])
            if kind != "seedgenerator" and not PREPARES.fullmatch(kind):
                raise RequestError(f"its {path} is of no layer of these nets: conv2d and dense")
    return [order[key] for key in sorted(order)]


def _tensor(array: Any) -> Tensor:
    if array.dtype.kind != "f":
        raise RequestError(f"its weights are of type {array.dtype}: expected floating-point ones")
    values = torch.from_numpy(array.astype(array.dtype.newbyteorder("="), copy=False))
    return values.permute(3, 2, 0, 1) if values.dim() == 4 else values.t()
