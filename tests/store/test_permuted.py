"""Answers whose classes stand in another order, told from right ones and from noise."""

from __future__ import annotations

import numpy as np
import pytest

from repro.store.permuted import looks_permuted


def answers(
    labels: np.ndarray, classes: int, order: np.ndarray, share: float, seed: int
) -> np.ndarray:
    """Posteriors that are right after `order`, but for a share of random ones."""
    random = np.random.default_rng(seed)
    said = np.where(
        random.random(len(labels)) < share, random.integers(0, classes, len(labels)), order[labels]
    )
    return np.eye(classes)[said]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("classes", "each"), [(3, 20), (10, 10), (200, 6)])
@pytest.mark.parametrize("share", [0.0, 0.3])
def test_another_order_is_told(classes: int, each: int, share: float, seed: int) -> None:
    labels = np.repeat(np.arange(classes), each)
    order = np.roll(np.arange(classes), 1 + seed % (classes - 1))
    assert looks_permuted(answers(labels, classes, order, share, seed), labels)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(("classes", "each"), [(2, 10), (3, 20), (10, 10), (200, 1), (200, 2)])
@pytest.mark.parametrize("share", [0.3, 0.8, 1.0])
def test_right_ones_and_noise_are_not(classes: int, each: int, share: float, seed: int) -> None:
    labels = np.repeat(np.arange(classes), each)
    right = np.arange(classes)
    assert not looks_permuted(answers(labels, classes, right, share, seed), labels)


def test_one_answer_to_all_is_none() -> None:
    labels = np.repeat(np.arange(5), 10)
    assert not looks_permuted(np.eye(5)[np.full(50, 3)], labels)
