"""Running out of memory, played by a judge that takes so many images and no more."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from repro.config.choices import choice
from repro.config.schema import Arch
from repro.errors import RunError
from repro.model import reading
from repro.model.vgg import VGG
from repro.run.memory import FitToMemory, at_once


class Small:
    """Means of images, as long as there are at most `room` of them."""

    def __init__(self, room: int, error: RuntimeError) -> None:
        self.room, self.error = room, error
        self.tried: list[int] = []

    def __call__(self, images: Tensor, shapes: Tensor | None) -> Tensor:
        self.tried.append(len(images))
        if shapes is not None:
            assert shapes.tolist() == images.amax(dim=(1, 2))[:, :2].tolist()
        if len(images) > self.room:
            raise self.error
        return images.mean(dim=(1, 2, 3))[:, None]


ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("MPS backend out of memory (MPS allocated: 8 GB)"),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried ..."),
]


@pytest.mark.parametrize("error", ERRORS, ids=["cuda", "mps", "cpu"])
@pytest.mark.parametrize("shaped", [False, True])
def test_a_batch_that_does_not_fit_is_halved_until_it_does(
    error: RuntimeError, shaped: bool
) -> None:
    judge, said = Small(3, error), list[str]()
    fitting = FitToMemory(judge, said.append)
    images = torch.rand(13, 3, 4, 5)
    shapes = images.amax(dim=(1, 2))[:, :2] if shaped else None
    found = fitting(images, shapes)
    assert torch.equal(found[:, 0], images.mean(dim=(1, 2, 3)))
    assert judge.tried == [13, 7, 4, 2, 2, 2, 1, 2, 1, 2, 1]
    assert "13 images of 4x5 pixels: goes on with 7" in said[0]
    assert len(said) == 3
    judge.tried.clear()
    fitting(images, shapes)
    assert max(judge.tried) <= 3, "what did not fit is not tried again"
    assert len(said) == 3


def test_an_image_that_does_not_fit_alone_fails_the_run() -> None:
    with pytest.raises(RunError, match="out of memory with one image of 4x5 pixels") as caught:
        FitToMemory(Small(0, ERRORS[0]), lambda line: None)(torch.rand(4, 3, 4, 5), None)
    assert "\n" not in str(caught.value)


def test_any_other_error_is_not_hidden() -> None:
    error = RuntimeError("mat1 and mat2 shapes cannot be multiplied")
    judge = Small(0, error)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        FitToMemory(judge, lambda line: None)(torch.rand(4, 3, 4, 5), None)
    assert judge.tried == [4]


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
    size = {"width": 1, "crop": crop, "poolings": poolings, "channels": 3, "classes": 2}
    with torch.device("meta"):
        net = VGG(reading.read(Arch(**choice("arch", "D")), **size), 0.5)  # type: ignore[arg-type]
    # Its other weights are not needed.
    net.features, net.classifier = net.features[:1].to_empty(device=device), net.classifier[:0]
    assert at_once(net, most) == expected
