"""Where images come from: each data set as a training, a validation and a test set.

What a data set does not bring is held out of its training images, class by class, by a fixed seed.
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from repro.config.schema import Data
from repro.data.boxes import with_boxes
from repro.data.datasets import DATASETS, DataSet
from repro.data.facts import keep, recall
from repro.data.folders import looked_at, shown
from repro.data.images import FileImages, Undecodable, decode
from repro.data.split import Counts, Description, Source, Split
from repro.data.targets import TARGETS, target
from repro.data.workers import Loaded, processes
from repro.errors import RequestError
from repro.store.files import check_writable, unwritable


def check(data: Data, cache: Path, progress: bool = True) -> Description:
    """A data set as it can be known before work starts, by a store's cache; nothing is fetched."""
    return _checked(dataclasses.astuple(data), cache, progress)


@lru_cache(maxsize=32)
def _checked(fields: tuple[Any, ...], cache: Path, progress: bool) -> Description:
    # A sweep asks for each of its jobs, and listing a large folder takes its time.
    data = Data(*fields)
    check_channels(data)
    kind = kind_of(data)
    if data.on_device and kind.channels is None and not data.in_memory:
        said = f"data.on_device=true takes images in memory, and those of {data.name} are files"
        raise RequestError(f"{said}: add data.in_memory=true, where they are of one size")
    with looked_at(data.root):
        there = kind.is_there(data)
    if not there and (reason := unwritable(Path(data.root))):
        raise RequestError(
            f"data={data.name} cannot be fetched into data.root={shown(data.root)}: {reason}"
        )
    if kind.classes is not None and (kind.channels is not None or not there):
        description, found = Description(kind.classes), None
    else:
        found = _look(data, kind, cache, progress)
        description = found.description
        if data.first_classes is not None:
            found = found.of_classes(classes_of(data, description.classes))
        for name, part in zip(("training", "validation", "test"), found.parts, strict=True):
            if not len(part.ids) and (name == "test" or not data.test_only):
                raise RequestError(
                    f"{shown(data.root)} has no image for the {name} set: it needs more per class"
                )
    classes = description.classes
    # The number in the file of a data set is that of the classes that nets are trained on.
    if data.classes not in (None, classes) and not data.transfer:
        raise other_classes(data, classes, data.classes)
    if classes < 2:
        raise RequestError(f"{shown(data.root)} has one class: a classifier needs at least two")
    taken = classes_of(data, classes)
    train = most_training_images(data, kind) if found is None else len(found.train.ids)
    names = description.names[:taken]
    return dataclasses.replace(description, classes=taken, names=names, train=train)


def _look(data: Data, kind: DataSet, cache: Path, progress: bool) -> Source:
    """A folder's files with all that is known of them; bad ones are refused or left out."""
    with looked_at(data.root):
        found = kind.read(data)
    whole = sum(len(part.ids) for part in found.parts) == sum(kind.images or ())
    if data.test_only:
        none = found.test.take(np.array([], dtype=np.int64))
        found = dataclasses.replace(found, train=none, validation=none, validation_is_test=False)
    known, times = fingerprint(found.parts)
    bad: dict[str, str] = {}
    if data.verify or data.on_bad_image == "skip":
        # A copy in another place may hold other bytes, of the same times.
        place = hashlib.sha256(os.fsencode(Path(data.root).resolve())).hexdigest()
        path = cache / f"broken-{known[:16]}-{times[:8]}-{place[:8]}-{data.channels}.json"
        bad = _bad(path, found.parts, data.on_bad_image == "skip", progress)
        whole_files = found.where(lambda one: np.array([i not in bad for i in one.ids], dtype=bool))
        _check_classes(found, whole_files, data)
        found = whole_files
    if bad:
        # Other images of the same names and sizes may be whole: they make another data set.
        known = hashlib.sha256(f"{known},{','.join(sorted(bad))}".encode()).hexdigest()
    elif kind.bring is not None and whole:
        # The name of what can be fetched says it all, where it was not cut.
        known = ""
    description = Description(len(found.classes), known, len(bad), times, found.classes)
    found = dataclasses.replace(found, description=description)
    return with_boxes(found, kind.boxes(data)) if data.boxes and kind.boxes else found


def fingerprint(parts: Sequence[Split]) -> tuple[str, str]:
    """Hashes of the names and sizes, and of the times, of all files, wherever they lie."""
    names = np.concatenate([_files(part).names for part in parts])
    status = np.concatenate([part.status for part in parts if part.status is not None])
    order = np.argsort(names, kind="stable")
    rows = zip(names[order].tolist(), status[order, 0].tolist(), strict=True)
    found, before = hashlib.sha256(b"["), ""
    for name, size in rows:
        # A list of [name, size] in JSON, which is never whole in memory.
        found.update(f"{before}{json.dumps([name.decode(), size])}".encode())
        before = ", "
    found.update(b"]")
    return found.hexdigest(), hashlib.sha256(status[order, 1].tobytes()).hexdigest()


def _files(part: Split) -> FileImages:
    assert isinstance(part.images, FileImages)
    return part.images


def _check_classes(before: Source, after: Source, data: Data) -> None:
    """Refuse a data set of which leaving out what cannot be decoded empties a class."""
    names = "training", "validation", "test"
    for name, one, other in zip(names, before.parts, after.parts, strict=True):
        gone = np.setdiff1d(one.labels, other.labels)
        if len(gone) and len(other.ids) and one.labels.ndim == 1:
            said = f"no image of the class {before.classes[gone[0]]} can be decoded"
            raise RequestError(f"{shown(data.root)}: {said} in the {name} set")


def _bad(path: Path, parts: Sequence[Split], skip: bool, progress: bool) -> dict[str, str]:
    """The names of the files that cannot be decoded, and why; found out once, kept in `path`."""
    bad: dict[str, str] | None = recall(path)
    known = bad is not None
    if bad is None:
        check_writable(path.parent)
        bad = {}
        # What is validated and tested on stands there twice.
        for images in {id(part): _files(part) for part in parts}.values():
            make, count = partial(_reason, images), len(images)
            found = Loaded(make, processes(images, "auto"), range(count), count)
            words, hidden = "decoding every image once", not progress or None
            for name, reason in tqdm(found, words, count, unit="img", disable=hidden):
                bad |= {name: reason} if reason else {}
    if bad and not skip:
        said = f"{next(iter(bad.values()))}: repair or remove it"
        raise RequestError(f"{said}, or leave out all {len(bad)} with data.on_bad_image=skip")
    if not known:
        keep(path, bad)
    return bad


def _reason(images: FileImages, index: int) -> tuple[str, str]:
    """The name of a file, and why it cannot be decoded; empty: it can."""
    reason = ""
    try:
        decode(images.path(index), images.channels)
    except Undecodable as error:
        reason = str(error)
    return images.names[index].decode(), reason


def classes_of(data: Data, classes: int) -> int:
    """How many classes are taken of a data set that has `classes`."""
    if data.first_classes is not None and data.first_classes > classes:
        raise RequestError(f"data.first_classes={data.first_classes}: {data.name} has {classes}")
    return data.first_classes or classes


def check_channels(data: Data) -> None:
    """Refuse a number of channels that images of this data set do not have."""
    channels = kind_of(data).channels
    if data.channels not in ((1, 3) if channels is None else (channels,)):
        expected = channels or "1 (grey) or 3 (RGB)"
        raise RequestError(f"data.channels={data.channels}: expected {expected}")


def other_classes(data: Data, classes: int, said: int | None) -> RequestError:
    """The refusal of a number of classes that is not what the data set has."""
    return RequestError(f"data.classes={said}: data={data.name} has {classes}, leave it out")


def published_counts(images: Counts, share: float, data: Data) -> Counts:
    """About how many images a share of the classes has, where some are held out."""
    train, validation, test = (round(count * share) for count in images)
    held = round(data.holdout * train)
    kept = train - held * ((validation == 0) + (test == 0))
    return Counts(kept, validation or held, test or held)


def most_training_images(data: Data, kind: DataSet) -> int | None:
    """The most images that there are to train on, as known without looking; None: not known."""
    if kind.channels is not None and kind.bring is None:
        # What is embedded takes no time to read.
        return len(_loaded(data, kind, Path()).train.ids)
    # Some classes may have more images than others.
    return published_counts(kind.images, 1, data).train if kind.images else None


def load(
    data: Data,
    cache: Path,
    say: Callable[[str], None] = print,
    check: Callable[[], None] = lambda: None,
) -> Source:
    """The data set, downloaded into `data.root` where it can be and is not there yet.

    `say` takes a line for the user; `check` is called while another process does, raises to stop.
    """
    kind = kind_of(data)
    kind.fetch(data, say, check)
    found = _loaded(data, kind, cache)
    if data.in_memory and kind.channels is None:
        found = found.each(Split.in_memory)
    if (side := data.enlarge) is not None:
        found = found.each(lambda one: dataclasses.replace(one, images=one.images.enlarged(side)))
    return found


def _loaded(data: Data, kind: DataSet, cache: Path) -> Source:
    if kind.channels is None:
        found = _look(dataclasses.replace(data, verify=False), kind, cache, progress=False)
    else:
        found = kind.read(data)
        found = dataclasses.replace(found, description=Description(len(found.classes)))
    return found if data.first_classes is None else found.of_classes(data.first_classes)


def classes_there(data: Data, cache: Path) -> tuple[str, ...] | None:
    """The classes' names; None where the data set would have to be downloaded first."""
    kind = kind_of(data)
    return _loaded(data, kind, cache).classes if kind.is_there(data) else None


def kind_of(data: Data) -> DataSet:
    """The entry of `repro.data.datasets` that reads a data set."""
    if data.transfer:
        all_images = target(data)
        return DataSet(all_images.read, all_images.classes, Counts(0, 0, all_images.images))
    name, key = (data.name, "data") if data.source is None else (data.source, "data.source")
    if name in TARGETS.keys() - DATASETS.keys():
        raise RequestError(f"{key}={name} is for descriptors only, as in test=[transfer_averaged]")
    if name not in DATASETS:
        raise RequestError(f"{key}={name} is not known: choose from {', '.join(DATASETS)}")
    if data.boxes and DATASETS[name].boxes is None:
        there = ", ".join(name for name, one in DATASETS.items() if one.boxes)
        raise RequestError(f"data={data.name} has no boxes that are known: take one of {there}")
    return DATASETS[name]
