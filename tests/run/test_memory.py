"""What is out of memory, and how many images are judged at once."""

import pytest
import torch
from torch import Tensor

from repro.config.choices import choice
from repro.config.schema import Arch, Size
from repro.errors import RunError
from repro.model import reading
from repro.model.vgg import VGG
from repro.run.memory import FitToMemory, at_once, is_out_of_memory

FULL = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def judge(error: RuntimeError) -> FitToMemory:
    """A judge that ends so whatever it is given."""

    def fails(images: Tensor) -> Tensor:
        raise error

    return FitToMemory(fails, lambda line: None)


def test_an_image_that_does_not_fit_alone_fails_the_run() -> None:
    with pytest.raises(RunError, match="out of memory with one image of 4x5 pixels"):
        judge(FULL)(torch.rand(4, 3, 4, 5))


def test_what_is_out_of_memory() -> None:
    with pytest.raises(RuntimeError) as raised:
        torch.empty(2**50)
    mps = RuntimeError("MPS backend out of memory (MPS allocated: 8 GB)")
    cudnn = RuntimeError("GET was unable to find an engine to execute this computation")
    assert all(map(is_out_of_memory, (raised.value, MemoryError(), FULL, mps, cudnn)))
    other = RuntimeError("mat1 and mat2 shapes cannot be multiplied")
    assert not is_out_of_memory(other)
    assert not is_out_of_memory(ValueError("out of memory"))
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        judge(other)(torch.rand(4, 3, 4, 5))


@pytest.mark.parametrize(
    ("crop", "poolings", "device", "most", "expected"),
    [
        # D's first map has 64 x 224 x 224 numbers: 12.8 MB an image.
        (224, 5, "cpu", 128, 20),
        (224, 5, "cpu", 7, 7),
        (28, 2, "cpu", 128, 128),
        (224, 5, "meta", 128, 128),
    ],
)
def test_a_cpu_judges_few_images_of_a_large_net_at_once(
    crop: int, poolings: int, device: str, most: int, expected: int
) -> None:
    arch, size = Arch(**choice("arch", "D")), Size("size", crop, poolings, 1)
    with torch.device("meta"):
        net = VGG(reading.spec_of(arch, size, channels=3, classes=2), 0.5)
    # Its other weights are not needed.
    net.features, net.classifier = net.features[:1].to_empty(device=device), net.classifier[:0]
    assert at_once(net, most) == expected
