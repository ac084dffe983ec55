"""Computing views: one net looks at a test set in one way (Section 3.2)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from repro.data.loader import centre_crops, whole_images
from repro.data.sources import Split
from repro.nets.dense import Dense
from repro.nets.vgg import VGG
from repro.spec.scales import View, pixels
from repro.store.views import Posteriors

Prepare = Callable[[Tensor], Tensor]
"""Takes grey levels (N, C, H, W) from the loader to the net's input, on its device."""


def posteriors(
    scores: Callable[[Tensor], Tensor],
    batches: Iterable[tuple[Tensor, Tensor]],
    count: int,
    classes: int,
    prepare: Prepare,
) -> NDArray[np.float32]:
    """Soft-max posteriors (count, classes) of images that come in batches of (indices, images)."""
    result = torch.full((count, classes), torch.nan)
    with torch.inference_mode():
        for indices, images in batches:
            result[indices] = scores(prepare(images)).float().softmax(dim=1).cpu()
    values: NDArray[np.float32] = result.numpy()
    return values


def compute(
    net: VGG, view: View, split: Split, prepare: Prepare, *, batch: int, workers: int
) -> Posteriors:
    """One view of a test set.

    Args:
        net: in evaluation mode, on its device.
        view: what to look at: the kind, the test scale Q in paper pixels, the orientation.
        split: the test images.
        prepare: from grey levels to the net's input.
        batch: images of the crop's size at once; of larger images as many as take no more memory.
        workers: processes that decode image files.

    Returns:
        Posteriors of all images: for a dense view the soft-max of the class score map averaged
        over space; for a centre view the plain net's on the centre crop.
    """
    side = pixels(view.q, net.spec.crop)
    batch = max(1, batch * net.spec.crop**2 // side**2)
    scores: Callable[[Tensor], Tensor]
    if view.kind == "dense":
        scores = Dense(net).scores
        batches = whole_images(split, side, batch, mirror=view.mirrored, workers=workers)
    elif view.kind == "centre":
        scores = net
        batches = centre_crops(
            split, side, net.spec.crop, batch, mirror=view.mirrored, workers=workers
        )
    else:
        raise ValueError(f"no such view: {view.kind}")
    values = posteriors(scores, batches, len(split.images), net.spec.classes, prepare)
    return Posteriors(values, split.labels, np.array(split.ids))


def centre_error(
    net: nn.Module, split: Split, side: int, crop: int, prepare: Prepare, workers: int = 0
) -> float:
    """Top-1 error (%) on the centre crops of images rescaled to `side` pixels.

    This is the error on validation images that steers the learning rate; a tie is an error.
    """
    wrong = 0
    net.eval()
    with torch.inference_mode():
        for indices, images in centre_crops(split, side, crop, 128, workers=workers):
            scores = net(prepare(images)).float()
            labels = torch.as_tensor(split.labels)[indices].to(scores.device)
            own = scores.gather(1, labels[:, None])
            wrong += int(((~(scores < own)).sum(dim=1) > 1).sum())
    return 100 * wrong / len(split.images)
