"""Arrays in one file, with the digest of all of them; anyone may have written such a file."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from repro.store.files import read_whole

DIGEST = "digest"
LARGEST = 2**30
"""Bytes of all arrays, unpacked: ten times those of a view of ImageNet's 50,000 images."""


def encode(arrays: Mapping[str, Any]) -> bytes:
    """The content of an npz file that holds the arrays and, as `digest`, their digest."""
    stored = {name: np.asarray(array) for name, array in arrays.items()}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **stored, digest=np.array(digest(stored)))  # type: ignore[arg-type]
    return buffer.getvalue()


def digest(arrays: Mapping[str, NDArray[Any]]) -> str:
    """64 hex digits, of the names, types, shapes and values of all arrays but the digest itself."""
    total = hashlib.sha256()
    for name in sorted(arrays.keys() - {DIGEST}):
        array = arrays[name]
        total.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        total.update(array.tobytes())
    return total.hexdigest()


def read(file: Path) -> dict[str, NDArray[Any]]:
    """All arrays of a file by name, a digest among them where there is one (older files have none).

    Nothing in the file is executed.

    Raises:
        ValueError: they would take too much memory, or their digest is another.
        Exception: numpy's or zipfile's own, of a dozen kinds, where the file is damaged.
    """
    content = io.BytesIO(read_whole(file))
    with zipfile.ZipFile(content) as archive:
        unpacked = sum(entry.file_size for entry in archive.infolist())
    if unpacked > LARGEST:
        raise ValueError(f"its arrays have {unpacked:,} bytes: expected at most {LARGEST:,}")
    content.seek(0)
    with np.load(content, allow_pickle=False) as stored:
        arrays = dict(stored)
    if DIGEST in arrays and str(arrays[DIGEST]) != digest(arrays):
        raise ValueError("its content has another digest")
    return arrays
