"""Whether a net's classes stand in another order than the data's: right, by other numbers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

WORDS = "permuted classes: its answers fit the images with the classes in another order"
DISTINCT = 0.9
"""Of the classes, the share that must be answered by a class of their own."""
ERRORS = 5.0
"""How many standard errors above chance the answers must be once they are put in order."""


def looks_permuted(posteriors: NDArray[np.floating], labels: NDArray[np.int64]) -> bool:
    """Whether another order of the classes explains the answers and the data's order does not.

    Of each class, half of the images say which answer stands for it; the other half is judged by
    that, and the other way round.

    Args:
        posteriors: (N, classes).
        labels: (N,).
    """
    answers = posteriors.argmax(axis=1)
    right, distinct, judged, known = 0, [], 0, np.unique(labels)
    for half in (0, 1):
        chosen = []
        for label in known:
            own = answers[labels == label]
            by, on = own[half::2], own[1 - half :: 2]
            if len(by) == 0 or len(on) == 0:
                continue
            numbers, counts = np.unique(by, return_counts=True)
            answer = numbers[counts.argmax()]
            chosen.append(answer)
            right += int((on == answer).sum())
            judged += len(on)
        distinct.append(len(set(chosen)) / max(1, len(chosen)))
    if not judged or min(distinct) < DISTINCT:
        return False
    here, put_right = float((answers == labels).mean()), right / judged
    chance = 1 / posteriors.shape[1]
    error = (chance * (1 - chance) / judged) ** 0.5
    return put_right > chance + ERRORS * error and put_right > 2 * here
