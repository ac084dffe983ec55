"""Views on disk and what follows from them: posteriors, their means, errors (no net needed).

A view is one file `views/NAME.npz`: `posteriors` (N, K), float32 up to 100 classes and float16
log-posteriors above, `labels` (N,), `ids` (N,), the `seconds` that computing it took, `precision`,
if tf32, `weights`, the digest of those, `view`, its name, and `digest`, that of everything else;
older files lack the last three.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from repro.errors import RequestError, one_line
from repro.protocol.protocols import KINDS, View
from repro.store import boxes, expected
from repro.store.expected import DIGEST, Expected, ListedImages
from repro.store.files import state_of

LOGARITHMS_ABOVE = 100
WEIGHTS, NAME = "weights", "view"
SMALL = 2**20
"""Bytes of a view's file that is kept in memory for a while."""
SUM_TOLERANCE = 0.02
"""How far from one a row's sum may be: halves of logarithms are off by up to 0.4% of a share."""


class Absent(RequestError):
    """A view is not stored, or its file is damaged."""


@dataclass(frozen=True)
class Posteriors:
    """Class posteriors of a test set (N, K), each row sums to one; labels (N,) and ids (N,).

    `seconds` is what computing it took, if known; `precision` is `tf32`, or None: the net's own.
    """

    posteriors: NDArray[np.float32]
    labels: NDArray[np.int64]
    ids: NDArray[np.str_]
    seconds: float | None = None
    precision: str | None = None


@dataclass(frozen=True)
class Descriptors:
    """Descriptors of images (N, D) (Appendix B), their ids (N,), labels (N,) or (N, classes)."""

    descriptors: NDArray[np.float32]
    labels: NDArray[np.int64]
    ids: NDArray[np.str_]
    seconds: float | None = None
    precision: str | None = None


def path(folder: Path, view: View) -> Path:
    """Where a run keeps a view."""
    return folder / "views" / f"{view.name}.npz"


def encode(
    view: Posteriors | Descriptors, weights: str | None = None, name: str | None = None
) -> bytes:
    """The content of a view's file: with the digest of its weights and its name, if known."""
    stored: dict[str, Any]
    if isinstance(view, Descriptors):
        stored = {"descriptors": view.descriptors}
    elif view.posteriors.shape[1] > LOGARITHMS_ABOVE:
        smallest = np.finfo(np.float32).tiny
        logarithms = np.log(np.maximum(view.posteriors, smallest))
        stored = {"log_posteriors": logarithms.astype(np.float16)}
    else:
        stored = {"posteriors": view.posteriors}
    said = {"seconds": view.seconds, "precision": view.precision, WEIGHTS: weights, NAME: name}
    stored |= {key: value for key, value in said.items() if value is not None}
    return expected.encode(stored | {"labels": view.labels, "ids": view.ids})


def _decoded(stored: Mapping[str, NDArray[Any]]) -> Posteriors:
    if "log_posteriors" in stored:
        values = np.exp(stored["log_posteriors"].astype(np.float32))
    else:
        values = stored["posteriors"].astype(np.float32)
    took = float(stored["seconds"]) if "seconds" in stored else None
    precision = str(stored["precision"]) if "precision" in stored else None
    return Posteriors(values, stored["labels"].astype(np.int64), stored["ids"], took, precision)


def read(folder: Path, view: View, tested: Expected) -> Posteriors:
    """A stored view of a run, of what was `tested`; raises Absent where there is none such."""
    return _decoded(_stored(folder, view, tested))


def read_descriptors(folder: Path, view: View, tested: Expected) -> Descriptors:
    """As `read`, of descriptors."""
    stored = _stored(folder, view, tested)
    return Descriptors(stored["descriptors"], stored["labels"], stored["ids"])


def located(folder: Path, view: View, tested: Expected) -> boxes.Located:
    """As `read`, of boxes."""
    return boxes.decoded(_stored(folder, view, tested))


def _stored(folder: Path, view: View, tested: Expected) -> dict[str, NDArray[Any]]:
    file = path(folder, view)
    if line := damage(file, tested):
        raise Absent(line)
    if (state := state_of(file)) is None:
        raise Absent(f"{file} is gone")
    return _arrays(file, state)


def _arrays(file: Path, state: tuple[int, int]) -> dict[str, NDArray[Any]]:
    # Several protocols take one view; a large one is read anew: one is in memory at a time.
    return _small(file, state) if state[1] <= SMALL else expected.decode(file)


@lru_cache(maxsize=64)
def _small(file: Path, state: tuple[int, int]) -> dict[str, NDArray[Any]]:
    return expected.decode(file)


def seconds(folder: Path, view: View, tested: Expected) -> float | None:
    """Seconds that computing a stored view took; None: not known, or it cannot be used."""
    file = path(folder, view)
    # There are many ways to be damaged, and `damage` says which.
    with suppress(Exception):
        if damage(file, tested) is None:
            # This array alone: many views are asked.
            with np.load(file, allow_pickle=False) as stored:
                took = float(stored["seconds"])
            return took if 0 <= took < math.inf else None
    return None


def damage(file: Path, tested: Expected) -> str | None:
    """Why a view's file cannot be used, in a line; None where it can, or where there is none."""
    if file.is_dir():
        return f"{file} is a folder where a file belongs: move it away"
    state = state_of(file)
    return None if state is None else _damage(file, tested, state)


@cache
def _damage(file: Path, tested: Expected, state: tuple[int, int]) -> str | None:
    # Asked again and again of one file, which takes a second where there are many images.
    try:
        stored = _arrays(file, state)
        kind, classes = KINDS.get(file.stem.partition("-")[0]), None
        if kind is not None and kind.descriptors:
            _check_descriptors(stored)
        elif kind is not None and kind.boxes:
            boxes.decoded(stored, tested.boxes)
        else:
            classes = _check(stored, _decoded(stored).posteriors)
        _check_bound(stored, classes or tested.classes, tested)
        if str(stored.get(NAME, file.stem)) != file.stem:
            raise ValueError("it is another view under this one's name")
    except OSError as error:
        return f"{file} cannot be read, it may be whole: {error.strerror}"
    except Exception as error:
        # One bit is enough for zlib.error, NotImplementedError, a password that is asked for, ...
        return f"{file} is damaged: {one_line(error)}; the run's command computes it again"
    return None


def _check(stored: Mapping[str, NDArray[Any]], values: NDArray[np.float32]) -> int:
    """The number of classes of posteriors that are some."""
    labels, ids = stored["labels"], stored["ids"]
    if values.ndim != 2 or not len(values) == len(labels) == len(ids):
        raise ValueError("posteriors, labels and ids do not fit each other")
    images, classes = map(int, values.shape)
    if labels.dtype.kind not in "iu" or not ((labels >= 0) & (labels < classes)).all():
        raise ValueError(f"labels are whole numbers from 0 to below {classes}")
    if ids.dtype.kind != "U" or ids.ndim != 1 or len(np.unique(ids)) < images:
        raise ValueError("the ids of images are texts, each once")
    # Written so that what is not a number counts too.
    if not ((values >= 0).all() and (abs(values.sum(axis=1) - 1) < SUM_TOLERANCE).all()):
        raise ValueError("the posteriors of an image are not shares that sum to one")
    return classes


def _check_descriptors(stored: Mapping[str, NDArray[Any]]) -> None:
    values, ids = stored["descriptors"], stored["ids"]
    if values.ndim != 2 or not len(values) == len(stored["labels"]) == len(ids):
        raise ValueError("descriptors, labels and ids do not fit each other")
    if values.dtype != np.float32 or not np.isfinite(values).all():
        raise ValueError("descriptors are finite float32 numbers")


def _check_bound(stored: Mapping[str, NDArray[Any]], classes: int, tested: Expected) -> None:
    listed = (None, ListedImages.of(stored["ids"], stored["labels"]).digest)
    there = Expected(len(stored["ids"]), classes)
    same = (there.images, there.classes) == (tested.images, tested.classes)
    if not same or tested.listed not in listed:
        raise ValueError(f"it is of {there}, and the run was tested on {tested}, or on others")
    bound = {DIGEST, NAME} <= stored.keys() or not tested.bound
    if not bound or tested.weights not in (None, str(stored.get(WEIGHTS))):
        raise ValueError("it does not say which view it is, or not that this run's weights made it")


def files(folder: Path) -> list[Path]:
    """The files of all views of a run."""
    return sorted((folder / "views").glob("*.npz"))


def damaged(folder: Path, tested: Expected) -> list[str]:
    """A line for each stored view of a run that cannot be read, or is not of what was tested."""
    return [line for file in files(folder) if (line := damage(file, tested))]


def missing(folder: Path, wanted: Sequence[View], tested: Expected) -> list[View]:
    """The views, of those that are wanted of a run, that are not stored or cannot be used."""
    each = [(view, path(folder, view)) for view in wanted]
    return [view for view, file in each if not file.is_file() or damage(file, tested)]


def mean(views: Iterable[Posteriors]) -> Posteriors:
    """The mean posteriors (N, classes) of views of one test set, as Section 3.2 averages them.

    Images stand in the order of their ids. A ValueError says that the views show other images, or
    that there are none.
    """
    total, count, first = np.zeros(0), 0, None
    for view in views:
        order = np.argsort(view.ids, kind="stable")
        listed = ListedImages(view.ids[order], view.labels[order])
        if first is None:
            first, total = listed, np.zeros(view.posteriors.shape)
        pairs = zip((listed.ids, listed.labels), (first.ids, first.labels), strict=True)
        if not all(np.array_equal(one, other) for one, other in pairs):
            raise ValueError("the views show different images")
        total += view.posteriors[order]
        count += 1
    if first is None:
        raise ValueError("the mean of no views")
    return Posteriors((total / count).astype(np.float32), first.labels, first.ids)


def mean_of(folder: Path, wanted: Sequence[View], tested: Expected) -> Posteriors | None:
    """The mean of the wanted views of a run; None where one of them is not stored.

    A RequestError says that the stored views cannot be read, or show other images than each other.
    """
    try:
        return mean(read(folder, view, tested) for view in wanted)
    except Absent:
        return None
    except ValueError as error:
        advice = "remove the views and give the run's command again"
        raise RequestError(f"{folder / 'views'}: {error}; {advice}") from error


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
    """The error (%) of a test set within its 95% Wilson interval: (low, error, high)."""
    count = int(wrong.sum())
    low, high = wilson(count, len(wrong))
    return 100 * low, 100 * count / len(wrong), 100 * high


def wilson(count: int, of: int) -> tuple[float, float]:
    """The 95% Wilson interval of a share, (low, high); `scipy.stats` takes a second to import."""
    squared = NormalDist().inv_cdf(0.975) ** 2
    middle = count + squared / 2
    reach = math.sqrt(squared * (squared / 4 + count * (of - count) / of))
    low, high = (middle - reach) / (of + squared), (middle + reach) / (of + squared)
    return low if count else 0.0, high if count < of else 1.0
