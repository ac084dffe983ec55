"""MatConvNet's `.mat` (`imagenet-vgg-verydeep-16.mat`), with its own mean and its class names.

`layers` is a row of structs, of which those of type `conv` have weights (h, w, in, out): FC layers
too. Its first layer takes RGB, as do its mean and its grey levels 0-255.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat

from repro.errors import RequestError
from repro.published.convention import Convention
from repro.published.found import Found, Layer, tensor

HEADER = 128
"""Bytes before a MATLAB 5 file's first element."""
COMPRESSED = 15
"""The type of an element that is compressed."""
EXPANSION = 4
"""Weights take at most so many times the bytes of their compressed form."""

Array = NDArray[Any]
Weights = tuple[str, Array, Array]
"""Name, kernel (h, w, in, out), bias."""
Parsed = tuple[list[Weights], tuple[float, ...], tuple[str, ...] | None]
"""The layers, the mean colour, the classes' names."""


def read(path: Path) -> Found:
    """The layers of type `conv`, in order, the mean image's colour and the classes' names.

    Raises:
        RequestError: the file expands to more than weights do, or is no net of MatConvNet's.
        Exception: scipy's own, where the file is damaged.
    """
    _check_expansion(path)
    try:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            weights, mean, classes = pool.submit(_parsed, path).result()
    except BrokenProcessPool:
        raise RequestError("it is damaged: scipy's reader breaks down over it") from None
    convention = Convention("RGB", 255.0, mean, (1.0, 1.0, 1.0))
    return Found("MatConvNet", tuple(_layer(*each) for each in weights), convention, classes)


def _parsed(path: Path) -> Parsed:
    """What the file holds; in a process of its own, since scipy's reader may crash on damage."""
    names = ["layers", "meta", "normalization", "classes"]
    file = loadmat(path, appendmat=False, struct_as_record=False, variable_names=names)
    if "layers" not in file:
        raise RequestError("it has no layers: expected a net of MatConvNet's SimpleNN")
    weights = [_weights(part) for part in _structs(file["layers"]) if _has_weights(part)]
    meta = next(_structs(file["meta"])) if "meta" in file else None
    normalization = _part(file, meta, "normalization")
    if normalization is None or not hasattr(normalization, "averageImage"):
        raise RequestError("it has no mean image (normalization.averageImage)")
    return weights, _mean(normalization), _classes(file, meta)


def _check_expansion(path: Path) -> None:
    """Refuse a file that is much larger than it looks, before anything is kept of it."""
    left = EXPANSION * path.stat().st_size + 2**24
    with path.open("rb") as file:
        order = "<" if file.read(HEADER)[-2:] == b"IM" else ">"
        while len(tag := file.read(8)) == 8:
            kind, size = struct.unpack(f"{order}II", tag)
            if kind != COMPRESSED:
                file.seek(size, 1)
                continue
            inflate, rest = zlib.decompressobj(), size
            while rest and (part := file.read(min(rest, 2**20))):
                rest -= len(part)
                while part:
                    left -= len(inflate.decompress(part, 2**20))
                    part = inflate.unconsumed_tail
                    if left < 0:
                        raise RequestError("it expands to far more than the weights of a net")


def _structs(cell: Any) -> Iterator[Any]:
    """The structs of a MATLAB cell or of an array of structs."""
    for value in np.ravel(cell):
        yield from _structs(value) if isinstance(value, np.ndarray) else (value,)


def _part(file: dict[str, Any], meta: Any, name: str) -> Any:
    """A struct that newer files keep in `meta` and older ones beside `layers`."""
    value = getattr(meta, name, file.get(name))
    return None if value is None else next(_structs(value), None)


def _has_weights(part: Any) -> bool:
    weights = getattr(part, "weights", None)
    return hasattr(part, "filters") or (weights is not None and weights.size > 0)


def _weights(part: Any) -> Weights:
    name, kind = _word(part.name), _word(part.type)
    if kind != "conv":
        raise RequestError(f"its layer {name} has weights and is of type {kind}: expected conv")
    if hasattr(part, "filters"):
        return name, part.filters, part.biases
    kernel, bias = np.ravel(part.weights)
    return name, kernel, bias


def _layer(name: str, kernel: Array, bias: Array) -> Layer:
    # MATLAB drops axes of length one at the end.
    kernel = kernel.reshape(kernel.shape + (1,) * (4 - kernel.ndim))
    return Layer(name, tensor(kernel).permute(3, 2, 0, 1), tensor(bias).flatten())


def _mean(normalization: Any) -> tuple[float, ...]:
    image = np.asarray(normalization.averageImage, np.float64)
    if image.size % 3 or not image.size:
        raise RequestError(f"its mean image has the shape {image.shape}: expected three channels")
    # Some have one colour, some a picture.
    mean = image.reshape(-1, 3).mean(axis=0) if image.size > 3 else image.ravel()
    return tuple(mean.tolist())


def _classes(file: dict[str, Any], meta: Any) -> tuple[str, ...] | None:
    classes = _part(file, meta, "classes")
    described = getattr(classes, "description", None)
    return None if described is None else tuple(_word(name) for name in np.ravel(described))


def _word(value: Any) -> str:
    return str(np.ravel(value)[0]) if np.size(value) else ""
