"""What a MATLAB file of MatConvNet holds, as scipy reads it.

This module imports no torch: it is imported by a process of its own, since scipy's reader can crash
over a damaged file, and makes an array of every eight bytes of some.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat

from repro.errors import RequestError

Array = NDArray[Any]
Weights = tuple[str, Array, Array]
"""Name, kernel (h, w, in, out), bias."""
Parsed = tuple[list[Weights], tuple[float, ...], tuple[str, ...] | None]
"""The layers, the mean colour, the classes' names."""


def limit(more: int) -> None:
    """Let this process take so many bytes more than it has, where the system can (Linux)."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
        _, most = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + more, most))


def parsed(path: Path) -> Parsed:
    """The layers with weights, the mean colour and the classes' names.

    Raises:
        RequestError: it is no net of MatConvNet's.
        Exception: scipy's own, where the file is damaged.
    """
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
