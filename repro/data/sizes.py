"""How many images and classes a data set has, without looking at it: what a plan needs to know."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from repro.config.schema import Data
from repro.data import sources
from repro.data.split import Description
from repro.errors import RequestError
from repro.store import identity
from repro.store.runs import Started


@dataclass(frozen=True)
class Counts:
    """How many images a data set has."""

    train: int
    validation: int
    test: int

    def share(self, first: int | None, classes: int) -> Counts:
        """Those of the `first` so many of equally large classes; None: all."""
        if first is None:
            return self
        counts = (self.train, self.validation, self.test)
        return Counts(*(round(count * first / classes) for count in counts))


@dataclass(frozen=True)
class Known:
    """A data set as it is published; a set of no images is held out of the training images."""

    classes: int
    images: Counts


KNOWN = {
    "mnist5k": Known(10, Counts(5_000, 0, 0)),
    "mnist": Known(10, Counts(60_000, 0, 10_000)),
    "fashion_mnist": Known(10, Counts(60_000, 0, 10_000)),
    "cifar10": Known(10, Counts(50_000, 0, 10_000)),
    "cifar100": Known(100, Counts(50_000, 0, 10_000)),
    # Of its 101 classes 24 images, 6 and what is left of the others up to 50 (Appendix B).
    "caltech101": Known(101, Counts(2_424, 606, 2_945)),
    "imagenette": Known(10, Counts(9_469, 0, 3_925)),
    "tiny_imagenet": Known(200, Counts(100_000, 0, 10_000)),
    # Its validation images are tested on too.
    "imagenet": Known(1000, Counts(1_281_167, 50_000, 50_000)),
}
FOLDERS = ("imagenet", "imagefolder")
"""Data sets whose folder decides what is in them."""
UNKNOWN = (
    "how many images and classes it has is not known without looking: "
    "give images=TRAINING,VALIDATION,TEST and classes=N, as in images=9000,500,500 classes=20"
)


class Assumed:
    """What is taken for a data set: what was said, what an earlier run found, or what is known."""

    def __init__(
        self, images: Counts | None, classes: int | None, earlier: Sequence[Started]
    ) -> None:
        """
        Args:
            images: how many, where the user said it.
            classes: how many, where the user said it.
            earlier: runs that may have looked at the same folder.
        """
        self._images, self._classes, self.earlier = images, classes, earlier

    def describe(self, data: Data, cache: Path, progress: bool) -> Description:
        """In place of `sources.check`: nothing is looked at.

        Raises:
            RequestError: an option that is wrong, or a number that cannot be known.
        """
        sources.check_options(data)
        known = KNOWN.get(data.name)
        if known and data.name not in FOLDERS and data.classes not in (None, known.classes):
            raise sources.other_classes(data, known.classes)
        classes = data.classes or self._classes or self._found(data, "classes")
        if classes is None and known is not None:
            classes = known.classes
        if classes is None:
            raise RequestError(f"data={data.name}: {UNKNOWN}")
        self.images(data)
        runs = self._runs(data)
        taken = sources.classes_of(data, classes)
        return Description(taken, runs[-1].fingerprint if runs else "")

    def images(self, data: Data) -> Counts:
        """How many images the data set has.

        Raises:
            RequestError: that cannot be known.
        """
        if self._images is not None:
            return self._images
        train = self._found(data, "train")
        if train is not None:
            validation, test = self._found(data, "validation"), self._found(data, "test")
            return Counts(train, validation or 0, test or 0)
        known = KNOWN.get(data.name)
        if known is None or data.classes not in (None, known.classes):
            raise RequestError(f"data={data.name}: {UNKNOWN}")
        return _held_out(known.images.share(data.first_classes, known.classes), data.holdout)

    def _runs(self, data: Data) -> list[Started]:
        """Earlier runs on the same data."""
        return [run for run in self.earlier if _plain(run.config.data) == _plain(data)]

    def _found(self, data: Data, key: str) -> int | None:
        """A number that the last finished run on the same data found."""
        results = [run.result for run in self._runs(data) if run.result is not None]
        return int(results[-1]["data"][key]) if results else None


def _plain(data: Data) -> Data:
    """The data without what a run's label adds and without how it was checked."""
    return dataclasses.replace(data, name=identity.base(data.name), verify=False)


def _held_out(images: Counts, share: float) -> Counts:
    held = round(share * images.train)
    validation, test = images.validation or held, images.test or held
    kept = images.train - (images.validation == 0) * held - (images.test == 0) * held
    return Counts(kept, validation, test)
