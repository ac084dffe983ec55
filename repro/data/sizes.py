"""How many images and classes a data set has, without looking at it: what a plan needs to know."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from repro.config.schema import Data
from repro.data import sources
from repro.data.split import Counts, Description
from repro.errors import RequestError
from repro.store import identity
from repro.store.runs import Started

UNKNOWN = (
    "how many images and classes it has is not known without looking: "
    "give images=TRAINING,VALIDATION,TEST and classes=N, as in images=9000,500,500 classes=20"
)


class Assumed:
    """What is taken for a data set: what was said, what an earlier run found, or what is known."""

    def __init__(
        self, images: Counts | None, classes: int | None, earlier: Sequence[Started]
    ) -> None:
        self._images, self._classes, self.earlier = images, classes, earlier

    def describe(self, data: Data, cache: Path, progress: bool) -> Description:
        """In place of `sources.check`: nothing is looked at; a RequestError says what is wrong."""
        sources.check_options(data)
        kind = sources.kind_of(data)
        # What is in a folder of the user's own, the folder decides.
        published = None if kind.channels is None and kind.bring is None else kind.classes
        for said in (data.classes, self._classes):
            if published is not None and said not in (None, published):
                raise sources.other_classes(data, published, said)
        classes = data.classes or self._classes or self._found(data, "classes") or kind.classes
        if classes is None:
            raise RequestError(f"data={data.name}: {UNKNOWN}")
        self.images(data)
        runs = self._runs(data)
        taken = sources.classes_of(data, classes)
        return Description(taken, runs[-1].fingerprint if runs else "")

    def images(self, data: Data) -> Counts:
        """How many images the data set has; a RequestError says that this cannot be known."""
        if self._images is not None:
            return self._images
        found = [self._found(data, part) for part in Counts._fields]
        if found[0] is not None:
            return Counts(*(count or 0 for count in found))
        kind = sources.kind_of(data)
        if kind.images is None or kind.classes is None or data.classes not in (None, kind.classes):
            raise RequestError(f"data={data.name}: {UNKNOWN}")
        share = (data.first_classes or kind.classes) / kind.classes
        train, validation, test = (round(count * share) for count in kind.images)
        held = round(data.holdout * train)
        kept = train - held * ((validation == 0) + (test == 0))
        return Counts(kept, validation or held, test or held)

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
