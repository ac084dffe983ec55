"""Sets of image files: what is in them, what is wrong with them, how they are split."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from repro.data.images import FileImages, Undecodable, decode
from repro.data.kept import keep, recall
from repro.data.listing import KEPT_FROM, check_names, listing, looked_at, shown
from repro.data.names import Names
from repro.errors import RequestError, RunError
from repro.store.files import check_writable, write_whole


@dataclass(frozen=True)
class Files:
    """Image files of one set with their labels."""

    root: Path
    names: Names
    """Relative to `root`, with `/`."""
    labels: NDArray[np.int64]
    sizes: NDArray[np.int64]
    """In bytes."""
    times: NDArray[np.int64]
    """Of each file's modification, in nanoseconds."""
    boxes: NDArray[np.int64] | None = None
    """(N, 4): left, top, right and bottom of the object in pixels, where the data set has them."""

    @classmethod
    def of(
        cls,
        root: Path,
        names: Sequence[str],
        labels: Sequence[int],
        boxes: Sequence[Sequence[int]] | None = None,
    ) -> Files:
        """The files of these names below `root`.

        Raises:
            RequestError: one is missing, cannot be looked at, or has a name that is not UTF-8.
        """
        check_names(root, list(names))
        found = []
        for name in names:
            with looked_at(root / name):
                try:
                    found.append(os.stat(f"{root}/{name}"))
                except (FileNotFoundError, NotADirectoryError):
                    raise RequestError(
                        f"{shown(root / name)} is missing: unpack the data set anew"
                    ) from None
        return cls(
            root,
            Names.of(names),
            np.array(labels, dtype=np.int64),
            np.array([status.st_size for status in found], dtype=np.int64),
            np.array([status.st_mtime_ns for status in found], dtype=np.int64),
            None if boxes is None else np.array(boxes, dtype=np.int64).reshape(-1, 4),
        )

    def take(self, indices: NDArray[np.int64]) -> Files:
        """The files at `indices`."""
        return Files(
            self.root,
            self.names.take(indices),
            self.labels[indices],
            self.sizes[indices],
            self.times[indices],
            None if self.boxes is None else self.boxes[indices],
        )

    def without(self, broken: frozenset[str]) -> Files:
        """Those that are not `broken`."""
        if not broken:
            return self
        good = [index for index, name in enumerate(self.names) if name not in broken]
        return self.take(np.array(good, dtype=np.int64))

    def images(self, channels: int) -> FileImages:
        """The files as images."""
        return FileImages.below(self.root, self.names, channels)


def files(
    root: Path, part: str, cache: Path, classes: tuple[str, ...] | None = None
) -> tuple[tuple[str, ...], Files]:
    """The classes of a set and all its image files, by class and name.

    Args:
        root: of the data set.
        part: the set's folder in there, as in `train`; it has a subfolder for each class. Empty:
            `root` has them itself.
        cache: where the list of a large folder is kept.
        classes: those of the training images, which number the labels; None: its own.

    Raises:
        RequestError: the folder is not as it must be (see `listing`), or it has a class that is
            not among `classes`.
    """
    found = listing(root / part, cache)
    classes = found.classes if classes is None else classes
    number = {name: label for label, name in enumerate(classes)}
    for name in found.classes:
        if name not in number:
            raise RequestError(
                f"{shown(root / part / name)} is a class that the training images do not have: "
                "every class needs its folder in train/"
            )
    labels = np.repeat([number[name] for name in found.classes], found.counts)
    names = Names.of(f"{part}/{name}" for name in found.names) if part else found.names
    return classes, Files(root, names, labels.astype(np.int64), found.sizes, found.times)


def held_out(
    labels: NDArray[np.int64], share: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Split at random, class by class: indices that stay and indices held out, each sorted.

    Of every class with two images or more, `share` (rounded, at least one, never all) is held out.
    """
    random = np.random.default_rng(seed)
    out: list[int] = []
    for label in np.unique(labels):
        members = random.permutation(np.flatnonzero(labels == label))
        count = min(max(1, round(share * len(members))), len(members) - 1)
        out += members[:count].tolist()
    held = np.array(sorted(out), dtype=np.int64)
    return np.setdiff1d(np.arange(len(labels)), held), held


@dataclass(frozen=True)
class State:
    """What is in the sets, wherever they lie and however they are split."""

    fingerprint: str
    """A hash of the relative names and sizes of all files."""
    times: str
    """A hash of their times of modification."""

    @property
    def key(self) -> str:
        """For the name of what is kept of these files, as they are now."""
        return f"{self.fingerprint[:16]}-{self.times[:8]}"


def state(sets: Iterable[Files], cache: Path) -> State:
    """What is in the sets. Of many files it is kept in `cache` for as long as they are the same."""
    sets = tuple(sets)
    if sum(len(part.names) for part in sets) < KEPT_FROM:
        return _state(sets)
    now = hashlib.sha256()
    for part in sets:
        now.update(part.names.text)
        for array in (part.names.starts, part.names.ends, part.sizes, part.times):
            now.update(array.tobytes())
    path = cache / f"files-{now.hexdigest()[:16]}.json"
    kept = recall(path)
    if isinstance(kept, list):
        return State(*kept)
    found = _state(sets)
    # Where it cannot be kept it is made again.
    with suppress(RunError):
        keep(path, [found.fingerprint, found.times])
    return found


def _state(sets: Sequence[Files]) -> State:
    names = [name for part in sets for name in part.names]
    sizes = np.concatenate([part.sizes for part in sets]).tolist()
    order = sorted(range(len(names)), key=lambda index: (names[index], sizes[index]))
    times = np.concatenate([part.times for part in sets])[order]
    return State(
        _hash_of_rows((names[index], sizes[index]) for index in order),
        hashlib.sha256(times.tobytes()).hexdigest(),
    )


def contents(sets: Iterable[Files], path: Path, progress: bool) -> str:
    """A hash of the relative names and the contents of all files; it is kept in `path`.

    Raises:
        RequestError: a file cannot be read, or the hash cannot be kept.
    """
    kept = recall(path)
    if isinstance(kept, str):
        return kept
    check_writable(path.parent)
    places = {f"{part.root}/{name}": name for part in sets for name in part.names}
    rows = []
    words = "reading every image once"
    for place, name in tqdm(places.items(), desc=words, unit="img", disable=not progress or None):
        with looked_at(place), open(place, "rb") as file:
            rows.append((name, hashlib.file_digest(file, "sha256").hexdigest()))
    found = _hash_of_rows(sorted(rows))
    keep(path, found)
    return found


def _hash_of_rows(rows: Iterable[tuple[str, int] | tuple[str, str]]) -> str:
    """The hash of the rows as one list in JSON, which is never whole in memory."""
    found = hashlib.sha256()
    for number, row in enumerate(rows):
        found.update(f"{', ' if number else '['}{json.dumps(row)}".encode())
    found.update(b"]")
    return found.hexdigest()


def verify(sets: Iterable[Files], channels: int, mark: Path, progress: bool) -> None:
    """Decode every image once; `mark` is left when all could be, and then it is not done again.

    Raises:
        RequestError: names the first file that cannot be decoded, or the mark cannot be left.
        RunError: a file cannot be read.
    """
    if mark.is_file():
        return
    check_writable(mark.parent)
    for _, reason in _broken(sets, channels, progress):
        raise RequestError(
            f"{reason}: repair or remove it, or leave such files out with data.on_bad_image=skip"
        )
    write_whole(mark, b"")


def broken(sets: Iterable[Files], channels: int, path: Path, progress: bool) -> frozenset[str]:
    """The names of the files that cannot be decoded; the list is kept in `path`, made once.

    Raises:
        RequestError: the list cannot be kept.
        RunError: a file cannot be read, which says nothing about what it holds.
    """
    kept = recall(path)
    if isinstance(kept, list):
        return frozenset(kept)
    check_writable(path.parent)
    found = sorted(name for name, _ in _broken(sets, channels, progress))
    keep(path, found)
    return frozenset(found)


def _broken(sets: Iterable[Files], channels: int, progress: bool) -> Iterator[tuple[str, str]]:
    sets = tuple(sets)
    words, total = "decoding every image once", sum(len(part.names) for part in sets)
    places = ((part.root, name) for part in sets for name in part.names)
    for root, name in tqdm(
        places, desc=words, total=total, unit="img", disable=not progress or None
    ):
        try:
            decode(root / name, channels)
        except Undecodable as error:
            yield name, str(error)


def held_out_twice(files: Files, share: float, seed: int) -> tuple[Files, Files, Files]:
    """Training, validation and test set, of a set that stands alone: two shares are held out."""
    stay, held = held_out(files.labels, 2 * share, seed)
    both = files.take(held)
    validation, test = held_out(both.labels, 0.5, seed)
    return files.take(stay), both.take(validation), both.take(test)
