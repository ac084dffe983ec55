"""torch's `.pth`, opened with `weights_only=True`, which builds tensors and runs nothing.

Older torch could be made to run code even so (CVE-2026-24747), hence the bound on its version.
"""

from __future__ import annotations

import argparse
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from repro.errors import RequestError
from repro.weights import state_dict
from repro.weights.contents import Contents

OLDEST = "2.10"
AVERAGED = ("state_dict_ema", "model_ema")
"""Keys of a moving average of the weights, which is taken before the weights, as timm does."""
WRAPPED = (*AVERAGED, "state_dict", "model", "model_state_dict", "net")
"""Keys under which checkpoints keep a state dict."""


def read(path: Path) -> Contents:
    """The layers of a state dict, or of one within a checkpoint.

    Raises:
        RequestError: torch is too old, or the file holds objects of other kinds than tensors.
        Exception: torch's own, where the file is damaged.
    """
    if torch.__version__ < OLDEST:
        raise RequestError(
            f"torch {torch.__version__} can be made to run code by such a file (CVE-2026-24747): "
            f"install torch {OLDEST} or newer, or take a safetensors file"
        )
    try:
        # Checkpoints of torchvision's references hold their options in a Namespace: plain values.
        with torch.serialization.safe_globals([argparse.Namespace]):
            # Mapped, a zip file's tensors take memory only as they are read.
            mapped = zipfile.is_zipfile(path)
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as error:
        if isinstance(error, pickle.UnpicklingError) or "weights_only" in str(error):
            raise RequestError(
                "it holds more than tensors, so that it is not opened: save the net's state dict "
                "alone, torch.save(net.state_dict(), FILE)"
            ) from None
        raise
    averaged = False
    while (key := _wrapper(content)) is not None:
        averaged = averaged or key in AVERAGED
        content = content[key]
    if not isinstance(content, Mapping):
        raise RequestError(f"it holds a {type(content).__name__}: expected a state dict")
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, torch.Tensor):
            raise RequestError(f"its {name!r} is a {type(value).__name__}: expected tensors only")
    contents = state_dict.contents(content)
    return replace(contents, format=f"{contents.format} (moving average)") if averaged else contents


def _wrapper(content: Any) -> str | None:
    """The key under which a checkpoint keeps its state dict; None: it is one, or has none."""
    if not isinstance(content, Mapping):
        return None
    return next((key for key in WRAPPED if isinstance(content.get(key), Mapping)), None)
