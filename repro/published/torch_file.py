"""torch's `.pth`, opened with `weights_only=True`, which builds tensors and runs nothing.

Older torch could be made to run code even so (CVE-2026-24747), hence the bound on its version.
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from repro.errors import RequestError
from repro.published import state_dict
from repro.published.found import Found

OLDEST = "2.10"
WRAPPED = ("state_dict", "model", "model_state_dict")
"""Keys under which checkpoints keep a state dict."""


def read(path: Path) -> Found:
    """The layers of a state dict.

    Raises:
        RequestError: torch is too old, or the file holds more than tensors.
        Exception: torch's own, where the file is damaged.
    """
    if torch.__version__ < OLDEST:
        raise RequestError(
            f"torch {torch.__version__} can be made to run code by such a file (CVE-2026-24747): "
            f"install torch {OLDEST} or newer, or take a safetensors file"
        )
    zipped = zipfile.is_zipfile(path)
    if zipped:
        _check_archive(path)
    try:
        # Mapped, a zip file's tensors take memory only as they are read.
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except Exception as error:
        if isinstance(error, pickle.UnpicklingError) or "weights_only" in str(error):
            raise RequestError(
                "it holds more than tensors, so that it is not opened: save the net's state_dict()"
            ) from None
        raise
    return state_dict.layers(_tensors(content))


def _check_archive(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    names = [entry.filename for entry in entries]
    if any(name.endswith("constants.pkl") for name in names):
        raise RequestError("it is a TorchScript program, not weights: save the net's state_dict()")
    if not any(name.endswith("data.pkl") for name in names):
        some = ", ".join(names[:3])
        raise RequestError(f"it is an archive of {some} ...: expected torch's state dict")
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise RequestError("it is a compressed archive: torch stores its tensors as they are")


def _tensors(content: Any) -> Mapping[str, Tensor]:
    for key in WRAPPED:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping):
        raise RequestError(f"it holds a {type(content).__name__}: expected a state dict")
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise RequestError(f"its {name!r} is a {type(value).__name__}: expected tensors only")
    return content
