"""The colours of the training images: their mean (Section 3.1), and AlexNet's random shift."""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from repro.config.schema import STATISTICS_IMAGES
from repro.data.facts import keep, recall
from repro.data.images import ArrayImages, Images
from repro.data.split import Split
from repro.data.workers import Loaded, processes


class Statistics(NamedTuple):
    """The mean of the training images before any rescaling; each image weighs the same."""

    mean: tuple[float, ...]
    """Mean of each channel, in grey levels 0-255."""
    eigenvalues: tuple[float, ...] = ()
    """The principal components of a pixel's channels, with grey levels taken as 0-1."""
    eigenvectors: tuple[tuple[float, ...], ...] = ()
    """(C, C), a column for each eigenvalue."""


def sampled(train: Split) -> Split:
    """The images that the statistics are of: all in memory, of files 10,000 evenly spread ones."""
    in_memory = isinstance(train.images, ArrayImages)
    return train if in_memory else train.spread(STATISTICS_IMAGES)


def statistics(
    train: Split,
    cache: Path,
    key: str,
    progress: bool,
    check: Callable[[], None] = lambda: None,
    workers: str | int = 0,
) -> Statistics:
    """Mean and principal components of the training images, computed once and kept in `cache`.

    `key` says all that decides which images the ids are. `check` may raise to stop; so does an
    image that cannot be decoded.
    """
    some = sampled(train)
    path = cache / f"statistics-{some.key(key)}.json"
    kept = recall(path)
    if kept is None:
        if (count := len(some.images)) == STATISTICS_IMAGES:
            tqdm.write(f"the mean colour of {count:,} images is computed once", file=sys.stderr)
        kept = compute(some, progress, check, workers)._asdict()
        keep(path, kept)
    vectors = tuple(tuple(row) for row in kept["eigenvectors"])
    return Statistics(tuple(kept["mean"]), tuple(kept["eigenvalues"]), vectors)


def compute(
    split: Split, progress: bool, check: Callable[[], None] = lambda: None, workers: str | int = 0
) -> Statistics:
    """Mean and principal components of all images of a set; see `statistics`."""
    images, count = split.images, len(split.images)
    found = Loaded(partial(_moments, images), processes(images, workers), range(count), count)
    channels = images[0].shape[0]
    first, second = np.zeros(channels), np.zeros((channels, channels))
    hidden = not progress or None
    # Summed up in the order of the images, whoever looked at them.
    for mean, square in tqdm(found, "mean colour", count, unit="img", disable=hidden):
        check()
        first, second = first + mean, second + square
    mean = first / count
    eigenvalues, vectors = np.linalg.eigh(second / count - np.outer(mean, mean))
    rows, positive = tuple(map(tuple, vectors.tolist())), np.maximum(eigenvalues, 0)
    return Statistics(tuple((255 * mean).tolist()), tuple(positive.tolist()), rows)


def _moments(images: Images, index: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The first and the second moment of an image's pixels, (C,) and (C, C)."""
    image = images[index]
    values = image.contiguous().reshape(image.shape[0], -1).numpy().astype(np.float64) / 255
    return values.mean(axis=1), values @ values.T / values.shape[1]


def shifts(normals: NDArray[np.float64], statistics: Statistics, std: float) -> NDArray[np.float32]:
    """Random colour shifts in grey levels, (N, C), from standard normal numbers (N, C).

    Each is the sum of the principal components, each times its eigenvalue times N(0, std), of
    pixels in 0-1 (Krizhevsky et al., 2012, Section 4.1). Grey images are not shifted.
    """
    if normals.shape[1] == 1:
        return np.zeros(normals.shape, dtype=np.float32)
    weights = std * normals * np.array(statistics.eigenvalues)
    result = 255 * weights @ np.array(statistics.eigenvectors).T
    return np.asarray(result, dtype=np.float32)
