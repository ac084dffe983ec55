"""Boxes against pixels, torchvision, and loops."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.ops import box_iou

from repro.protocol import boxes

corner = st.integers(0, 15)


@st.composite
def whole(draw: st.DrawFn) -> tuple[int, int, int, int]:
    """A box of whole pixels, its ends not included."""
    left, top = draw(corner), draw(corner)
    return left, top, draw(st.integers(left + 1, 16)), draw(st.integers(top + 1, 16))


@given(whole(), whole())
def test_iou_is_that_of_counted_pixels_and_torchvisions(
    one: tuple[int, ...], other: tuple[int, ...]
) -> None:
    pictures = np.zeros((2, 16, 16), dtype=bool)
    for picture, (left, top, right, bottom) in zip(pictures, (one, other), strict=True):
        picture[top:bottom, left:right] = True
    counted = (pictures[0] & pictures[1]).sum() / (pictures[0] | pictures[1]).sum()
    found = boxes.iou(np.array(one) / 16, np.array(other) / 16)
    assert found == pytest.approx(counted)
    theirs = box_iou(torch.tensor([one]).double(), torch.tensor([other]).double())
    assert found == pytest.approx(float(theirs))


def test_a_box_without_area_overlaps_nothing() -> None:
    line, box = np.array([0.5, 0.0, 0.5, 1.0]), np.array([0.0, 0.0, 1.0, 1.0])
    assert [boxes.iou(line, line), boxes.iou(box[[2, 3, 0, 1]], box)] == [0, 0]
    assert boxes.wrong(np.full((1, 4), np.nan), box[None], np.array([0])).all()


def test_any_of_several_boxes_counts_and_half_is_not_enough() -> None:
    truth = np.array([[0, 0, 1, 1], [0, 0, 0.5, 1], [0, 0, 1, 1]], dtype=float)
    found = np.array([[0, 0, 0.4, 1], [0, 0, 0.5, 1]])
    assert boxes.wrong(found, truth, np.array([0, 0, 1])).tolist() == [False, True]


share = st.floats(0.0, 1.0)
part = st.floats(0.1, 1.0)


@given(st.tuples(share, share, part, part), st.tuples(share, share, part, part), st.booleans())
def test_windows_are_left_as_they_were_entered(
    box: tuple[float, ...], window: tuple[float, ...], flipped: bool
) -> None:
    left, top, width, height = box
    given_boxes = np.array([[left, top, left + width, top + height]])
    windows = np.array([[*window, float(flipped)]])
    inside = boxes.to_window(given_boxes, windows)
    assert boxes.from_window(inside, windows) == pytest.approx(given_boxes)
    mirrored = windows * [1, 1, 1, 1, 0] + [0, 0, 0, 0, 1 - flipped]
    other = boxes.to_window(given_boxes, mirrored)
    assert other[0, 0] == pytest.approx(-inside[0, 0])
    assert other[0, 1:] == pytest.approx(inside[0, 1:])


def brute(found: list[list[float]], scores: list[float]) -> list[float]:
    """One image's box: pairs one after another, the best first, means of all members."""
    groups = [([box], score) for box, score in zip(found, scores, strict=True)]
    while len(groups) > 1:
        means = [np.mean(members, axis=0) for members, _ in groups]
        pairs = list(itertools.combinations(range(len(groups)), 2))
        centres = [(mean[:2] + mean[2:]) / 2 for mean in means]
        scored = [
            np.linalg.norm(centres[i] - centres[j])
            - float(box_iou(torch.tensor(means[i])[None], torch.tensor(means[j])[None]))
            for i, j in pairs
        ]
        if min(scored) > 0:
            break
        i, j = pairs[int(np.argmin(scored))]
        groups[i] = (groups[i][0] + groups[j][0], groups[i][1] + groups[j][1])
        del groups[j]
    best = max(groups, key=lambda group: group[1])
    return [float(value) for value in np.mean(best[0], axis=0)]


def test_merging_is_that_of_a_loop() -> None:
    random = np.random.default_rng(0)
    corners = random.random((60, 7, 2)) * 0.6
    found = np.concatenate([corners, corners + 0.15 + random.random((60, 7, 2)) * 0.5], axis=2)
    scores = random.random((60, 7))
    # Some images have fewer cells.
    found[:20, 5:], scores[:20, 5:] = np.nan, np.nan
    chosen = boxes.chosen(found, scores)
    for n, counted in enumerate([5] * 20 + [7] * 40):
        expected = brute(found[n, :counted].tolist(), scores[n, :counted].tolist())
        assert chosen[n] == pytest.approx(expected)
    merged = boxes.merged(found, scores)[1]
    assert np.where(np.isfinite(merged), merged, 0).sum() == pytest.approx(np.nansum(scores))
    assert 60 < np.isfinite(merged).sum() < 300, "some merge, some do not"


def test_the_constant_box_is_at_least_as_good_as_simple_ones() -> None:
    corners = np.random.default_rng(1).random((300, 2)) * 0.4
    truth = np.concatenate([corners, corners + 0.2 + corners[::-1]], axis=1)
    grid = [np.array([a, a, b, b]) for a, b in itertools.combinations(np.arange(9) / 8, 2)]
    found = [boxes.constant(truth, np.arange(300)), truth.mean(axis=0), *grid]
    right = (box_iou(torch.tensor(np.stack(found)), torch.tensor(truth)) > 0.5).sum(dim=1)
    assert right[0] == right.max()
    twice = boxes.constant(np.repeat(truth, 2, axis=0), np.repeat(np.arange(300), 2))
    assert twice == pytest.approx(found[0]), "an image counts once"
    # Of three classes, one of which has no box.
    labels = np.repeat([0, 2], 150)
    each = boxes.constants(truth, np.arange(300), labels, 3)
    own = [boxes.constant(truth[labels == k], np.arange(150)) for k in (0, 2)]
    assert each.tolist() == [found[0].tolist(), own[0].tolist(), found[0].tolist(), own[1].tolist()]
