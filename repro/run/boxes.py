"""Localisation (Appendix A): the objective, the error that steers it, and views of boxes.

The last layer gives the centre and the size of a box in the crop, once or for each class.
"""

import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from repro.data.cut import window
from repro.data.split import Split
from repro.model.cost import receptive_field
from repro.model.dense import Dense
from repro.model.vgg import VGG
from repro.protocol import boxes
from repro.protocol.boxes import Floats
from repro.protocol.protocols import View
from repro.protocol.scales import pixels
from repro.run.views import EvaluationOptions, judged
from repro.store.boxes import Located


def own(outputs: Tensor, labels: Tensor) -> Tensor:
    """Of outputs (B, 4 or 4 x classes, ...) those of the classes (B,): (B, 4, ...)."""
    every = outputs.reshape(len(outputs), -1, 4, *outputs.shape[2:])
    # All classes share one box, or each has its own.
    places = labels if every.shape[1] > 1 else torch.zeros_like(labels)
    return every[torch.arange(len(every), device=labels.device), places]


def regression(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Half the squared error of the true class's box, as Caffe's Euclidean loss; boxes wrong.

    `targets` (B, 5): the class, then the box as `repro.protocol.boxes.to_window` has it.
    """
    found, truth = own(outputs, targets[:, 0].long()), targets[:, 1:]
    pair = [
        (one[:, :2], (one[:, 2:] + boxes.UNITS).clamp(min=0)) for one in (found.detach(), truth)
    ]
    sides = [side for _, side in pair]
    low = torch.maximum(*(centre - side / 2 for centre, side in pair))
    high = torch.minimum(*(centre + side / 2 for centre, side in pair))
    shared = (high - low).clamp(min=0).prod(dim=1)
    covered = sides[0].prod(dim=1) + sides[1].prod(dim=1) - shared
    wrong = ~(shared > boxes.RIGHT * covered)
    return (found - truth).square().sum() / 2, wrong.sum()


def constant_error(split: Split) -> float:
    """The share of images for which the best constant box is wrong."""
    truth, owners = split.truth
    found = np.tile(boxes.constant(truth, owners), (len(split.ids), 1))
    return float(boxes.wrong(found, truth, owners).mean())


def centre_error(net: VGG, split: Split, side: int, options: EvaluationOptions) -> float:
    """Box error (%) on the centre crops of images rescaled to `side` pixels, true class given."""
    net.eval()
    found = _of_centres(net, split, side, options)
    return 100 * float(boxes.wrong(found, *split.truth).mean())


def compute(
    net: VGG,
    scorer: Callable[[], VGG],
    constants: Floats,
    view: View,
    split: Split,
    options: EvaluationOptions,
) -> Located:
    """The true class's boxes of a test set: of the centre crop, or of each dense cell.

    `scorer` gives the classification net, which scores a cell; `constants` are kept beside
    (`repro.protocol.boxes.constants`).
    """
    began, side = time.perf_counter(), pixels(view.q, net.spec.crop)
    if view.kind == "box":
        found = _of_centres(net, split, side, options)[:, None]
        scores = np.ones(found.shape[:2])
    else:
        found, scores = _of_cells(net, scorer(), split, side, options)
    truth, owners = split.truth
    return Located(
        boxes=found.astype(np.float32),
        scores=scores.astype(np.float32),
        truth=truth,
        owners=owners,
        constants=constants,
        labels=split.labels,
        ids=np.array(split.ids),
        seconds=time.perf_counter() - began,
    )


def _shapes(split: Split, side: int, options: EvaluationOptions) -> list[tuple[int, int]]:
    sizes = split.images.sizes().tolist()
    return [options.rescaling.shape(height, width, side) for height, width in sizes]


def _of_centres(net: VGG, split: Split, side: int, options: EvaluationOptions) -> Floats:
    crop, labels = net.spec.crop, torch.as_tensor(split.labels)
    found = np.full((len(split.ids), 4), np.nan)

    def note(indices: Tensor, outputs: Tensor) -> tuple[Tensor, Tensor]:
        return indices, own(outputs, labels[indices])

    for indices, outputs in judged(net, net, note, split, (side, crop), options):
        found[indices] = outputs.double()
    windows = []
    for shape in _shapes(split, side, options):
        windows.append(window(shape, tuple(round((end - crop) / 2) for end in shape), crop))
    return boxes.from_window(found, np.array(windows))


def _of_cells(
    net: VGG, scorer: VGG, split: Split, side: int, options: EvaluationOptions
) -> tuple[Floats, Floats]:
    crop, step, labels = net.spec.crop, receptive_field(net.spec.layers)[1], split.labels
    maps, score_maps, classes = Dense(net), Dense(scorer), net.spec.classes
    shapes = _shapes(split, side, options)

    def judge(images: Tensor) -> Tensor:
        return torch.cat([maps(images), score_maps(images).softmax(dim=1)], dim=1)

    def note(indices: Tensor, outputs: Tensor) -> list[tuple[int, Floats, Floats]]:
        found = own(outputs[:, :-classes], torch.as_tensor(labels)[indices]).double().numpy()
        scores = outputs[:, -classes:].double().numpy()
        # A batch has one shape, and so its images have the same cells.
        shape, cells = shapes[int(indices[0])], np.ndindex(*found.shape[-2:])
        windows = np.array([window(shape, (y * step, x * step), crop) for y, x in cells])
        done = []
        for place, index in enumerate(indices.tolist()):
            here = boxes.from_window(found[place].reshape(4, -1).T, windows)
            done.append((index, here, scores[place, labels[index]].ravel()))
        return done

    notes = judged(net, judge, note, split, (side, None), options)
    every = [one for of_batch in notes for one in of_batch]
    most = max(len(scores) for _, _, scores in every)
    result = np.full((len(labels), most, 4), np.nan), np.full((len(labels), most), np.nan)
    for index, here, scores in every:
        result[0][index, : len(here)], result[1][index, : len(here)] = here, scores
    return result
