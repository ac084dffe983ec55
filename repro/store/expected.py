"""What a run was tested on, and with which weights: its views are checked against this."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

RESULT_DIGEST = "result"
"""The key of `digests` in a `result.json` that is the digest of the file's own content."""
SHORT = 10
"""Hex digits of a digest that stands in a file's name."""


def sha256(content: bytes) -> str:
    """The digest of a file's content, 64 hex digits."""
    return hashlib.sha256(content).hexdigest()


@dataclass(frozen=True)
class ListedImages:
    """The test images that posteriors or ranks are of."""

    ids: NDArray[np.str_]
    """(N,), in order."""
    labels: NDArray[np.int64]
    """(N,)"""

    @classmethod
    def of(cls, ids: Sequence[str] | NDArray[np.str_], labels: NDArray[np.int64]) -> ListedImages:
        """Images that come in any order."""
        names = np.asarray(ids)
        order = np.argsort(names, kind="stable")
        return cls(names[order], np.asarray(labels)[order])

    @property
    def content(self) -> bytes:
        """As a CSV file."""
        rows = zip(self.ids.tolist(), self.labels.tolist(), strict=True)
        return "".join(["id,label\n", *(f"{name},{label}\n" for name, label in rows)]).encode()

    @property
    def digest(self) -> str:
        """Posteriors and ranks of one digest may be compared image by image."""
        return sha256(self.content)

    @property
    def short(self) -> str:
        """The beginning of the digest, as it stands in a file's name."""
        return self.digest[:SHORT]


def listed(ids: NDArray[np.str_], labels: NDArray[Any]) -> str:
    """The digest of test images that come in any order; of one list it is computed once."""
    return _listed(ids.tobytes(), ids.dtype.str, labels.astype(np.int64).tobytes())


@lru_cache(maxsize=8)
def _listed(ids: bytes, kind: str, labels: bytes) -> str:
    return ListedImages.of(np.frombuffer(ids, kind), np.frombuffer(labels, np.int64)).digest


@dataclass(frozen=True)
class Expected:
    """What the views and the ranks of a run must be of."""

    images: int
    """Test images."""
    classes: int
    listed: str | None = None
    """The digest of the list of test images (`ListedImages`); None: not known, of older runs."""
    weights: str | None = None
    """The digest of the weights; None: not known, or there are none."""
    digests: bool = False
    """Whether each file of posteriors or ranks has its digest; of older runs not."""
    names: bool = False
    """Whether each of these also says what it is (which view; ranks of which runs)."""

    @classmethod
    def of(cls, result: Mapping[str, Any]) -> Expected:
        """By a run's `result.json`."""
        data, digests = result["data"], result.get("digests", {})
        return cls(
            data["test"],
            data["classes"],
            digests.get("test_images"),
            digests.get("weights"),
            digests=bool(digests),
            names=RESULT_DIGEST in digests,
        )

    def __str__(self) -> str:
        return f"{self.images} images of {self.classes} classes"
