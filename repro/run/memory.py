"""Batches that fit the memory: small ones on a CPU, and halves of what turns out too large."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from repro.errors import RunError
from repro.model.memory import largest_map
from repro.model.vgg import VGG
from repro.run.device import is_out_of_memory

LARGEST_MAP = 2**28
"""Bytes, at most, of a batch's largest map on a CPU, which is as fast with few images at once."""


def at_once(net: VGG, most: int) -> int:
    """How many images of the crop's size are judged at once: on a CPU fewer of a large net.

    Args:
        net: on its device.
        most: more than so many never.
    """
    weight = next(net.parameters())
    if weight.device.type != "cpu":
        return most
    one = largest_map(net.spec) * weight.element_size()
    return max(1, min(most, LARGEST_MAP // one))


class FitToMemory:
    """Judges batches of images. One that does not fit into memory is halved until it does."""

    def __init__(
        self, judge: Callable[[Tensor, Tensor | None], Tensor], say: Callable[[str], None]
    ) -> None:
        """
        Args:
            judge: takes images (N, C, H, W), uint8, and shapes (N, 2) to posteriors, or scores,
                (N, classes).
            say: takes the line that says that a batch did not fit.
        """
        self.judge, self.say = judge, say
        self.most: int | None = None
        """Grey levels of the largest batch that may fit; None: none was too large."""

    def __call__(self, images: Tensor, shapes: Tensor | None) -> Tensor:
        """What `judge` gives for all images, (N, classes), on the CPU.

        Raises:
            RunError: a single image does not fit.
        """
        if self.most is None or images.numel() <= self.most or len(images) == 1:
            try:
                return self.judge(images, shapes).float().cpu()
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                if len(images) == 1:
                    height, width = images.shape[-2:]
                    raise RunError(
                        f"out of memory with one image of {height}x{width} pixels: "
                        "take a smaller size, or another device"
                    ) from None
            # Only here are the tensors free that the error's traceback held.
            self._halve(images)
        half = _half(images)
        halves = (slice(half), slice(half, None))
        return torch.cat(
            [self(images[rows], None if shapes is None else shapes[rows]) for rows in halves]
        )

    def _halve(self, images: Tensor) -> None:
        height, width = images.shape[-2:]
        self.most = images[: _half(images)].numel()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        self.say(
            f"out of memory with {len(images)} images of {height}x{width} pixels: goes on with "
            f"{_half(images)}; a smaller test_batch saves the attempt"
        )


def _half(images: Tensor) -> int:
    return (len(images) + 1) // 2
