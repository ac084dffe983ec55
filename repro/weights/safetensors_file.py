"""safetensors: our own runs' weights, exported ones, and timm's from its hub."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from safetensors import safe_open

from repro.errors import RequestError
from repro.store.runs import read_config, read_result
from repro.weights import convention, state_dict
from repro.weights.convention import METADATA, Convention
from repro.weights.found import Found

LONGEST = 2**22
"""Bytes of a header: a hundred for each tensor, and the names of classes."""
MOST = 10_000
"""Tensors of a file."""


def read(path: Path) -> Found:
    """The layers that the tensors' names tell.

    The input convention is what the file's metadata say (`vgg_repro.input`), or the run's in whose
    folder it lies. timm's names tell timm's; torchvision's are ours too and tell nothing.

    Raises:
        RequestError: the names are of no net like these, or too many, or the metadata are no
            convention.
        Exception: safetensors' own, where the file is damaged.
    """
    with path.open("rb") as header:
        length = int.from_bytes(header.read(8), "little")
    if length > LONGEST:
        raise RequestError(f"its header has {length:,} bytes: expected at most {LONGEST:,}")
    with safe_open(path, "pt") as file:
        metadata, names = file.metadata() or {}, list(file.keys())
        if len(names) > MOST:
            raise RequestError(f"it has {len(names):,} tensors: expected at most {MOST:,}")
        found = state_dict.layers({name: file.get_tensor(name) for name in names})
    if METADATA in metadata:
        try:
            return replace(
                found, format="safetensors", convention=convention.parse(metadata[METADATA])
            )
        except ValueError as error:
            raise RequestError(f"its {METADATA} is none: {error}") from None
    if found.format == "torchvision":
        return replace(found, format="safetensors", convention=_of_run(path.parent))
    return found


def _of_run(folder: Path) -> Convention | None:
    """The convention of the finished run in a folder, or None where there is none."""
    if not (folder / "config.yaml").is_file():
        return None
    try:
        config, _ = read_config(folder)
        result = read_result(folder)
    except RequestError:
        # Something else of that name.
        return None
    if result is None:
        return None
    return convention.of_run(config, result)
