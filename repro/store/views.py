"""Views on disk and what follows from them: posteriors, their means, errors (no net needed).

A view is one file `views/NAME.npz`: `posteriors` (N, K), float32 up to 100 classes and float16
log-posteriors above, `labels` (N,), `ids` (N,) and the `seconds` that computing it took. With
these stand `weights`, the digest of the weights that it was computed with, `view`, the view's name,
and `digest`, that of everything else in the file; older files lack these.
"""

from __future__ import annotations

import math
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from repro.errors import RequestError, one_line
from repro.protocol.protocols import View
from repro.store import npz
from repro.store.expected import Expected, listed

LOGARITHMS_ABOVE = 100
WEIGHTS, NAME = "weights", "view"
"""Of a view's file: which weights it was computed with, and which view it is."""
SUM_TOLERANCE = 0.02
"""How far from one a row's sum may be: halves of logarithms are off by up to 0.4% of a share."""


class Absent(RequestError):
    """A view is not stored."""


class Damaged(Absent):
    """A view's file cannot be read."""


@dataclass(frozen=True)
class Posteriors:
    """Class posteriors of a test set, images in the order of their ids."""

    posteriors: NDArray[np.float32]
    """(N, K), each row sums to one."""
    labels: NDArray[np.int64]
    """(N,)"""
    ids: NDArray[np.str_]
    """(N,)"""
    seconds: float | None = None
    """What computing the view of all images took; None where that is not known, as of a mean."""


def path(folder: Path, view: View) -> Path:
    """Where a run keeps a view."""
    return folder / "views" / f"{view.name}.npz"


def encode(view: Posteriors, weights: str | None = None, name: str | None = None) -> bytes:
    """The content of a view's file.

    Args:
        view: what it holds.
        weights: the digest of the weights that it was computed with; None: not known.
        name: the view's name, as in `dense-Q256-mirrored`; None: it does not say which it is.
    """
    values = view.posteriors
    stored: dict[str, Any] = {"posteriors": values}
    if values.shape[1] > LOGARITHMS_ABOVE:
        smallest = np.finfo(np.float32).tiny
        stored = {"log_posteriors": np.log(np.maximum(values, smallest)).astype(np.float16)}
    if view.seconds is not None:
        stored["seconds"] = view.seconds
    stored |= {key: text for key, text in ((WEIGHTS, weights), (NAME, name)) if text is not None}
    return npz.encode(stored | {"labels": view.labels, "ids": view.ids})


def read(folder: Path, view: View, tested: Expected | None = None) -> Posteriors | None:
    """A stored view of a run, or None where there is none.

    Args:
        folder: the run's.
        view: which.
        tested: what it must be of; None: anything.

    Raises:
        Damaged: the file cannot be read, or what it holds is not this.
    """
    file = path(folder, view)
    if line := damage(file, tested):
        raise Damaged(line)
    return _decoded(npz.read(file)) if file.is_file() else None


def _decoded(stored: Mapping[str, NDArray[Any]]) -> Posteriors:
    if "log_posteriors" in stored:
        values = np.exp(stored["log_posteriors"].astype(np.float32))
    else:
        values = stored["posteriors"].astype(np.float32)
    took = float(stored["seconds"]) if "seconds" in stored else None
    return Posteriors(values, stored["labels"].astype(np.int64), stored["ids"], took)


def seconds(folder: Path, view: View) -> float | None:
    """What computing a stored view took; None where that is not known (nothing else is read)."""
    file = path(folder, view)
    try:
        if not file.is_file():
            return None
        with np.load(file, allow_pickle=False) as stored:
            took = float(stored["seconds"])
        return took if 0 <= took < math.inf else None
    except Exception:
        # There are many ways to be damaged, and `read` says which.
        return None


def damage(file: Path, tested: Expected | None = None) -> str | None:
    """Why a view's file cannot be used, in a line; None where it can, or where there is none.

    Args:
        file: the view's.
        tested: what it must be of; None: anything.
    """
    try:
        state = file.stat()
    except OSError:
        return None
    if not stat.S_ISREG(state.st_mode):
        return f"{file} is no file, and a view belongs there: move it away"
    return _damage(file, tested, state.st_mtime_ns, state.st_size)


@cache
def _damage(file: Path, tested: Expected | None, written: int, size: int) -> str | None:
    # Asked again and again of one file, which takes a second where there are many images.
    try:
        stored = npz.read(file)
        view = _decoded(stored)
        _check(view, stored, file.stem)
        if tested is not None:
            _check_tested(view, stored, tested)
    except Exception as error:
        # One bit is enough for zlib.error, NotImplementedError, a password that is asked for, ...
        return f"{file} is damaged: {one_line(error)}; the run's command computes it again"
    return None


def _check(view: Posteriors, stored: Mapping[str, NDArray[Any]], name: str) -> None:
    values, labels, ids = view.posteriors, stored["labels"], view.ids
    if values.ndim != 2 or not len(values) == len(labels) == len(ids):
        raise ValueError("posteriors, labels and ids do not fit each other")
    classes = values.shape[1]
    if labels.dtype.kind not in "iu" or not ((labels >= 0) & (labels < classes)).all():
        raise ValueError(f"labels are whole numbers from 0 to below {classes}")
    if ids.dtype.kind != "U" or ids.ndim != 1 or len(np.unique(ids)) < len(ids):
        raise ValueError("the ids of images are texts, each once")
    # Written so that what is not a number counts too.
    if not ((values >= 0).all() and (abs(values.sum(axis=1) - 1) < SUM_TOLERANCE).all()):
        raise ValueError("the posteriors of an image are not shares that sum to one")
    if NAME in stored and str(stored[NAME]) != name:
        raise ValueError("it is another view under this one's name")


def _check_tested(view: Posteriors, stored: Mapping[str, NDArray[Any]], tested: Expected) -> None:
    images, classes = view.posteriors.shape
    if (images, classes) != (tested.images, tested.classes):
        there = Expected(images, classes)
        raise ValueError(f"it is of {there}, and the run was tested on {tested}")
    if (tested.digests and npz.DIGEST not in stored) or (tested.names and NAME not in stored):
        raise ValueError("it has no digest, or none of its name, as this run's views have")
    if tested.listed not in (None, listed(stored["ids"], stored["labels"])):
        raise ValueError("its images or their labels are not those that the run was tested on")
    if tested.weights is not None and str(stored.get(WEIGHTS)) != tested.weights:
        raise ValueError("it was not computed with this run's weights")


def damaged(folder: Path, tested: Expected) -> list[str]:
    """A line for each stored view of a run that cannot be read, or is not of what was tested."""
    files = sorted((folder / "views").glob("*.npz"))
    return [line for file in files if (line := damage(file, tested))]


def missing(folder: Path, wanted: Sequence[View], tested: Expected | None = None) -> list[View]:
    """The views of a run that are not stored, or that cannot be used."""
    files = [(view, path(folder, view)) for view in wanted]
    return [view for view, file in files if not file.is_file() or damage(file, tested)]


def mean(views: Iterable[Posteriors]) -> Posteriors:
    """The mean of the posteriors of views of one test set (Section 3.2), images in order of ids.

    Of views that are read as they are asked for, one is in memory at a time.

    Raises:
        ValueError: no views, or they show different images.
    """
    following = iter(views)
    first = next(following, None)
    if first is None:
        raise ValueError("the mean of no views")
    order = np.argsort(first.ids, kind="stable")
    ids, labels, count = first.ids[order], first.labels[order], 1
    total = first.posteriors[order].astype(np.float64)
    for view in following:
        order = np.argsort(view.ids, kind="stable")
        if not (
            np.array_equal(view.ids[order], ids) and np.array_equal(view.labels[order], labels)
        ):
            raise ValueError("the views show different images")
        total += view.posteriors[order]
        count += 1
    return Posteriors((total / count).astype(np.float32), labels, ids)


def mean_of(
    folder: Path, wanted: Sequence[View], tested: Expected | None = None
) -> Posteriors | None:
    """The mean of stored views of a run, or None where one of them is absent or damaged.

    Args:
        folder: the run's.
        wanted: which views.
        tested: what they must be of; None: anything.

    Raises:
        RequestError: the views show different images.
    """
    if not all(path(folder, view).is_file() for view in wanted):
        return None
    try:
        return mean(_there(folder, view, tested) for view in wanted)
    except Absent:
        return None
    except ValueError as error:
        names = ", ".join(view.name for view in wanted)
        raise RequestError(
            f"{folder / 'views'}, {names}: {error}; remove the views and give the run's command "
            "again"
        ) from error


def _there(folder: Path, view: View, tested: Expected | None) -> Posteriors:
    found = read(folder, view, tested)
    if found is None:
        raise Absent(f"{path(folder, view)} is gone")
    return found


def ranks(view: Posteriors) -> NDArray[np.int64]:
    """How many other classes each image's true class stands behind, (N,); a tie counts as one."""
    own = view.posteriors[np.arange(len(view.labels)), view.labels]
    # Written so that what is not a number counts as an error too.
    behind = (~(view.posteriors < own[:, None])).sum(axis=1) - 1
    return np.asarray(behind, dtype=np.int64)


def wrong(view: Posteriors, k: int) -> NDArray[np.bool_]:
    """Whether each image's class is not among the k best, (N,); a tie with the k-th is an error."""
    return ranks(view) >= k


def interval(wrong: NDArray[np.bool_]) -> tuple[float, float, float]:
    """The error (%) of a test set between the ends of its 95% Wilson interval: (low, error, high).

    The interval is over test images, for this net as it is.
    """
    from scipy.stats import binomtest

    count = int(wrong.sum())
    ends = binomtest(count, len(wrong)).proportion_ci(0.95, method="wilson")
    return 100 * ends.low, 100 * count / len(wrong), 100 * ends.high
