"""Boxes on disk: a view of a localisation test (Appendix A), bound as posteriors are.

A file has `boxes` (N, cells, 4), float32, of the true class, and `scores` (N, cells), the true
class's posterior there; cells that an image lacks are not numbers. Beside stand `truth` (M, 4), the
boxes of all images, `owners` (M,), the image that each is of, and `constants` (1 + classes, 4), the
best constant box of training and that of each class. All are as in `repro.protocol.boxes`.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from repro.protocol import boxes
from repro.protocol.boxes import NONE, PER_CLASS
from repro.store import expected


@dataclass(frozen=True)
class Located:
    """The boxes that nets gave of test images, and the truth."""

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    truth: NDArray[np.float64]
    owners: NDArray[np.int64]
    constants: NDArray[np.float64]
    labels: NDArray[np.int64]
    ids: NDArray[np.str_]
    seconds: float | None = None

    def wrong(self, constant: str = NONE) -> NDArray[np.bool_]:
        """Whether each image's box is wrong, (N,), in order of ids.

        The box is the merged one, or where `constant` is not `none`, the best constant box: the one
        that is `shared` by all classes or that of the image's class (`per_class`).
        """
        if constant == NONE:
            found = boxes.chosen(self.boxes.astype(float), self.scores.astype(float))
        else:
            found = self.constants[(1 + self.labels) * (constant == PER_CLASS)]
        order = np.argsort(self.ids, kind="stable")
        return boxes.wrong(found, self.truth, self.owners)[order]


FIELDS = ("boxes", "scores", "truth", "owners", "constants", "labels", "ids")


def encode(view: Located, weights: str | None, name: str) -> bytes:
    """The content of a view's file, with the digest of its weights and its name."""
    arrays: dict[str, Any] = {field: getattr(view, field) for field in FIELDS}
    arrays |= {"seconds": view.seconds} if view.seconds is not None else {}
    arrays |= {"weights": weights} if weights is not None else {}
    return expected.encode(arrays | {"view": name})


def digest(truth: NDArray[np.float64], owners: NDArray[np.int64]) -> str:
    """The digest of the boxes of all test images, which `result.json` has too."""
    return hashlib.sha256(truth.tobytes() + owners.astype(np.int64).tobytes()).hexdigest()


def decoded(stored: Mapping[str, NDArray[Any]], truth: str | None = None) -> Located:
    """The view of a file's arrays; a ValueError says why there is none, or not of this truth."""
    arrays: dict[str, Any] = {field: stored[field] for field in FIELDS}
    found = Located(**arrays)
    images, cells = found.scores.shape
    shapes = [found.boxes.shape, found.truth.shape[1:], found.owners.shape]
    shapes.append(found.constants.shape[1:])
    listed = len(found.labels) == len(found.ids) == images
    classes = {*range(len(found.constants) - 1)}
    known = listed and cells and classes.issuperset(found.labels.tolist())
    if shapes != [(images, cells, 4), (4,), found.truth.shape[:1], (4,)] or not known:
        raise ValueError("boxes, scores, truth and constants do not fit each other")
    kinds = (found.boxes, found.scores, found.truth, found.constants)
    if not all(one.dtype.kind == "f" for one in kinds) or found.owners.dtype.kind != "i":
        raise ValueError("boxes and scores are numbers, owners are whole ones")
    if set(found.owners.tolist()) != set(range(images)) or not np.isfinite(found.truth).all():
        raise ValueError("not every image has a box, or some are no numbers")
    if truth not in (None, digest(found.truth, found.owners)):
        raise ValueError("its true boxes are not those that the run was tested on")
    return found


def union(views: Sequence[Located]) -> Located:
    """The boxes of several views (Table 9); a ValueError says that they show different images."""
    first = views[0]
    for view in views[1:]:
        if not (np.array_equal(view.ids, first.ids) and np.array_equal(view.truth, first.truth)):
            raise ValueError("the views show different images")
    every = np.concatenate([view.boxes for view in views], axis=1)
    scores = np.concatenate([view.scores for view in views], axis=1)
    return replace(first, boxes=every, scores=scores, seconds=None)
