"""What a plan assumes of a data set: `repro.data.sources.check` without a look at any file."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from repro.config.schema import Data
from repro.data.sources import (
    check_channels,
    classes_of,
    kind_of,
    most_training_images,
    other_classes,
    published_counts,
)
from repro.data.split import Counts, Description
from repro.errors import RequestError
from repro.store import identity
from repro.store.runs import Run

UNKNOWN = (
    "how many images and classes it has is not known without looking: "
    "give images=TRAINING,VALIDATION,TEST and classes=N, as in images=9000,500,500 classes=20"
)


def _ended(run: Run) -> str:
    return str(run.result.get("environment", {}).get("finished", ""))


class Assumed:
    """The assumed size of a data set: as said, as an earlier run found it, or as is known."""

    def __init__(self, images: Counts | None, classes: int | None, earlier: Sequence[Run]) -> None:
        self._images, self._classes = images, classes
        # The last of those on the same data knows it as it is now.
        self.earlier = sorted(earlier, key=_ended)

    def describe(self, data: Data, cache: Path, progress: bool) -> Description:
        """In place of `check`: nothing is looked at; a RequestError says what is wrong."""
        check_channels(data)
        kind = kind_of(data)
        # What is in a folder of the user's own, the folder decides.
        published = None if kind.channels is None and kind.bring is None else kind.classes
        # The file's number is that of the classes that nets are trained on.
        own = None if data.transfer else data.classes
        for said in (own, self._classes):
            if published is not None and said not in (None, published):
                raise other_classes(data, published, said)
        classes = own or self._classes or self._found(data, "classes") or kind.classes
        if classes is None:
            raise RequestError(f"data={data.name}: {UNKNOWN}")
        counts, runs = self.images(data), self._runs(data)
        known = self._images is not None or self._found(data, "train") is not None
        train = counts.train if known else most_training_images(data, kind)
        taken = classes_of(data, classes)
        return Description(taken, runs[-1].fingerprint if runs else "", train=train)

    def images(self, data: Data) -> Counts:
        """How many images the data set has; a RequestError says that this cannot be known."""
        if self._images is not None:
            return self._images
        found = [self._found(data, part) for part in Counts._fields]
        if found[0] is not None:
            return Counts(*(count or 0 for count in found))
        kind = kind_of(data)
        own = None if data.transfer else data.classes
        if kind.images is None or kind.classes is None or own not in (None, kind.classes):
            raise RequestError(f"data={data.name}: {UNKNOWN}")
        return published_counts(
            kind.images, (data.first_classes or kind.classes) / kind.classes, data
        )

    def _runs(self, data: Data) -> list[Run]:
        """Earlier runs on the same data, whatever a label adds and however it was checked."""

        def plain(data: Data) -> Data:
            return dataclasses.replace(identity.unlabelled(data), verify=False)

        return [run for run in self.earlier if plain(run.config.data) == plain(data)]

    def _found(self, data: Data, key: str) -> int | None:
        """A number that the last finished run on the same data found."""
        results = [run.result for run in self._runs(data) if run.result]
        return int(results[-1]["data"][key]) if results else None
