"""What the classes of a run are called."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from repro.config.schema import Data
from repro.data import sources
from repro.data.layouts import TINY_IMAGENET
from repro.errors import RequestError, RunError, flat
from repro.release.trained import cache_of, data_of
from repro.store.runs import Run

LONGEST = 100
"""Characters of a name."""
WORDNET = re.compile(r"n\d{8}")
ILSVRC = 1000
"""Classes of the whole data set, whose order is that of their WordNet numbers."""


def class_names(run: Run, root: str | None = None) -> tuple[str, ...]:
    """What the classes are called: by the run's record, else by the folder of its data.

    Where neither knows, a class is called by its number. Nothing is downloaded.

    Args:
        run: the run.
        root: where its data lies on this machine; None: where its configuration says.
    """
    data, count = data_of(run, root), run.result["data"]["classes"]
    names: Any = run.result["data"].get("class_names")
    if names is None:
        try:
            names = sources.classes_there(data, cache_of(run))
        except (RequestError, RunError):
            names = None
    if not isinstance(names, list | tuple) or len(names) != count:
        names = range(count)
    names = [flat(str(name)) for name in names]
    words = _words(data, names)
    return tuple(f"{name} {words.get(name, '')}".strip()[:LONGEST] for name in names)


def _words(data: Data, names: Sequence[str]) -> dict[str, str]:
    """What WordNet's numbers mean, for data sets whose classes are called by them."""
    if not all(WORDNET.fullmatch(name) for name in names):
        return {}
    if data.name == "imagenet" and len(names) == ILSVRC:
        from torchvision.models import VGG16_Weights

        return dict(zip(names, VGG16_Weights.IMAGENET1K_V1.meta["categories"], strict=True))
    for folder in (Path(data.root), Path(data.root) / TINY_IMAGENET):
        try:
            text = (folder / "words.txt").read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        rows = (line.partition("\t") for line in text.splitlines())
        return {number: flat(words.split(",")[0]) for number, _, words in rows}
    return {}
