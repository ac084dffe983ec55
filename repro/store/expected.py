"""What binds a file of posteriors or ranks to its run: digests, and what the run was tested on."""

import hashlib
import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from repro.errors import RunError
from repro.store.files import read_whole

RESULT_DIGEST = "result"
"""The key of `digests` in a `result.json` that is the digest of the file's own content."""
DIGEST = "digest"
"""The array of an npz file that is the digest of all others."""
SHORT = 10
"""Hex digits of a digest that stands in a file's name."""
LARGEST = 2**32
"""Bytes of all arrays, unpacked: forty times those of a view of ImageNet's 50,000 images."""


def sha256(content: bytes) -> str:
    """The digest of a file's content, 64 hex digits."""
    return hashlib.sha256(content).hexdigest()


@dataclass(frozen=True)
class ListedImages:
    """The test images that posteriors or ranks are of: ids (N,) in order, and labels (N,)."""

    ids: NDArray[np.str_]
    labels: NDArray[np.int64]

    @classmethod
    def of(cls, ids: Sequence[str] | NDArray[np.str_], labels: NDArray[np.int64]) -> "ListedImages":
        """Images that come in any order."""
        names = np.asarray(ids)
        order = np.argsort(names, kind="stable")
        return cls(names[order], np.asarray(labels)[order])

    @property
    def content(self) -> bytes:
        """As a CSV file."""
        rows = zip(["id", *self.ids.tolist()], ["label", *self.labels.tolist()], strict=True)
        return "".join(f"{name},{label}\n" for name, label in rows).encode()

    @property
    def digest(self) -> str:
        """Posteriors and ranks of one digest may be compared image by image."""
        return sha256(self.content)

    @property
    def short(self) -> str:
        """The beginning of the digest, as it stands in a file's name."""
        return self.digest[:SHORT]


@dataclass(frozen=True)
class Expected:
    """The images, classes and weights that a run's views and ranks must be of."""

    images: int
    classes: int
    listed: str | None = None
    """The digest of the list of test images; None: not known, of an older run."""
    weights: str | None = None
    """The digest of the weights; None: not known, of an older run."""
    boxes: str | None = None
    """The digest of the boxes of all test images; None: it locates nothing."""
    bound: bool = False
    """Whether each file has a digest and says what it is of; those of older runs need not."""

    @classmethod
    def of(cls, result: Mapping[str, Any]) -> "Expected":
        """By a run's `result.json`."""
        data, known = result["data"], result.get("digests", {})
        images, weights = known.get("test_images"), known.get("weights")
        bound = RESULT_DIGEST in known
        return cls(data["test"], data["classes"], images, weights, known.get("boxes"), bound)

    def __str__(self) -> str:
        return f"{self.images} images of {self.classes} classes"


def encode(arrays: Mapping[str, Any]) -> bytes:
    """The content of an npz file that holds the arrays and their digest."""
    stored = {name: np.asarray(array) for name, array in arrays.items()}
    if (size := sum(array.nbytes for array in stored.values())) > LARGEST:
        raise RunError(f"arrays of {size:,} bytes are too many for a file: at most {LARGEST:,}")
    stored[DIGEST] = np.array(_digest(stored))
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **stored)  # type: ignore[arg-type]
    return buffer.getvalue()


def decode(file: Path, most: int | None = None) -> dict[str, NDArray[Any]]:
    """All arrays of an npz file, none executed; a damaged one raises errors of a dozen kinds."""
    most = LARGEST if most is None else most
    with zipfile.ZipFile(io.BytesIO(read_whole(file))) as archive:
        unpacked = sum(entry.file_size for entry in archive.infolist())
        if unpacked > most:
            raise ValueError(f"its arrays have {unpacked:,} bytes: expected at most {most:,}")
        # As `np.load` does, which opens the file once more.
        members = {name.removesuffix(".npy"): archive.read(name) for name in archive.namelist()}
    arrays = {
        name: np.lib.format.read_array(io.BytesIO(member), allow_pickle=False)
        for name, member in members.items()
    }
    if DIGEST in arrays and str(arrays[DIGEST]) != _digest(arrays):
        raise ValueError("its content has another digest")
    return arrays


def _digest(arrays: Mapping[str, NDArray[Any]]) -> str:
    """The digest of the names, types, shapes and values of all arrays but itself."""
    total = hashlib.sha256()
    for name in sorted(arrays.keys() - {DIGEST}):
        array = arrays[name]
        total.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        total.update(array.tobytes())
    return total.hexdigest()
