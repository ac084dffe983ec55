"""Ranks on a share of the test images by other ways of preprocessing, kept by a run of `weights=`.

A file `preprocessing-N.npz` in the run's folder holds them for N test images, evenly spread over
the set, as `repro.store.ranks` does: an array for each way and kind of view, named as
`repro.protocol.preprocessing.key` says. It is written anew as each becomes known.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from repro.errors import RequestError
from repro.store import ranks
from repro.store.ranks import Kept

NAME = re.compile(r"preprocessing-(\d+)\.npz")


def file_name(images: int) -> str:
    """The file for so many images."""
    return f"preprocessing-{images}.npz"


def missing(folder: Path, images: int, keys: Sequence[str]) -> list[str]:
    """The keys that a run lacks for so many images; all of them, if the file is damaged."""
    found = read(folder, images)
    return [key for key in keys if found is None or key not in found.ranks]


def read(folder: Path, images: int) -> Kept | None:
    """What a run's folder has for so many images; None: nothing, or a damaged file."""
    try:
        return ranks.decoded(folder / file_name(images))
    except RequestError:
        # It is computed again, as a damaged view is.
        return None


def most(folder: Path, keys: Sequence[str]) -> tuple[int, Kept] | None:
    """The largest number of images for which a run has all keys, and its ranks; None: for none."""
    counts = (int(found[1]) for path in folder.iterdir() if (found := NAME.fullmatch(path.name)))
    for images in sorted(counts, reverse=True):
        kept = read(folder, images)
        if kept is not None and not missing(folder, images, keys):
            return images, kept
    return None
