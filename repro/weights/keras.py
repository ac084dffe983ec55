"""Keras's `.h5`, in its older layout (by layer names) and in its newer one (by counters).

Older: `block1_conv1/...kernel` with the order in the attributes `layer_names` and `weight_names`,
at the root or below `model_weights`. Newer (`.weights.h5`): `layers/conv2d_3/vars/0` and `1`, the
names being those of the layers' classes, counted.

Only plain data is read: as Keras's own loader does, links to elsewhere, virtual data sets and
external storage are refused, wherever in the file they stand.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from repro.errors import RequestError
from repro.weights.convention import CAFFE
from repro.weights.found import Found, Layer, library, tensor

COUNTED = re.compile(r"(conv2d|dense)(?:_(\d+))?")
DEEPEST = 8
"""Groups within groups."""
MOST = 10_000
"""Entries of a file, each counted as often as it is linked."""
MOST_NAMES = 200
"""Of layers, or of a layer's weights."""
MOST_CHARACTERS = 2**28
"""Of the names in an attribute. They stand elsewhere in the file, and all may be the same."""


def read(path: Path) -> Found:
    """The kernels and biases of all layers, in the net's order.

    Raises:
        RequestError: h5py is missing, or the file has what is never read.
        Exception: h5py's own, where the file is damaged.
    """
    h5py = library("h5py", "h5py", "keras")
    with h5py.File(path, "r") as file:
        datasets = dict(_plain(h5py, file, itertools.count()))
        root = file.get("model_weights", file)
        if "layer_names" in root.attrs:
            longest = path.stat().st_size - _in_datasets(datasets)
            if _names(root, "backend", longest) == ["theano"]:
                raise RequestError(TH_KERNELS)
            named = list(_by_name(root, longest))
        else:
            named = list(_by_counter(datasets))
        if sum(part.nbytes for _, parts in named for part in parts) > path.stat().st_size:
            raise RequestError("its layers have more numbers than the file has bytes")
        layers = [_layer(name, parts) for name, parts in named]
    return Found("Keras", tuple(layers), CAFFE)


TH_KERNELS = (
    "its kernels are in Theano's order (th_kernels): take the file whose name ends in "
    "tf_dim_ordering_tf_kernels.h5"
)


def _plain(
    h5py: Any, group: Any, counted: Iterator[int], depth: int = 0
) -> Iterator[tuple[str, Any]]:
    """Every data set of a file by its path; nothing is read yet.

    Raises:
        RequestError: something in the file points elsewhere, or its data is not plain.
    """
    more = RequestError("it has more groups or entries than any net")
    if depth > DEEPEST or len(group) > MOST:
        raise more
    for name in group:
        # Groups that hold one another are large without end.
        if next(counted) >= MOST:
            raise more
        link = group.get(name, getlink=True)
        where = f"{group.name.rstrip('/')}/{name}"
        if not isinstance(link, h5py.HardLink):
            raise RequestError(f"its {where} is a link ({type(link).__name__}): links are not read")
        entry = group[name]
        if isinstance(entry, h5py.Group):
            yield from _plain(h5py, entry, counted, depth + 1)
        elif isinstance(entry, h5py.Dataset):
            _check_plain(h5py, entry, where)
            yield where.lstrip("/"), entry


def _check_plain(h5py: Any, dataset: Any, where: str) -> None:
    if dataset.external:
        raise RequestError(f"its {where} keeps its data in another file: not read")
    if dataset.is_virtual:
        raise RequestError(f"its {where} is a virtual data set: not read")
    layout = dataset.id.get_create_plist().get_layout()
    if layout not in (h5py.h5d.CONTIGUOUS, h5py.h5d.COMPACT):
        raise RequestError(f"its {where} is stored in chunks or compressed: save it without")


def _in_datasets(datasets: dict[str, Any]) -> int:
    """Bytes of a file that are data."""
    return sum(
        {data.id.get_offset(): data.id.get_storage_size() for data in datasets.values()}.values()
    )


def _by_name(root: Any, longest: int) -> Iterator[tuple[str, list[Any]]]:
    for name in _names(root, "layer_names", longest):
        group = root[name]
        parts = [group[part] for part in _names(group, "weight_names", longest)]
        if parts:
            yield name, parts


def _by_counter(datasets: dict[str, Any]) -> Iterator[tuple[str, list[Any]]]:
    groups: dict[str, dict[str, Any]] = {}
    for path, dataset in datasets.items():
        layer, _, number = path.rpartition("/vars/")
        if layer.startswith("layers/"):
            groups.setdefault(layer.removeprefix("layers/"), {})[number] = dataset
    if not groups:
        raise RequestError("it has neither Keras's layer_names nor its layers/*/vars")
    for name in groups:
        if not COUNTED.fullmatch(name):
            raise RequestError(f"its layer {name} has weights: expected conv2d and dense only")
    # The counters run for each class by itself; FC layers follow the convolutions.
    for name in sorted(groups, key=_counted):
        yield name, [groups[name][number] for number in sorted(groups[name])]


def _counted(name: str) -> tuple[str, int]:
    match = COUNTED.fullmatch(name)
    assert match is not None
    return match[1], int(match[2] or 0)


def _layer(name: str, parts: list[Any]) -> Layer:
    shapes = [part.shape for part in parts]
    if [len(shape) for shape in shapes] not in ([4], [4, 1], [2], [2, 1]):
        raise RequestError(f"its layer {name} has arrays {shapes}: expected a kernel and a bias")
    kernel = _values(parts[0], name)
    bias = _values(parts[1], name) if len(parts) == 2 else None
    if kernel.dim() == 2:
        return Layer(name, kernel.t(), bias, rows="HWC")
    height, width, _, outputs = shapes[0]
    if height != width or (bias is not None and len(bias) != outputs):
        raise RequestError(f"its layer {name} has arrays {shapes}: {TH_KERNELS}")
    return Layer(name, kernel.permute(3, 2, 0, 1), bias)


def _values(dataset: Any, name: str) -> Tensor:
    if dataset.dtype.kind != "f":
        raise RequestError(f"its layer {name} is of type {dataset.dtype}: expected floating-point")
    if dataset.id.get_storage_size() != dataset.nbytes:
        raise RequestError(f"its layer {name} has no data for all of its {dataset.shape}")
    array = dataset[()]
    return tensor(array) if array.size else torch.empty(array.shape)


def _names(holder: Any, attribute: str, longest: int) -> list[str]:
    """The texts of an attribute, if it is there.

    Args:
        holder: of the attribute.
        attribute: its name.
        longest: how long a text can be.

    Raises:
        RequestError: they are many, or could be of any length.
    """
    if attribute not in holder.attrs:
        return []
    count = math.prod(holder.attrs.get_id(attribute).shape)
    if count > MOST_NAMES or count * longest > MOST_CHARACTERS:
        raise RequestError(f"its {attribute} are more than those of any net, or longer")
    return [_text(value) for value in np.ravel(holder.attrs[attribute])]


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
