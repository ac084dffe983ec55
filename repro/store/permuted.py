"""Whether a net's classes stand in another order than the data's: right, by other numbers."""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import NDArray

WORDS = "permuted classes: its answers fit the images with the classes in another order"
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
    right, judged = 0, 0
    for half in (0, 1):
        stands: list[tuple[np.int64, NDArray[np.int64]]] = []
        for label in np.unique(labels):
            own = answers[labels == label]
            by, on = own[half::2], own[1 - half :: 2]
            if len(by) and len(on):
                numbers, counts = np.unique(by, return_counts=True)
                stands.append((numbers[counts.argmax()], on))
        # An answer that stands for two classes tells neither.
        times = Counter(answer for answer, _ in stands)
        right += sum(int((on == answer).sum()) for answer, on in stands if times[answer] == 1)
        judged += sum(len(on) for _, on in stands)
    if not judged:
        return False
    here, put_right = float((answers == labels).mean()), right / judged
    chance = 1 / posteriors.shape[1]
    error = (chance * (1 - chance) / judged) ** 0.5
    return put_right > chance + ERRORS * error and put_right > 2 * here
