"""The names of the classes of a run, or of a file of weights."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from repro.config.schema import Data
from repro.data import sources
from repro.data.folders import TINY_IMAGENET
from repro.errors import RequestError, RunError, flat
from repro.release.trained import cache_of, data_of
from repro.store.runs import Run

LONGEST = 100
"""Characters of a name."""
WORDNET = re.compile(r"n\d{8}")
ILSVRC = 1000
"""Classes of the whole data set, whose order is that of their WordNet numbers."""


def class_names(run: Run, root: str | None = None) -> tuple[str, ...]:
    """The classes' names by the run's record, else by the folder of its data, else their numbers.

    Nothing is downloaded.

    Args:
        run: the run.
        root: where its data lies on this machine; None: where its configuration says.
    """
    data, count = data_of(run, root), run.result["data"]["classes"]
    found: Any = run.result["data"].get("class_names")
    if found is None:
        try:
            found = sources.classes_there(data, cache_of(run))
        except (RequestError, RunError):
            found = None
    known = isinstance(found, list | tuple) and len(found) == count
    names = [flat(str(name)) for name in (found if known else range(count))]
    words = _words(data, names)
    return tuple(f"{name} {words.get(name, '')}".strip()[:LONGEST] for name in names)


def _words(data: Data, names: Sequence[str]) -> dict[str, str]:
    """What WordNet's numbers mean, for data sets whose classes are called by them."""
    if not all(WORDNET.fullmatch(name) for name in names):
        return {}
    if data.name == "imagenet" and len(names) == ILSVRC:
        return dict(zip(names, _ilsvrc(), strict=True))
    for folder in (Path(data.root), Path(data.root) / TINY_IMAGENET):
        try:
            text = (folder / "words.txt").read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        rows = (line.partition("\t") for line in text.splitlines())
        return {number: flat(words.split(",")[0]) for number, _, words in rows}
    return {}


def names_of_file(own: Sequence[str] | None, count: int) -> tuple[tuple[str, ...], str]:
    """The names of the classes of a file of weights, and a line that says whose names they are.

    Args:
        own: the names that the file has; None: it has none.
        count: how many classes it has.
    """
    unchecked = "that the net has them in this order is not checked here"
    if own is not None:
        names = tuple(flat(name)[:LONGEST] for name in own)
        return names, f"classes: the file's names; {unchecked}"
    if count == ILSVRC:
        said = f"classes: the file has no names; ImageNet's, of {ILSVRC:,} classes; {unchecked}"
        return tuple(_ilsvrc()), said
    return tuple(map(str, range(count))), "classes: the file has no names; numbers from 0"


def _ilsvrc() -> Sequence[str]:
    from torchvision.models import VGG16_Weights

    names: Sequence[str] = VGG16_Weights.IMAGENET1K_V1.meta["categories"]
    return names
