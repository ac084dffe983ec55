"""Where images come from: each data set as a training, a validation and a test set.

The validation images steer the learning rate; the test images are looked at once training has
ended. What a data set does not bring is held out of its training images, class by class, with a
fixed seed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from repro.config.schema import Data
from repro.data.cache import keep, recall
from repro.data.datasets import DATASETS, DataSet
from repro.data.folders import looked_at, shown
from repro.data.images import FileImages, Undecodable, decode
from repro.data.split import Description, Source, Split
from repro.errors import RequestError
from repro.store.files import check_writable

ROWS = 10_000
"""Files whose names are hashed at once."""


def check(data: Data, cache: Path, progress: bool = True) -> Description:
    """Find out what can be known of a data set before work starts; nothing is downloaded.

    Args:
        data: which data set.
        cache: what the store keeps, such as what decoding every image found.
        progress: whether to show a bar while every image is decoded.

    Raises:
        RequestError: the data is not as the configuration says.
        RunError: a file cannot be read.
    """
    return _checked(dataclasses.astuple(data), cache, progress)


@lru_cache(maxsize=32)
def _checked(fields: tuple[Any, ...], cache: Path, progress: bool) -> Description:
    # A sweep asks for each of its jobs, and listing a large folder takes its time.
    data = Data(*fields)
    check_options(data)
    description = _described(data, kind_of(data), cache, progress)
    if data.classes is not None and data.classes != description.classes:
        raise other_classes(data, description.classes)
    if description.classes < 2:
        raise RequestError(f"{shown(data.root)} has one class: a classifier needs at least two")
    return dataclasses.replace(description, classes=classes_of(data, description.classes))


def _described(data: Data, kind: DataSet, cache: Path, progress: bool) -> Description:
    if not kind.is_there(data):
        kind.check_room(data)
        if data.contents:
            raise RequestError(
                f"data.contents=true reads the files of data={data.name}, and they are not in "
                f"{shown(data.root)} yet: fetch them first, by a run without it"
            )
    if kind.classes is not None and (kind.channels is not None or not kind.is_there(data)):
        return Description(kind.classes)
    found = _look(data, kind, cache, progress)
    for name, part in zip(("training", "validation", "test"), found.parts, strict=True):
        if not len(part.ids) and (name == "test" or not data.test_only):
            raise RequestError(
                f"{shown(data.root)} leaves no image for the {name} set: it needs more per class"
            )
    return found.description


def _look(data: Data, kind: DataSet, cache: Path, progress: bool) -> Source:
    """A folder's files with all that is known of them; bad ones are refused or left out.

    Raises:
        RequestError: the folder is not as it must be, or an image cannot be decoded.
        RunError: a file cannot be read.
    """
    found = kind.read(data)
    found = found.test_only() if data.test_only else found
    known, times = fingerprint(found.parts)
    # A copy in another place may hold other bytes, of the same times.
    place = hashlib.sha256(os.fsencode(Path(data.root).resolve())).hexdigest()
    key = f"{known[:16]}-{times[:8]}-{place[:8]}"
    if data.contents:
        known = _kept(cache / f"contents-{key}.json", lambda: _contents(found.parts, progress))
    bad: dict[str, str] = {}
    if data.verify or data.on_bad_image == "skip":
        path = cache / f"broken-{key}-{data.channels}.json"
        refuse = _refuse_bad if data.on_bad_image == "error" else lambda bad: None
        bad = _kept(path, lambda: _broken(found.parts, data.channels, progress), refuse)
    if bad:
        # Other images of the same names and sizes may be whole: they make another data set.
        known = hashlib.sha256(f"{known},{','.join(sorted(bad))}".encode()).hexdigest()
    elif kind.bring is not None and not data.contents:
        # The name of what can be fetched says it all.
        known = ""
    whole = found.without(frozenset(bad))
    description = Description(len(found.classes), known, len(bad), times, len(whole.train.ids))
    return dataclasses.replace(whole, description=description)


def fingerprint(parts: Sequence[Split]) -> tuple[str, str]:
    """Two hashes: of the names and sizes of all files, and of their times of modification.

    They are the same wherever the files lie and however they are split.
    """
    names = np.concatenate([np.asarray(_names(part), dtype=np.bytes_) for part in parts])
    status = np.concatenate([part.status for part in parts if part.status is not None])
    order = np.argsort(names, kind="stable")
    return (
        _hash_of_rows(names[order], status[order, 0].tolist()),
        hashlib.sha256(status[order, 1].tobytes()).hexdigest(),
    )


def _names(part: Split) -> NDArray[np.bytes_]:
    assert isinstance(part.images, FileImages)
    return part.images.names


def _hash_of_rows(names: NDArray[np.bytes_], values: Sequence[int | str]) -> str:
    """The hash of a list of [name, value] in JSON, which is never whole in memory."""
    found = hashlib.sha256(b"[")
    for first in range(0, len(names), ROWS):
        texts = [name.decode() for name in names[first : first + ROWS].tolist()]
        rows = list(zip(texts, values[first : first + ROWS], strict=True))
        found.update(f"{', ' if first else ''}{json.dumps(rows)[1:-1]}".encode())
    found.update(b"]")
    return found.hexdigest()


def _kept(
    path: Path, find: Callable[[], Any], check: Callable[[Any], None] = lambda fact: None
) -> Any:
    """A fact that is found out once and kept in `path`; one that `check` refuses is not kept.

    Raises:
        RequestError: it cannot be kept, or is refused.
    """
    fact = recall(path)
    if fact is not None:
        check(fact)
        return fact
    check_writable(path.parent)
    fact = find()
    check(fact)
    keep(path, fact)
    return fact


def _refuse_bad(bad: dict[str, str]) -> None:
    if bad:
        raise RequestError(
            f"{next(iter(bad.values()))}: repair or remove it, or leave such files "
            f"({len(bad)} of them) out with data.on_bad_image=skip"
        )


def _contents(parts: Iterable[Split], progress: bool) -> str:
    """A hash of the relative names and the contents of all files."""
    found: dict[bytes, str] = {}
    for name, path in _every(parts, "reading every image once", progress):
        with looked_at(path), open(path, "rb") as file:
            found[name] = hashlib.file_digest(file, "sha256").hexdigest()
    names = sorted(found)
    return _hash_of_rows(np.array(names), [found[name] for name in names])


def _broken(parts: Iterable[Split], channels: int, progress: bool) -> dict[str, str]:
    """The names of the files that cannot be decoded, and why."""
    found = {}
    for name, path in _every(parts, "decoding every image once", progress):
        try:
            decode(path, channels)
        except Undecodable as error:
            found[name.decode()] = str(error)
    return found


def _every(parts: Iterable[Split], words: str, progress: bool) -> Iterable[tuple[bytes, Path]]:
    """The name and the place of each file, once."""
    files: dict[bytes, str] = {}
    for part in parts:
        assert isinstance(part.images, FileImages)
        files |= dict.fromkeys(part.images.names.tolist(), part.images.root)
    for name, root in tqdm(files.items(), desc=words, unit="img", disable=not progress or None):
        yield name, Path(root + os.fsdecode(name))


def classes_of(data: Data, classes: int) -> int:
    """How many classes are taken of a data set that has `classes`.

    Raises:
        RequestError: it has not as many as `data.first_classes` asks for.
    """
    if data.first_classes is None:
        return classes
    if data.first_classes > classes:
        raise RequestError(
            f"data.first_classes={data.first_classes}, but data={data.name} has {classes}: "
            "take fewer"
        )
    return data.first_classes


def check_options(data: Data) -> None:
    """Refuse what is wrong whatever the images are.

    Raises:
        RequestError: with the key, its value and what is expected.
    """
    channels, few = kind_of(data).channels, "a classifier needs at least two classes, null takes"
    memory = channels is not None
    wrong = {
        "root": ("\0" in data.root, "no folder has a character of value 0"),
        "classes": ((data.classes or 2) < 2, f"{few} as many as the folder has"),
        "first_classes": ((data.first_classes or 2) < 2, f"{few} all"),
        "channels": (
            data.channels != channels if memory else data.channels not in (1, 3),
            f"data={data.name} has {channels}" if memory else "expected 1 (grey) or 3 (RGB)",
        ),
        "cache_side": (memory and data.cache_side, "the images are in memory, leave it out"),
        "contents": (memory and data.contents, "it is no folder of files, leave it out"),
        "on_bad_image": (data.on_bad_image not in ("error", "skip"), "choose from error, skip"),
        "holdout": (not 0 < data.holdout < 0.5, "expected a share between 0 and 0.5"),
    }
    for key, (is_wrong, words) in wrong.items():
        if is_wrong:
            raise RequestError(f"data.{key}={getattr(data, key)!r}: {words}")


def other_classes(data: Data, classes: int) -> RequestError:
    """The refusal of a number of classes that is not what the data set has."""
    return RequestError(
        f"data.classes={data.classes}, but data={data.name} has {classes}: leave it out"
    )


def load(
    data: Data,
    cache: Path,
    say: Callable[[str], None] = print,
    check: Callable[[], None] = lambda: None,
) -> Source:
    """The data set, downloaded into `data.root` where it can be and is not there yet.

    Args:
        data: which data set.
        cache: what the store keeps, as for `check`.
        say: takes a line for the user.
        check: called while another process downloads; raises to stop.

    Raises:
        RequestError: a folder is not as expected.
        RunError: a download failed.
    """
    kind = kind_of(data)
    kind.fetch(data, say, check)
    found = _loaded(data, kind, cache)
    if data.in_memory and kind.channels is None:
        found = found.each(Split.in_memory)
    side = data.enlarge
    return found if side is None else found.each(lambda part: part.enlarged(side))


def _loaded(data: Data, kind: DataSet, cache: Path) -> Source:
    if kind.channels is None:
        unverified = dataclasses.replace(data, verify=False)
        found = _look(unverified, kind, cache, progress=False)
    else:
        found = kind.read(data)
        found = dataclasses.replace(found, description=Description(len(found.classes)))
    return found.of_classes(data.first_classes)


def classes_there(data: Data, cache: Path) -> tuple[str, ...] | None:
    """What the classes are called; None where the data set would have to be downloaded first.

    Raises:
        RequestError: a folder is not as expected.
        RunError: it cannot be read.
    """
    kind = kind_of(data)
    return _loaded(data, kind, cache).classes if kind.is_there(data) else None


def kind_of(data: Data) -> DataSet:
    """The entry of `repro.data.datasets` that reads a data set.

    Raises:
        RequestError: there is none.
    """
    name = data.name if data.source is None else data.source
    if name not in DATASETS:
        key = "data" if data.source is None else "data.source"
        raise RequestError(f"{key}={name} is not known: choose from {', '.join(DATASETS)}")
    return DATASETS[name]
