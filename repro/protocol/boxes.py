"""Boxes of Appendix A: how they move with an image, when one is right, and how several merge.

A box is (left, top, right, bottom), each a share of the image's width or height, so that rescaling
leaves it as it is. A window is (left, top, width, height, flipped): the part of an image, in the
same shares, that a crop shows, and whether the crop is its mirror image (1) or not (0).
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
NONE, SHARED, PER_CLASS = CHOICES = ("none", "shared", "per_class")
"""The values of `boxes`: no localisation; one box for all classes (SCR); one for each (PCR)."""
UNITS = 8
"""A crop has so many of a net's units, so that its errors are of the size of a classifier's."""
RIGHT = 0.5
"""A box is right where its intersection over union with the truth is above this."""
NEAR = 0.0
"""Boxes merge where their match score is at most this (see `match`)."""
PAIRS = 1_000_000
"""Pairs of boxes that are looked at at once while boxes merge."""
COARSE, FINE, EXAMPLES = 8, (16, 32, 64), 20_000
"""Parts of a side between which a constant box is sought, first and then; boxes looked at."""


def to_window(boxes: Floats, windows: Floats) -> Floats:
    """Boxes (N, 4) of images as what a net learns of crops: centre x, centre y, width, height.

    In eighths (`UNITS`) of the crop, (N, 4): the centre from the crop's, the size less the crop's.
    What lies outside of `windows` (N, 5) is not cut off.
    """
    inside = (boxes.reshape(-1, 2, 2) - windows[:, None, :2]) / windows[:, None, 2:4]
    centre, size = inside.mean(axis=1) - 0.5, inside[:, 1] - inside[:, 0] - 1
    centre[:, 0] *= 1 - 2 * windows[:, 4]
    return UNITS * np.concatenate([centre, size], axis=1)


def from_window(found: Floats, windows: Floats) -> Floats:
    """The inverse of `to_window`: boxes (N, 4) of images."""
    centre, half = found[:, :2] / UNITS, (found[:, 2:] / UNITS + 1) / 2
    centre[:, 0] *= 1 - 2 * windows[:, 4]
    corners = 0.5 + np.stack([centre - half, centre + half], axis=1)
    return (corners * windows[:, None, 2:4] + windows[:, None, :2]).reshape(-1, 4)


def iou(one: Floats, other: Floats) -> Floats:
    """The area that two boxes (..., 4) share over that which they cover; none is negative."""
    least = np.minimum(one[..., 2:], other[..., 2:]) - np.maximum(one[..., :2], other[..., :2])
    shared = least.clip(min=0).prod(axis=-1)
    sides = [(box[..., 2:] - box[..., :2]).clip(min=0).prod(axis=-1) for box in (one, other)]
    covered = sides[0] + sides[1] - shared
    return np.asarray(np.divide(shared, covered, out=np.zeros_like(covered), where=covered > 0))


def wrong(found: Floats, truth: Floats, owners: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether each image's box (N, 4) is right for none of `truth` (M, 4), of images `owners`."""
    result = np.ones(len(found), dtype=bool)
    # Written so that what is not a number is wrong.
    result[owners[iou(found[owners], truth) > RIGHT]] = False
    return result


def match(one: Floats, other: Floats) -> Floats:
    """How badly two boxes (..., 4) match: the distance of their centres less their overlap (IoU).

    OverFeat adds the two, by which boxes apart would match best: this is our reading.
    """
    apart = one[..., :2] + one[..., 2:] - other[..., :2] - other[..., 2:]
    return np.asarray(np.hypot(apart[..., 0], apart[..., 1]) / 2 - iou(one, other))


def merged(boxes: Floats, scores: Floats) -> tuple[Floats, Floats]:
    """Merge the boxes (N, cells, 4) of each image greedily, as OverFeat does.

    The two that match best become their mean, weighed by the boxes in each, with the sum of their
    scores (N, cells), until no match is `NEAR`. A cell without a box has the score -inf.
    """
    some = max(1, PAIRS // boxes.shape[1] ** 2)
    parts = range(0, len(boxes), some)
    done = [_merged(boxes[n : n + some], scores[n : n + some]) for n in parts]
    return np.concatenate([one for one, _ in done]), np.concatenate([own for _, own in done])


def _merged(boxes: Floats, scores: Floats) -> tuple[Floats, Floats]:
    count = np.isfinite(boxes).all(axis=-1) & np.isfinite(scores)
    boxes, scores = np.where(count[..., None], boxes, 0), np.where(count, scores, -np.inf)
    weight, cells = count.astype(float), boxes.shape[1]
    rows = np.arange(len(boxes))
    # Kept, since a merge changes the matches of two boxes only.
    matches = np.stack([_matches(boxes, count, np.full_like(rows, n)) for n in range(cells)], 1)
    for _ in range(cells - 1):
        first, second = np.divmod(matches.reshape(len(boxes), -1).argmin(axis=1), cells)
        near = matches[rows, first, second] <= NEAR
        if not near.any():
            break
        image, one, other = rows[near], first[near], second[near]
        mine, theirs = weight[image, one][:, None], weight[image, other][:, None]
        total = mine * boxes[image, one] + theirs * boxes[image, other]
        boxes[image, one] = total / (mine + theirs)
        scores[image, one] += scores[image, other]
        weight[image, one] += weight[image, other]
        weight[image, other], scores[image, other] = 0, -np.inf
        matches[image, other] = matches[image, :, other] = np.inf
        now = _matches(boxes[image], weight[image] > 0, one)
        matches[image, one] = matches[image, :, one] = now
    return boxes, scores


def _matches(boxes: Floats, there: NDArray[np.bool_], own: NDArray[np.int64]) -> Floats:
    """How box `own` (N,) of each image matches its boxes (N, cells); infinite: itself, none."""
    rows, cells = np.arange(len(boxes)), np.arange(boxes.shape[1])
    box, before = boxes[rows, own][:, None], (cells < own[:, None])[..., None]
    # The earlier box first: `match` rounds by their order.
    found = match(np.where(before, boxes, box), np.where(before, box, boxes))
    pairs = there & there[rows, own][:, None] & (cells != own[:, None])
    return np.where(pairs, found, np.inf)


def chosen(boxes: Floats, scores: Floats) -> Floats:
    """The box of the highest score of each image after merging, (N, 4)."""
    boxes, scores = merged(boxes, scores)
    return np.asarray(boxes[np.arange(len(boxes)), scores.argmax(axis=1)])


def constant(truth: Floats, owners: NDArray[np.int64]) -> Floats:
    """The one box (4,) that is right for most images, from candidates and from those near the best.

    Candidates: the mean box, all with corners at eighths of the sides; near: each of the four
    coordinates moved by a 16th or not, then by a 32nd, a 64th. Of many boxes it looks at 20,000,
    evenly spread.
    """
    images = np.unique(owners)
    some = images[np.linspace(0, len(images) - 1, min(EXAMPLES, len(images))).astype(int)]
    own = np.isin(owners, some)
    boxes, places = truth[own], np.searchsorted(some, owners[own])

    def best(candidates: Floats) -> Floats:
        errors = [wrong(np.tile(one, (len(some), 1)), boxes, places).sum() for one in candidates]
        return np.asarray(candidates[int(np.argmin(errors))])

    low, high = np.triu_indices(COARSE + 1, 1)
    spans = np.stack([low, high], axis=1) / COARSE
    x, y = (one.ravel() for one in np.indices((len(spans), len(spans))))
    grid = np.stack([spans[x, 0], spans[y, 0], spans[x, 1], spans[y, 1]], axis=1)
    found = best(np.concatenate([truth.mean(axis=0)[None], grid]))
    for parts in FINE:
        moves = (np.indices((3, 3, 3, 3)).reshape(4, -1).T - 1) / parts
        found = best(np.concatenate([found[None], found + moves]))
    return found


def constants(
    truth: Floats, owners: NDArray[np.int64], labels: NDArray[np.int64], classes: int
) -> Floats:
    """The best constant box of all images, then that of each class: (1 + classes, 4).

    `labels` (N,) are the images' classes. A class without a box has that of all.
    """
    found = [constant(truth, owners)]
    for label in range(classes):
        own = labels[owners] == label
        found.append(constant(truth[own], owners[own]) if own.any() else found[0])
    return np.stack(found)
