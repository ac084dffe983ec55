"""The colours of the training images: their mean (Section 3.1), and AlexNet's random shift."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from repro.config.schema import STATISTICS_IMAGES
from repro.data.cache import keep, recall
from repro.data.images import ArrayImages, Images
from repro.data.split import Split
from repro.data.workers import loaded


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
    workers: int = 0,
) -> Statistics:
    """Mean and principal components of the training images, computed once and kept.

    Of more than 10,000 image files, 10,000 evenly spread ones are looked at; of images in memory,
    all. A kept file that is damaged is computed anew.

    Args:
        train: the training images.
        cache: folder that keeps the result.
        key: name of the data with all that decides which images its ids are.
        progress: whether to show a bar.
        check: called with each image; raises to stop.
        workers: processes that decode image files; 0: this one does.

    Raises:
        RunError: an image cannot be decoded, or the result cannot be kept.
    """
    path = cache / f"statistics-{train.key(key)}.json"
    kept = recall(path)
    if kept is not None:
        vectors = tuple(tuple(row) for row in kept["eigenvectors"])
        return Statistics(tuple(kept["mean"]), tuple(kept["eigenvalues"]), vectors)
    result = compute(looked_at(train), progress, check, workers)
    keep(path, asdict(result))
    return result


def compute(
    split: Split, progress: bool, check: Callable[[], None] = lambda: None, workers: int = 0
) -> Statistics:
    """Mean and principal components of all images of a set; see `statistics`."""
    count, channels = len(split.images), split.images[0].shape[0]
    first, second = np.zeros(channels), np.zeros((channels, channels))
    moments = partial(_moments, split.images)
    in_memory = isinstance(split.images, ArrayImages)
    if not in_memory:
        words = f"the mean colour is computed of {count:,} images by {max(workers, 1)} processes"
        tqdm.write(words, file=sys.stderr)
    found = loaded(moments, 0 if in_memory else workers, range(count), count)
    # Summed up in the order of the images, whoever looked at them.
    for mean, square in tqdm(
        found, desc="mean colour", total=count, unit="img", disable=not progress or None
    ):
        check()
        first += mean
        second += square
    mean = first / count
    covariance = second / count - np.outer(mean, mean)
    eigenvalues, eigenvectors = np.linalg.eigh(covariance)
    return Statistics(
        tuple((255 * mean).tolist()),
        tuple(np.maximum(eigenvalues, 0).tolist()),
        tuple(tuple(row) for row in eigenvectors.tolist()),
    )


def _moments(images: Images, index: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The first and the second moment of an image's pixels, (C,) and (C, C)."""
    image = images[index]
    values = image.contiguous().reshape(image.shape[0], -1).numpy().astype(np.float64) / 255
    return values.mean(axis=1), values @ values.T / values.shape[1]


def shifts(normals: NDArray[np.float64], statistics: Statistics, std: float) -> NDArray[np.float32]:
    """Random colour shifts in grey levels, (N, C), from standard normal numbers (N, C).

    Each is the sum of the principal components, each times its eigenvalue times N(0, std), of
    pixels in 0-1 (Krizhevsky et al., 2012, Section 4.1, as re-implementations take it). Images of
    one channel have no colour and are not shifted.
    """
    if normals.shape[1] == 1:
        return np.zeros(normals.shape, dtype=np.float32)
    weights = std * normals * np.array(statistics.eigenvalues)
    result = 255 * weights @ np.array(statistics.eigenvectors).T
    return np.asarray(result, dtype=np.float32)
