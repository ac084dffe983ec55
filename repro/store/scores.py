"""The scores of linear SVMs on descriptors: what the tests of Appendix B leave, one file a test.

`scores-PROTOCOL.npz` lies in a run's folder; where another run's descriptors were stacked, that
run's identity follows as `+IDENTITY`. It holds the `ids` (N,) and `labels` of all images, `parts`
(splits, N), the C chosen in each split and, by split, the scores of the test images (n, classes) in
the order of `ids`; in an archive, where an image has one class, the class of the highest score.
With these stand the digests of the weights and of everything else in the file.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from repro.errors import RequestError, one_line
from repro.protocol.measures import TEST, errors, predicted
from repro.protocol.protocols import TRANSFERS
from repro.store import expected
from repro.store.expected import DIGEST, Expected, ListedImages
from repro.store.files import state_of
from repro.store.views import NAME, WEIGHTS

BEGIN = "scores-"


@dataclass(frozen=True)
class Scores:
    """What one test of descriptors found; see the head of this file for shapes."""

    protocol: str
    qs: tuple[int, ...]
    ids: NDArray[np.str_]
    labels: NDArray[np.int64]
    parts: NDArray[np.int8]
    chosen: NDArray[np.float64]
    scores: tuple[NDArray[np.float32], ...]
    partner: str = ""
    """The identity of the run whose descriptors are stacked with this one's; empty: of none."""
    partner_weights: str = ""

    @property
    def name(self) -> str:
        """The name of the test, as it stands in that of its file."""
        return f"{self.protocol}+{self.partner}" if self.partner else self.protocol

    @cached_property
    def errors(self) -> dict[str, NDArray[np.float64]]:
        """Each measure in percent, by split."""
        found = [errors(self.labels[p == TEST], s) for p, s in self.splits]
        return {name: np.concatenate([one[name] for one in found]) for name in found[0]}

    @property
    def splits(self) -> list[tuple[NDArray[np.int8], NDArray[np.float32]]]:
        """The parts (N,) and the scores of each split."""
        return list(zip(self.parts, self.scores, strict=True))

    @property
    def reduced(self) -> "Scores":
        """With no more than the measures need: small enough for an archive."""
        if self.labels.ndim > 1:
            return self
        best = (predicted(s) if s.ndim > 1 else s for s in self.scores)
        return replace(self, scores=tuple(one.astype(np.float32) for one in best))


def file_name(test: str) -> str:
    """The name of the file of a test, below its run's folder."""
    return f"{BEGIN}{test}.npz"


def encode(found: Scores, weights: str) -> bytes:
    """The content of a file of scores, bound to the digest of the run's weights."""
    stored: dict[str, Any] = {
        "qs": np.array(found.qs),
        "ids": found.ids,
        "labels": found.labels,
        "parts": found.parts,
        "chosen": found.chosen,
        WEIGHTS: weights,
        NAME: found.name,
        "partner_weights": found.partner_weights,
        **{f"{BEGIN}{split}": scores for split, scores in enumerate(found.scores)},
    }
    return expected.encode(stored)


def read(folder: Path, test: str, tested: Expected) -> Scores | None:
    """The stored scores of a test, None: there are none; a RequestError says how it is damaged."""
    file = folder / file_name(test)
    state = state_of(file)
    return None if state is None else _read(file, test, tested, state)


@lru_cache(maxsize=8)
def _read(file: Path, test: str, tested: Expected, state: tuple[int, int]) -> Scores:
    try:
        stored = expected.decode(file)
        if DIGEST not in stored or str(stored[NAME]) != test:
            raise ValueError("it is of another test, or has no digest")
        count = len(stored["parts"])
        scores = tuple(stored[f"{BEGIN}{split}"].astype(np.float32) for split in range(count))
        protocol, _, partner = test.partition("+")
        found = Scores(
            protocol=protocol,
            qs=tuple(map(int, stored["qs"])),
            ids=stored["ids"],
            labels=stored["labels"],
            parts=stored["parts"],
            chosen=stored["chosen"],
            scores=scores,
            partner=partner,
            partner_weights=str(stored["partner_weights"]),
        )
        _check(found, str(stored[WEIGHTS]), tested)
    except Exception as error:
        said = f"{file} is damaged: {one_line(error)}"
        raise RequestError(f"{said}; the run's command computes it again") from None
    return found


def _check(found: Scores, weights: str, tested: Expected) -> None:
    images, classes = len(found.ids), tested.classes
    if found.protocol not in TRANSFERS:
        raise ValueError("there is no such test")
    if weights != tested.weights:
        raise ValueError("it does not say that this run's weights made it")
    if ListedImages.of(found.ids, found.labels).digest != tested.listed:
        raise ValueError("it is of other images, or of their classes in another order")
    if found.parts.shape != (len(found.scores), images) or not len(found.parts):
        raise ValueError("its parts are not those of its images")
    for parts, scores in found.splits:
        count = int((parts == TEST).sum())
        # An archive keeps of images of one class the best alone.
        shapes = [(count, classes), (count,)] if found.labels.ndim == 1 else [(count, classes)]
        if scores.shape not in shapes:
            raise ValueError("its scores are not those of its test images")
        if not np.isfinite(scores).all() or not count:
            raise ValueError("its scores are not finite, or of no image")


def stored(folder: Path) -> list[str]:
    """The names of the tests whose scores lie in a run's folder."""
    return sorted(file.stem.removeprefix(BEGIN) for file in folder.glob(f"{BEGIN}*.npz"))


def whole(folders: Sequence[Path], tested: Expected) -> list[Scores]:
    """The scores of each test that folders of one run hold, the first that is not damaged."""
    found: dict[str, Scores] = {}
    for folder, test in ((one, test) for one in folders for test in stored(one)):
        with suppress(RequestError):
            if test not in found and (one := read(folder, test, tested)) is not None:
                found[test] = one
    return [found[test] for test in sorted(found)]
