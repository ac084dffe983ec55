"""Ranks on disk: what is published in place of posteriors, which are too large.

The rank of an image is the number of other classes that the net prefers to the true one; all errors
follow from ranks. A folder of runs may hold, beside the runs,

    ranks/IDENTITY.npz             of one run
    ranks/IDENTITY+IDENTITY.npz    of an ensemble
    ranks/images-DIGEST.csv        the test images in the order of the ranks: id, label

A `.npz` holds the ranks (N,) of each number, `PROTOCOL@Q` as in `multi_scale@224,256,288`; further
`classes`, `images` (the digest of the list), `runs` (as in the file's name), `weights` (their
digests, joined by `+`; older files lack it), `digest` and `seconds:VIEW`.
"""

import math
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from repro.errors import RequestError, one_line
from repro.store import expected, views
from repro.store.expected import DIGEST, SHORT, Expected, ListedImages, sha256
from repro.store.files import read_whole, state_of, write_whole
from repro.store.views import WEIGHTS, Posteriors

FOLDER = "ranks"
SECONDS = "seconds:"
LARGEST = 2**28
"""Bytes of all ranks of a run, unpacked."""
RUNS = "runs"
OWN = ("classes", "images", RUNS, WEIGHTS, DIGEST)
"""Arrays that are no ranks."""


@dataclass(frozen=True)
class Ranks:
    """The rank of the true class of every test image, images in the order of their ids."""

    classes: int
    values: NDArray[np.unsignedinteger[Any]]
    """(N,), from 0; a tie counts against the net."""

    @classmethod
    def of(cls, posteriors: Posteriors) -> "Ranks":
        """The ranks that posteriors give."""
        classes = posteriors.posteriors.shape[1]
        return cls(classes, views.ranks(posteriors).astype(np.min_scalar_type(classes - 1)))

    def wrong(self, k: int) -> NDArray[np.bool_]:
        """Whether each image's class is not among the k best, (N,)."""
        result: NDArray[np.bool_] = self.values >= k
        return result


@dataclass(frozen=True)
class Kept:
    """The numbers kept of a run or an ensemble: `ranks` by `PROTOCOL@Q`, `seconds` by view."""

    classes: int
    images: str
    """The digest of the list of test images, its first ten digits."""
    runs: str
    """The identities of the runs, joined by `+`."""
    weights: str = ""
    """The digests of their weights, joined by `+`; empty: not known."""
    ranks: Mapping[str, Ranks] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)


def file_of(store: Path, identities: Sequence[str]) -> Path:
    """Where the ranks of a run, or of an ensemble of several, lie in a folder of runs."""
    return store / FOLDER / f"{'+'.join(identities)}.npz"


def images(store: Path, digest: str) -> ListedImages | None:
    """A list of test images that a folder of runs holds, or None; a RequestError: it is damaged."""
    file = store / FOLDER / f"images-{digest}.csv"
    if not file.is_file():
        return None
    content = read_whole(file)
    if not sha256(content).startswith(digest):
        raise RequestError(f"{file} is damaged: its content has another digest; remove it")
    try:
        rows = [line.rpartition(",") for line in content.decode().split("\n")[1:-1]]
        ids, labels = [row[0] for row in rows], [int(row[2]) for row in rows]
    except ValueError as error:
        raise RequestError(f"{file} is damaged: {one_line(error)}; remove it") from None
    return ListedImages(np.array(ids), np.array(labels))


def write(store: Path, kept: Kept, images: ListedImages) -> None:
    """Put what is kept of a run or an ensemble, and the list of images, into a folder of runs."""
    if not (listed := store / FOLDER / f"images-{kept.images}.csv").is_file():
        write_whole(listed, images.content)
    arrays: dict[str, Any] = {key: ranks.values for key, ranks in kept.ranks.items()}
    arrays |= {SECONDS + view: took for view, took in kept.seconds.items()}
    arrays |= {"classes": kept.classes, "images": kept.images, RUNS: kept.runs}
    arrays |= {WEIGHTS: kept.weights} if kept.weights else {}
    write_whole(file_of(store, kept.runs.split("+")), expected.encode(arrays))


def weights_of(every: Sequence[Expected]) -> str:
    """The digests of the weights of runs, joined by `+`; empty where one is not known."""
    known = [one.weights for one in every]
    return "+".join(map(str, known)) if all(known) else ""


def read(store: Path, identities: Sequence[str], every: Sequence[Expected]) -> Kept | None:
    """The numbers kept of runs that were tested on `every`, or None; a RequestError: damaged."""
    file, tested = file_of(store, identities), every[0]
    if (kept := decoded(file)) is None:
        return None
    if kept.weights and kept.weights != weights_of(every):
        raise RequestError(f"{file} is of other weights than the runs have: remove it")
    counts = {len(one.values) for one in kept.ranks.values()} | {tested.images}
    of_run = kept.runs == "+".join(identities)
    listed = tested.listed is None or kept.images == tested.listed[:SHORT]
    if not (of_run and listed and kept.classes == tested.classes and len(counts) == 1):
        raise RequestError(f"{file} is damaged: of another run, or not of {tested}; remove it")
    return kept


def ensembles(store: Path) -> list[Kept]:
    """What a folder of runs keeps of several runs together; damaged files are none."""
    found = []
    for file in sorted((store / FOLDER).glob("*+*.npz")):
        with suppress(RequestError):
            found.append(decoded(file))
    return [one for one in found if one is not None]


def decoded(file: Path) -> Kept | None:
    """The content of a file of ranks; None: there is no file; a RequestError: it is damaged."""
    state = state_of(file)
    return None if state is None else _decoded(file, state)


@cache
def _decoded(file: Path, state: tuple[int, int]) -> Kept:
    try:
        found = expected.decode(file, LARGEST)
        classes, images = int(found["classes"]), str(found["images"])
        runs, weights = str(found[RUNS]), str(found.get(WEIGHTS, ""))
        if not re.fullmatch(f"[0-9a-f]{{{SHORT}}}", images):
            raise ValueError("images is not the digest of a list")
        ranks, seconds = {}, {}
        for key, values in found.items():
            if key.startswith(SECONDS):
                seconds[key.removeprefix(SECONDS)] = took = float(values)
                if not 0 <= took < math.inf:
                    raise ValueError("seconds are not numbers from 0")
            elif key not in OWN:
                if values.ndim != 1 or values.dtype.kind != "u" or (values >= classes).any():
                    raise ValueError("ranks are whole numbers from 0 to below the classes")
                ranks[key] = Ranks(classes, values)
    except Exception as error:
        # As with views, there are many ways to be damaged.
        raise RequestError(f"{file} is damaged: {one_line(error)}; remove it") from None
    return Kept(classes, images, runs, weights, ranks, seconds)
