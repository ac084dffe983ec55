"""What a data set is to those who train and test: three sets of images, and what is known of it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray

from repro.data.images import ArrayImages, EnlargedImages, Images
from repro.data.names import Names
from repro.data.rescale import rescale


@dataclass(frozen=True)
class Split:
    """One set of images with labels (N,) and ids that stay the same wherever the data lies."""

    images: Images
    labels: NDArray[np.int64]
    ids: Sequence[str]
    boxes: NDArray[np.int64] | None = None
    """(N, 4): left, top, right and bottom of the object, in pixels of the image as it came; None
    where the data set has none."""

    def key(self, name: str) -> str:
        """Of these images in a cache: `name` says all that decides which images the ids are."""
        found = hashlib.sha256(name.encode())
        for id in self.ids:
            found.update(f"\n{id}".encode())
        return found.hexdigest()[:16]

    def take(self, indices: NDArray[np.int64]) -> Split:
        """The images at `indices`."""
        if isinstance(self.ids, Names):
            chosen: Sequence[str] = self.ids.take(indices)
        else:
            chosen = tuple(self.ids[index] for index in indices)
        boxes = None if self.boxes is None else self.boxes[indices]
        return Split(self.images.subset(indices), self.labels[indices], chosen, boxes)

    def enlarged(self, side: int) -> Split:
        """Images of fewer pixels enlarged so that their smallest side has `side`."""
        images: Images = EnlargedImages(self.images, side)
        if isinstance(self.images, ArrayImages):
            small = side > min(self.images.array.shape[-2:])
            parts = torch.split(self.images.array, 1024) if small else [self.images.array]
            array = torch.cat([rescale(part, side) for part in parts]) if small else parts[0]
            images = ArrayImages(array)
        return replace(self, images=images)

    def spread(self, count: int | None) -> Split:
        """At most `count` images, as evenly spread over the set as can be; None: all."""
        if count is None or count >= len(self.ids):
            return self
        return self.take(np.linspace(0, len(self.ids) - 1, count).astype(np.int64))


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
class Description:
    """What is known of a data set before it is loaded."""

    classes: int
    fingerprint: str
    """Of a folder's contents; empty where the name of the data set says it all."""
    left_out: int = 0
    """Files that cannot be decoded."""
    times: str = field(default="", compare=False)
    """A hash of the times of modification of a folder's files. It is no part of what a run is; what
    was computed of the images is kept for these times only."""


@dataclass(frozen=True)
class Source:
    """A data set."""

    classes: tuple[str, ...]
    train: Split
    validation: Split
    test: Split
    description: Description
    """As it was found when it was loaded."""
    validation_is_test: bool = False

    def of_classes(self, count: int | None) -> Source:
        """The images of the first `count` classes; None: of all."""
        if count is None or count == len(self.classes):
            return self
        train, validation, test = (
            part.take(np.flatnonzero(part.labels < count))
            for part in (self.train, self.validation, self.test)
        )
        if self.validation_is_test:
            test = validation
        fewer = replace(self.description, classes=count)
        return Source(self.classes[:count], train, validation, test, fewer, self.validation_is_test)

    def enlarged(self, side: int | None) -> Source:
        """Its images enlarged where they are smaller than `side` pixels; None: as they are."""
        if side is None:
            return self
        train, validation = self.train.enlarged(side), self.validation.enlarged(side)
        test = validation if self.validation_is_test else self.test.enlarged(side)
        return replace(self, train=train, validation=validation, test=test)
