"""The measures of Appendix B: mean class recall, VOC's two average precisions, as errors."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

SPLITS = 3
"""Random divisions of a data set that brings none, into training and test images."""
UNUSED, FIT, HELD_OUT, TEST = range(4)
"""The part that an image has in a split: on the held-out training images C is chosen."""
Labels = NDArray[np.int64]
"""The class of each image (N,); or (N, classes): 1 shown, 0 difficult, -1 not shown."""
Weights = NDArray[np.integer[Any]]
"""How often a draw has each image, (draws, N); where there are none: one draw, each once."""


def predicted(scores: NDArray[np.float32]) -> NDArray[np.int64]:
    """The class of the highest score of each image (N,), of scores (N, classes); of a tie -1."""
    best = scores.argmax(axis=1)
    ties = (scores >= scores.max(axis=1, keepdims=True)).sum(axis=1) > 1
    return np.asarray(np.where(ties, -1, best), dtype=np.int64)


def recall_error(
    labels: Labels, found: NDArray[np.int64], weights: Weights | None = None
) -> NDArray[np.float64]:
    """100 minus the mean class recall (%), (draws,), of labels and predictions (N,).

    A class that a draw does not have is left out of it.
    """
    weights = np.ones((1, len(labels)), dtype=np.int64) if weights is None else weights
    order = np.argsort(labels, kind="stable")
    first = np.unique(labels[order], return_index=True)[1]
    weights, right = weights[:, order], (found == labels)[order]
    each = weights, weights * right
    counts, hits = (np.add.reduceat(one, first, axis=1, dtype=np.int64) for one in each)
    shares = np.divide(hits, counts, out=np.full(counts.shape, np.nan), where=counts > 0)
    return np.asarray(100 - 100 * np.nanmean(shares, axis=1))


def average_precision(
    scores: NDArray[np.float32], labels: Labels, weights: Weights | None = None
) -> NDArray[np.float64]:
    """VOC's average precision of a class at 11 recalls and as an area, (draws, 2) (VOCap.m).

    `scores` and `labels` are (N,): images with label 0 count neither way, those of one score are
    found together. Not a number where no image shows the class.
    """
    weights = np.ones((1, len(labels)), dtype=np.int64) if weights is None else weights
    order = np.argsort(-scores, kind="stable")
    shown, counts, falling = labels[order], weights[:, order], scores[order]
    last = np.append(falling[1:] != falling[:-1], True)
    true = np.cumsum(counts * (shown > 0), axis=1)[:, last]
    every = np.cumsum(counts * (shown != 0), axis=1)[:, last]
    precision = np.divide(true, every, out=np.zeros(true.shape), where=every > 0)
    # The best precision at this recall or a higher one.
    best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    total = true[:, -1:]
    # In whole numbers: a recall of 3 in 10 is the fourth of the eleven.
    first = [np.argmax(10 * true >= step * total, axis=1) for step in range(11)]
    eleven = np.mean([best[np.arange(len(best)), at] for at in first], axis=0)
    area = (np.diff(true, prepend=0, axis=1) * best).sum(axis=1) / np.maximum(1, total[:, 0])
    return np.where(total > 0, np.stack([eleven, area], axis=1), np.nan)


def errors(
    labels: Labels, scores: NDArray[np.float32], weights: Weights | None = None
) -> Mapping[str, NDArray[np.float64]]:
    """Every measure of the scores of test images, (draws,) by its name, in percent.

    They are 100 minus the mean over classes. `scores` are (N, classes), or `predicted`, (N,).
    """
    if labels.ndim > 1:
        columns = zip(scores.T, labels.T, strict=True)
        means = np.nanmean([average_precision(s, y, weights) for s, y in columns], axis=0)
        return {"ap11_error": 100 - 100 * means[:, 0], "ap_area_error": 100 - 100 * means[:, 1]}
    found = predicted(scores) if scores.ndim > 1 else scores.astype(np.int64)
    return {"recall_error": recall_error(labels, found, weights)}
