"""What lies in a folder with a subfolder for each class: looked up once, and kept for large ones.

ImageNet has 1.3 million files. Listing them takes minutes on a busy disk, and each process of each
run needs the list. So the list of a large folder is kept in the store's `.cache`. It holds as long
as the folder and its subfolders have the times of modification that they had: adding, removing or
renaming a file changes these. A file that is written over in place does not change them, so files
are looked at too: all of a folder of up to 100,000 files, and as many of a larger one.
"""

from __future__ import annotations

import hashlib
import io
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from repro.data.kept import damaged
from repro.data.names import Names
from repro.errors import RequestError, RunError
from repro.store.files import write_whole

ENDINGS = frozenset(
    (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff", ".webp")
)
KEPT_FROM = 10_000
"""The list of a folder with fewer files is not kept: making it takes a moment."""
LOOKED_AT = 100_000
"""Of a kept list, so many files are looked at again, evenly spread."""
RECENT = 2 * 10**9
"""Nanoseconds. A folder that was modified less than this before it was listed may have been
modified once more without another time."""
LONGEST = 200
"""Characters of a path that a message shows."""


@dataclass(frozen=True)
class Listing:
    """The image files of a folder, by class and name."""

    classes: tuple[str, ...]
    """The subfolders, sorted."""
    counts: NDArray[np.int64]
    """How many files each class has."""
    names: Names
    """CLASS/FILE."""
    sizes: NDArray[np.int64]
    """In bytes, (N,)."""
    times: NDArray[np.int64]
    """Of each file's modification, in nanoseconds, (N,)."""
    folder_times: NDArray[np.int64]
    """The same of the folder, then of each class."""
    made: int
    """When the list was begun, in nanoseconds."""


@contextmanager
def looked_at(path: Path | str) -> Iterator[None]:
    """Refuse what the system cannot look at: too long, not to be entered, a link to itself.

    Raises:
        RequestError: names the path and says what is wrong with it.
    """
    try:
        yield
    except OSError as error:
        place = path if error.filename is None else error.filename
        raise RequestError(f"{shown(place)} cannot be looked at: {error.strerror}") from None


def shown(path: Path | str) -> str:
    """A path as a message can show it: not too long, and with bytes that are no text spelt out."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return text if len(text) <= LONGEST else f"{text[: LONGEST // 2]}...{text[-LONGEST // 2 :]}"


def listing(folder: Path, cache: Path) -> Listing:
    """The image files of a folder with a subfolder for each class.

    Hidden files and files of other kinds are passed over.

    Args:
        folder: which one.
        cache: where the list of a large folder is kept.

    Raises:
        RequestError: the folder is missing or has no subfolder, a class has no image, a name is
            not UTF-8, or something cannot be looked at.
    """
    place = hashlib.sha256(os.fsencode(os.path.abspath(folder))).hexdigest()
    path = cache / f"listing-{place[:16]}.npz"
    kept = _read(path)
    if kept is not None and _holds(folder, kept):
        return kept
    found = _listed(folder)
    if len(found.names) >= KEPT_FROM:
        # Where it cannot be kept it is made again.
        with suppress(RunError):
            _write(path, found)
    return found


def class_names(folder: Path) -> tuple[str, ...]:
    """The classes of a folder: its subfolders, sorted.

    Raises:
        RequestError: the folder is missing, has no subfolder, or cannot be looked at.
    """
    with looked_at(folder):
        if not folder.is_dir():
            raise RequestError(
                f"{shown(folder)} is missing: expected a folder with one subfolder per class"
            )
        with os.scandir(folder) as entries:
            names = sorted(e.name for e in entries if e.name[0] != "." and e.is_dir())
    if not names:
        raise RequestError(
            f"{shown(folder)} is empty: expected one subfolder per class, with images"
        )
    check_names(folder, names)
    return tuple(names)


def check_names(folder: Path, names: list[str]) -> None:
    """Refuse names that are not UTF-8: they cannot stand in what is stored.

    Raises:
        RequestError: names the first one.
    """
    for name in names:
        try:
            name.encode()
        except UnicodeEncodeError:
            raise RequestError(
                f"{shown(folder / name)} has a name that is not UTF-8: rename it"
            ) from None


def _listed(folder: Path) -> Listing:
    made = time.time_ns()
    classes = class_names(folder)
    with looked_at(folder):
        folder_times = [folder.stat().st_mtime_ns]
    text, ends, counts = bytearray(), [], []
    sizes: list[int] = []
    times: list[int] = []
    for label in classes:
        with looked_at(folder / label):
            folder_times.append((folder / label).stat().st_mtime_ns)
            with os.scandir(folder / label) as entries:
                found = sorted(
                    (entry.name, entry.stat().st_size, entry.stat().st_mtime_ns)
                    for entry in entries
                    if _is_image(entry)
                )
        if not found:
            raise RequestError(f"{shown(folder / label)} holds no image: fill it or remove it")
        check_names(folder / label, [name for name, _, _ in found])
        for name, size, modified in found:
            text += f"{label}/{name}".encode()
            ends.append(len(text))
            sizes.append(size)
            times.append(modified)
        counts.append(len(found))
    return Listing(
        classes,
        np.array(counts, dtype=np.int64),
        Names.one_after_another(bytes(text), np.array(ends, dtype=np.int64)),
        np.array(sizes, dtype=np.int64),
        np.array(times, dtype=np.int64),
        np.array(folder_times, dtype=np.int64),
        made,
    )


def _is_image(entry: os.DirEntry[str]) -> bool:
    name = entry.name
    known = name[0] != "." and os.path.splitext(name)[1].lower() in ENDINGS
    return known and entry.is_file()


def _holds(folder: Path, kept: Listing) -> bool:
    """Whether a folder is as it was when it was listed, as far as can be told without listing."""
    if kept.folder_times.max() > kept.made - RECENT:
        return False
    step = -(-len(kept.names) // LOOKED_AT)
    try:
        places = [folder, *(folder / label for label in kept.classes)]
        if [place.stat().st_mtime_ns for place in places] != kept.folder_times.tolist():
            return False
        for index in range(0, len(kept.names), step):
            now = os.stat(f"{folder}/{kept.names[index]}")
            if (now.st_size, now.st_mtime_ns) != (kept.sizes[index], kept.times[index]):
                return False
    except (OSError, ValueError):
        return False
    return True


def _write(path: Path, found: Listing) -> None:
    classes = Names.of(found.classes)
    buffer = io.BytesIO()
    np.savez(
        buffer,
        classes=np.frombuffer(classes.text, dtype=np.uint8),
        class_ends=classes.ends,
        counts=found.counts,
        names=np.frombuffer(found.names.text, dtype=np.uint8),
        name_ends=found.names.ends,
        sizes=found.sizes,
        times=found.times,
        folder_times=found.folder_times,
        made=np.array(found.made, dtype=np.int64),
    )
    write_whole(path, buffer.getvalue())


def _read(path: Path) -> Listing | None:
    """A kept list, whose zip checks its sums; None where there is none, or a damaged one."""
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as kept:
            return Listing(
                tuple(Names.one_after_another(kept["classes"].tobytes(), kept["class_ends"])),
                kept["counts"],
                Names.one_after_another(kept["names"].tobytes(), kept["name_ends"]),
                kept["sizes"],
                kept["times"],
                kept["folder_times"],
                int(kept["made"]),
            )
    except Exception:
        # Of a damaged zip: a dozen kinds, NotImplementedError among them.
        damaged(path)
        return None
