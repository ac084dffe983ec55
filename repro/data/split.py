"""A data set as those see it who train and test: three sets of images, and what is known of it."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from repro.data.images import ArrayImages, Images
from repro.errors import RunError


@dataclass(frozen=True)
class Split:
    """One set of images with labels (N,) and ids that stay the same wherever the data lies."""

    images: Images
    labels: NDArray[np.int64]
    ids: Sequence[str]
    status: NDArray[np.int64] | None = None
    """(N, 2): bytes and time of modification in nanoseconds of each file; None: not in files."""
    boxes: tuple[NDArray[np.float64], ...] | None = None
    """The boxes of each image, (k, 4), as `repro.protocol.boxes` has them; None: not read."""

    def key(self, name: str) -> str:
        """The key of these images in a cache; `name` says all that decides which they are."""
        found = hashlib.sha256(name.encode())
        for id in self.ids:
            found.update(f"\n{id}".encode())
        return found.hexdigest()[:16]

    def take(self, indices: NDArray[np.int64]) -> "Split":
        """The images at `indices`."""
        ids = tuple(self.ids[index] for index in indices.tolist())
        status = None if self.status is None else self.status[indices]
        boxes = None if self.boxes is None else tuple(self.boxes[n] for n in indices.tolist())
        return Split(self.images.take(indices), self.labels[indices], ids, status, boxes)

    @property
    def truth(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """All boxes, (M, 4), and the index of the image that each is of, (M,)."""
        counts = [len(own) for own in self.boxes or ()]
        return np.concatenate(self.boxes or ()), np.repeat(np.arange(len(counts)), counts)

    def spread(self, count: int | None) -> "Split":
        """At most `count` images, as evenly spread over the set as can be; None: all."""
        if count is None or count >= len(self.ids):
            return self
        return self.take(np.linspace(0, len(self.ids) - 1, count).astype(np.int64))

    def held_out(self, share: float, seed: int) -> "tuple[Split, Split]":
        """The images that stay and those held out, at random, class by class, each in order.

        Of a class of two images or more, `share` (rounded, at least one, never all) is held out.
        """
        random = np.random.default_rng(seed)
        out: list[int] = []
        for label in np.unique(self.labels):
            members = random.permutation(np.flatnonzero(self.labels == label))
            count = min(max(1, round(share * len(members))), len(members) - 1)
            out += members[:count].tolist()
        held = np.array(sorted(out), dtype=np.int64)
        return self.take(np.setdiff1d(np.arange(len(self.labels)), held)), self.take(held)

    def held_out_twice(self, share: float, seed: int) -> "tuple[Split, Split, Split]":
        """Training, validation and test set, where the images stand alone: two shares held out."""
        train, both = self.held_out(2 * share, seed)
        return train, *both.held_out(0.5, seed)

    def trained_on(self, count: int | None) -> "Split":
        """The images that `recipe.train_images` asks for.

        A RunError says that there are fewer, or that all of them are of one class.
        """
        if count is not None and count > (there := len(self.ids)):
            raise RunError(too_many(count, there))
        found = self.spread(count)
        if (found.labels == found.labels[0]).all():
            raise RunError(f"recipe.train_images={count}: all of them are of one class, take more")
        return found

    def in_memory(self) -> "Split":
        """All images decoded; a RunError says which are not of one size."""
        if not len(self.ids):
            return self
        sizes = np.unique(self.images.sizes(), axis=0).tolist()
        if len(sizes) > 1:
            few = f"{sizes[0]} and {sizes[-1]} (height, width): leave it out"
            raise RunError(f"data.in_memory=true holds images of one size; here are {few}")
        images = [self.images[index].contiguous() for index in range(len(self.images))]
        return replace(self, images=ArrayImages(torch.stack(images)))


def too_many(count: int, there: int) -> str:
    """The refusal of more training images than there are."""
    words = f"recipe.train_images={count}: there are {there} to train on"
    return f"{words}, take fewer or recipe.train_images=null for all"


class Counts(NamedTuple):
    """How many images a data set has."""

    train: int
    validation: int
    test: int


@dataclass(frozen=True)
class Description:
    """A data set as it is known before it is loaded.

    The fingerprint is of a folder's contents; empty where the name says it all. `left_out` files
    cannot be decoded. `times`, a hash of the files' times, is no part of what a run is, but what
    was computed of the images is kept for these times only.
    """

    classes: int
    fingerprint: str = ""
    left_out: int = 0
    times: str = field(default="", compare=False)
    names: tuple[str, ...] = field(default=(), compare=False)
    """The classes' names, where folders have them."""
    train: int | None = field(default=None, compare=False)
    """The most images that there are to train on; None: not known."""
    odd_boxes: dict[str, int] = field(default_factory=dict, compare=False)
    """How many of the boxes were odd, by kind."""


@dataclass(frozen=True)
class Source:
    """A data set."""

    classes: tuple[str, ...]
    train: Split
    validation: Split
    test: Split
    validation_is_test: bool = False
    description: Description = Description(0)
    """As it was found when it was loaded."""

    @property
    def parts(self) -> tuple[Split, Split, Split]:
        """The training, the validation and the test set."""
        return self.train, self.validation, self.test

    def each(self, change: Callable[[Split], Split]) -> "Source":
        """The data set with its three sets changed in one way."""
        train, validation = change(self.train), change(self.validation)
        test = validation if self.validation_is_test else change(self.test)
        return replace(self, train=train, validation=validation, test=test)

    def where(self, holds: Callable[[Split], NDArray[np.bool_]]) -> "Source":
        """The images of each set for which `holds` is true."""
        return self.each(lambda part: part.take(np.flatnonzero(holds(part))))

    def of_classes(self, count: int) -> "Source":
        """The images of the first `count` classes."""
        known = replace(self.description, classes=count)
        fewer = self.where(lambda part: part.labels < count)
        return replace(fewer, classes=self.classes[:count], description=known)
