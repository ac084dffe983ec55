"""Batches that fit the memory: small ones on a CPU, and halves of what turns out too large."""

from collections.abc import Callable

import torch
from torch import Tensor

from repro.errors import RunError
from repro.model.cost import largest_map
from repro.model.vgg import VGG

LARGEST_MAP = 2**28
"""Bytes, at most, of a batch's largest map on a CPU, which is as fast with few images at once."""
OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "ALLOC_FAILED")
"""How CUDA, MPS, the CPU and the libraries behind them say that memory is exhausted."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory is exhausted, of a device or of the machine."""
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(sign in str(error) for sign in OUT_OF_MEMORY)
    )


def at_once(net: VGG, most: int) -> int:
    """How many images of the crop's size are judged at once: `most`, on a CPU fewer of a large net.

    The net is on its device.
    """
    weight = next(net.parameters())
    if weight.device.type != "cpu":
        return most
    one = largest_map(net.spec) * weight.element_size()
    return max(1, min(most, LARGEST_MAP // one))


class FitToMemory:
    """Judges batches of images. One that does not fit into memory is halved until it does.

    `judge` takes images (N, C, H, W) and shapes (N, 2) to scores (N, classes); `say` takes the
    line that says that a batch did not fit.
    """

    def __init__(
        self, judge: Callable[[Tensor, Tensor | None], Tensor], say: Callable[[str], None]
    ) -> None:
        self.judge, self.say = judge, say
        self.most: int | None = None
        """Grey levels of the largest batch that may fit; None: none was too large."""

    def __call__(self, images: Tensor, shapes: Tensor | None) -> Tensor:
        """The scores of all images, on the CPU; a RunError where a single one does not fit."""
        half, (height, width) = (len(images) + 1) // 2, images.shape[-2:]
        if self.most is None or images.numel() <= self.most or len(images) == 1:
            try:
                return self.judge(images, shapes).float().cpu()
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
            # Only here are the tensors free that the error's traceback held.
            if len(images) == 1:
                raise RunError(
                    f"out of memory with one image of {height}x{width} pixels: "
                    "take a smaller size, or another device"
                )
            self.most = images[:half].numel()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            self.say(
                f"out of memory with {len(images)} images of {height}x{width} pixels: goes on with "
                f"{half}; a smaller test_batch saves the attempt"
            )
        of_shapes = [None, None] if shapes is None else torch.split(shapes, half)
        parts = zip(torch.split(images, half), of_shapes, strict=True)
        return torch.cat([self(*part) for part in parts])
