"""Mean class recall and VOC's average precisions against plain loops and VOCap.m's own steps."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, balanced_accuracy_score

from repro.protocol.measures import average_precision, errors, predicted

SEEDS = st.integers(0, 2**32 - 1)


def vocap(scores: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """VOCap.m and VOCevalcls.m of 2007 and 2012, of scores without ties."""
    order = np.argsort(-scores)
    order = order[labels[order] != 0]
    true = np.cumsum(labels[order] > 0)
    false = np.cumsum(labels[order] < 0)
    recall, precision = true / true[-1], true / (true + false)
    eleven = sum(max(precision[recall >= t - 1e-12], default=0) for t in np.arange(11) / 10) / 11
    mrec, mpre = [0, *recall, 1], [0, *precision, 0]
    for i in range(len(mpre) - 2, -1, -1):
        mpre[i] = max(mpre[i], mpre[i + 1])
    area = sum((mrec[i + 1] - mrec[i]) * mpre[i + 1] for i in range(len(mrec) - 1))
    return eleven, area


@given(seed=SEEDS, images=st.integers(3, 80))
def test_average_precision_is_vocs(seed: int, images: int) -> None:
    random = np.random.default_rng(seed)
    labels = random.choice([-1, 0, 1], images, p=[0.6, 0.1, 0.3])
    labels[:2] = 1, -1
    scores = random.permutation(images).astype(np.float32)
    (eleven, area) = average_precision(scores, labels)[0]
    assert (eleven, area) == pytest.approx(vocap(scores, labels))
    counted = labels != 0
    theirs = average_precision_score(labels[counted] > 0, scores[counted])
    assert area >= theirs - 1e-9, "the envelope is nowhere below the precision"


@given(seed=SEEDS)
def test_an_image_drawn_twice_counts_twice(seed: int) -> None:
    random = np.random.default_rng(seed)
    labels, found = random.integers(0, 4, 40), random.integers(0, 4, 40)
    drawn = np.sort(random.integers(0, 40, 40))
    weights = np.bincount(drawn, minlength=40)[None]
    (error,) = errors(labels, found.astype(np.float32), weights)["recall_error"]
    assert error == pytest.approx(100 - 100 * balanced_accuracy_score(labels[drawn], found[drawn]))
    signs = np.where(labels == 0, 1, -1)
    signs[0] = 1
    scores = random.integers(0, 9, 40).astype(np.float32)
    weights[0, 0] += 1
    twice = np.repeat(np.arange(40), weights[0])
    of_weights = average_precision(scores, signs, weights)[0]
    assert of_weights == pytest.approx(average_precision(scores[twice], signs[twice])[0])


def test_ties_help_nobody() -> None:
    labels = np.array([1, -1, -1, -1])
    assert average_precision(np.zeros(4, np.float32), labels)[0] == pytest.approx([0.25, 0.25])
    assert predicted(np.array([[1, 1, 0], [0, 1, 0]], np.float32)).tolist() == [-1, 1]
