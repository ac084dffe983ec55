"""What fits into memory: parts of a batch in training, halves of it in testing."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from repro.config.schema import EAGER, Config
from repro.errors import RunError, one_line
from repro.model.cost import largest_map
from repro.model.vgg import VGG

LONGEST = 120
"""Letters that are shown of an error about memory."""
LARGEST_MAP = 2**28
"""Bytes, at most, of a batch's largest map on a CPU, which is as fast with few images at once."""
OUT_OF_MEMORY = (
    *("out of memory", "can't allocate memory", "not enough memory"),
    *("ALLOC_FAILED", "ALLOCATION_FAILED", "unable to find an engine"),
)
"""How CUDA, MPS, the CPU and the libraries behind them say that memory is exhausted; cuDNN, that
none of its algorithms fits, which it also says of what it cannot compute at all."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory is exhausted, of a device or of the machine."""
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(sign in str(error) for sign in OUT_OF_MEMORY)
    )


def micro_batches(images: int, most: int | None) -> list[slice]:
    """The parts of a batch of `images` that are computed one after another, each `most` at most.

    A batch of no images is one part, so that its gradients are zeros.
    """
    size = most or max(images, 1)
    return [slice(first, min(first + size, images)) for first in range(0, max(images, 1), size)]


@contextmanager
def memory_error_in_a_line(config: Config, processes: int) -> Iterator[None]:
    """Make a RunError with a way out of the error that a training step does not fit."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        crop, own = config.size.crop, -(-config.recipe.batch // processes)
        at_once = min(own, config.micro_batch or own)
        way_out = "take a smaller size, or a device with more memory"
        if at_once > 1 and not config.arch.batch_norm:
            compiled = "" if config.compile == EAGER else " compile=none"
            way_out = f"micro_batch={(at_once + 1) // 2}{compiled} takes fewer of the batch at once"
        said = f"out of memory with {at_once} training images of {crop}x{crop} pixels at once"
        said += f" (recipe.batch={config.recipe.batch}): {way_out}"
        raise RunError(f"{said} ({one_line(error)[:LONGEST]})") from None


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

    `judge` takes images (N, C, H, W) to scores (N, classes); `say` takes the line that says that a
    batch did not fit.
    """

    def __init__(self, judge: Callable[[Tensor], Tensor], say: Callable[[str], None]) -> None:
        self.judge, self.say = judge, say
        self.most: int | None = None
        """Grey levels of the largest batch that may fit; None: none was too large."""

    def __call__(self, images: Tensor) -> Tensor:
        """The scores of all images, on the CPU; a RunError where a single one does not fit."""
        half, (height, width) = (len(images) + 1) // 2, images.shape[-2:]
        if self.most is None or images.numel() <= self.most or len(images) == 1:
            try:
                return self.judge(images).float().cpu()
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                reason = one_line(error)[:LONGEST]
            # Only here are the tensors free that the error's traceback held.
            if len(images) == 1:
                said = f"out of memory with one image of {height}x{width} pixels"
                raise RunError(f"{said}: take a smaller size, or another device ({reason})")
            self.most = images[:half].numel()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            self.say(
                f"out of memory with {len(images)} images of {height}x{width} pixels: goes on with "
                f"{half}; a smaller test_batch saves the attempt"
            )
        return torch.cat([self(part) for part in torch.split(images, half)])
