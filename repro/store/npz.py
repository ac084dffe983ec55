"""Reading the arrays of an npz file that anyone may have written."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

LARGEST = 2**30
"""Bytes of all arrays, unpacked: ten times those of a view of ImageNet's 50,000 images."""


def read(file: Path) -> dict[str, NDArray[Any]]:
    """All arrays of a file by name. Nothing in it is executed.

    Raises:
        ValueError: they would take too much memory.
        Exception: numpy's or zipfile's own, of a dozen kinds, where the file is damaged.
    """
    with zipfile.ZipFile(file) as archive:
        unpacked = sum(entry.file_size for entry in archive.infolist())
    if unpacked > LARGEST:
        raise ValueError(f"its arrays have {unpacked:,} bytes: expected at most {LARGEST:,}")
    with np.load(file, allow_pickle=False) as stored:
        return dict(stored)
