"""Where images come from: each data set as a training, a validation and a test set.

The validation images steer the learning rate; the test images are looked at once training has
ended. What a data set does not bring is held out of its training images, class by class, with a
fixed seed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from repro.config.schema import Data
from repro.data.datasets import DATASETS
from repro.data.downloads import fetched
from repro.data.kinds import Kind
from repro.data.listing import shown
from repro.data.split import Description, Source
from repro.errors import RequestError


def check(data: Data, cache: Path, progress: bool = True) -> Description:
    """Find out what can be known of a data set before work starts; nothing is downloaded.

    Args:
        data: which data set.
        cache: what the store keeps: lists of large folders, and what decoding every image found.
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
    description = kind_of(data).check(data, cache, progress)
    if data.classes is not None and data.classes != description.classes:
        raise other_classes(data, description.classes)
    if description.classes < 2:
        raise RequestError(f"{shown(data.root)} has one class: a classifier needs at least two")
    return dataclasses.replace(description, classes=classes_of(data, description.classes))


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
    kind = kind_of(data)
    if "\0" in data.root:
        raise RequestError("data.root is no folder: it holds a character of value 0")
    if data.classes is not None and data.classes < 2:
        raise RequestError(
            f"data.classes={data.classes}: a classifier needs at least two classes, "
            "null takes as many as the folder has"
        )
    if data.first_classes is not None and data.first_classes < 2:
        raise RequestError(
            f"data.first_classes={data.first_classes}: a classifier needs at least two classes, "
            "null takes all"
        )
    if data.channels not in (1, 3):
        raise RequestError(f"data.channels={data.channels}: expected 1 (grey) or 3 (RGB)")
    if kind.channels is not None and data.channels != kind.channels:
        raise RequestError(
            f"data.channels={data.channels}, but data={data.name} has {kind.channels}: leave it out"
        )
    if data.cache_side is not None and kind.channels is not None:
        raise RequestError(
            f"data.cache_side={data.cache_side}: the images of data={data.name} are in memory, "
            "leave it out"
        )
    if data.contents and kind.channels is not None:
        raise RequestError(
            f"data.contents=true: data={data.name} is no folder of files, leave it out"
        )
    if data.on_bad_image not in ("error", "skip"):
        raise RequestError(
            f"data.on_bad_image={data.on_bad_image} is not known: choose from error, skip"
        )
    if not 0 < data.holdout < 0.5:
        raise RequestError(f"data.holdout={data.holdout}: expected a share between 0 and 0.5")


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
    if kind.fetch is not None and not kind.fetch.is_there(data):
        fetched(data.name, Path(data.root), kind.fetch.inside, kind.fetch.bring, say, check)
    return kind.load(data, cache).of_classes(data.first_classes).enlarged(data.enlarge)


def classes_there(data: Data, cache: Path) -> tuple[str, ...] | None:
    """What the classes are called; None where the data set would have to be downloaded first.

    Raises:
        RequestError: a folder is not as expected.
        RunError: it cannot be read.
    """
    kind = kind_of(data)
    if kind.fetch is not None and not kind.fetch.is_there(data):
        return None
    return kind.load(data, cache).of_classes(data.first_classes).classes


def kind_of(data: Data) -> Kind:
    """The entry of `repro.data.datasets` that reads a data set.

    Raises:
        RequestError: there is none.
    """
    name = data.name if data.source is None else data.source
    if name not in DATASETS:
        key = "data" if data.source is None else "data.source"
        raise RequestError(f"{key}={name} is not known: choose from {', '.join(DATASETS)}")
    return DATASETS[name]
