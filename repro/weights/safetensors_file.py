"""safetensors: our own runs' weights, exported ones, and timm's from its hub."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from safetensors import safe_open

from repro.errors import RequestError
from repro.store.runs import read_config, read_result
from repro.weights import convention, state_dict
from repro.weights.contents import Contents
from repro.weights.convention import METADATA, Convention


def read(path: Path) -> Contents:
    """The layers that the tensors' names tell.

    The input convention is what the file's metadata say (`vgg_repro.input`), or that of the run in
    whose folder the file lies. timm's names tell timm's; torchvision's are ours too and tell none.

    Raises:
        RequestError: the names are of no net like these, or the metadata are no convention.
        Exception: safetensors' own, where the file is damaged.
    """
    with safe_open(path, "pt") as file:
        metadata = file.metadata() or {}
        contents = state_dict.contents({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
    if METADATA in metadata:
        try:
            wanted = convention.of(json.loads(metadata[METADATA]))
        except (ValueError, RecursionError) as error:
            raise RequestError(f"its {METADATA} is none: {error}") from None
        names = json.loads(metadata.get("classes", "null"))
        classes = tuple(map(str, names)) if isinstance(names, list) else None
        return replace(contents, format="safetensors", convention=wanted, classes=classes)
    if contents.format == "torchvision":
        return replace(contents, format="safetensors", convention=_of_run(path.parent))
    return contents


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
    return None if result is None else convention.of_run(config, result)
