"""The mean colour and the principal colours of the training images (Section 3.1)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from repro.config.schema import STATISTICS_IMAGES
from repro.data.images import ArrayImages
from repro.data.kept import keep, recall
from repro.data.split import Split


@dataclass(frozen=True)
class Statistics:
    """Of the training images as they are, before any rescaling; each image weighs the same."""

    mean: tuple[float, ...]
    """Mean of each channel, in grey levels 0-255."""
    eigenvalues: tuple[float, ...]
    """Of the covariance of a pixel's channels, with grey levels taken as 0-1."""
    eigenvectors: tuple[tuple[float, ...], ...]
    """(C, C), a column for each eigenvalue."""


def looked_at(train: Split) -> Split:
    """The training images that the mean and the principal components are of."""
    in_memory = isinstance(train.images, ArrayImages)
    return train if in_memory else train.spread(STATISTICS_IMAGES)


def statistics(
    train: Split,
    cache: Path,
    key: str,
    progress: bool,
    check: Callable[[], None] = lambda: None,
) -> Statistics:
    """Mean and principal components of the training images, computed once and kept.

    Of more than 10,000 image files, 10,000 evenly spread ones are looked at; of images in memory,
    all. A kept file that is damaged is computed anew.

    Args:
        train: the training images.
        cache: folder that keeps the result.
        key: name of the data with all that decides which images its ids are.
        progress: whether to show a bar.
        check: called before each image; raises to stop.

    Raises:
        RunError: an image cannot be decoded, or the result cannot be kept.
    """
    path = cache / f"statistics-{train.key(key)}.json"
    kept = recall(path)
    if kept is not None:
        return _read(kept)
    result = compute(looked_at(train), progress, check)
    keep(path, asdict(result))
    return result


def compute(split: Split, progress: bool, check: Callable[[], None] = lambda: None) -> Statistics:
    """Mean and principal components of all images of a set; `check` may raise to stop."""
    channels = split.images[0].shape[0]
    first, second = np.zeros(channels), np.zeros((channels, channels))
    indices = range(len(split.images))
    for index in tqdm(indices, desc="mean colour", unit="img", disable=not progress or None):
        check()
        values = (
            split.images[index].contiguous().reshape(channels, -1).numpy().astype(np.float64) / 255
        )
        first += values.mean(axis=1)
        second += values @ values.T / values.shape[1]
    mean = first / len(indices)
    covariance = second / len(indices) - np.outer(mean, mean)
    eigenvalues, eigenvectors = np.linalg.eigh(covariance)
    return Statistics(
        tuple((255 * mean).tolist()),
        tuple(np.maximum(eigenvalues, 0).tolist()),
        tuple(tuple(row) for row in eigenvectors.tolist()),
    )


def _read(tree: dict[str, Any]) -> Statistics:
    vectors = tuple(tuple(row) for row in tree["eigenvectors"])
    return Statistics(tuple(tree["mean"]), tuple(tree["eigenvalues"]), vectors)
