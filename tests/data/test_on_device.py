"""Crops that are made on the device where the images lie, against those of the CPU."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import interpolate

from repro.data.loader import TrainingCrops, draws
from repro.data.rescale import Rescaling
from repro.data.split import Split
from tests.data.conftest import arrays

DEVICES = [torch.device("cpu"), pytest.param(torch.device("cuda"), marks=pytest.mark.gpu)]


def crops(split: Split, smin: int, smax: int, **changes: Any) -> TrainingCrops:
    usual: dict[str, Any] = {"crop": 14, "mirror": True, "batch": 4, "seed": 3, "workers": 0}
    return TrainingCrops(split, smin=smin, smax=smax, **(usual | {"colour": None} | changes))


@pytest.mark.parametrize("device", DEVICES)
def test_crops_of_images_as_they_are_have_the_same_bits(device: torch.device) -> None:
    split = arrays(10, 3, 18, 25)
    side = min(split.images[0].shape[-2:])
    there, here = crops(split, side, side, device=device), crops(split, side, side)
    for epoch, start in ((0, 0), (1, 0), (1, 2)):
        both = list(zip(there.epoch(epoch, start), here.epoch(epoch, start), strict=True))
        assert len(both) == 3 - start
        for one, other in both:
            assert one[0].device.type == device.type
            assert all(torch.equal(a.cpu(), b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("device", DEVICES)
@settings(deadline=None, max_examples=25)
@given(smin=st.integers(14, 40), more=st.integers(0, 20), square=st.booleans())
def test_a_jittered_crop_is_the_window_that_was_drawn(
    device: torch.device, smin: int, more: int, square: bool
) -> None:
    """Against torch's own rescaling: in float64, one image at a time; and the path of the CPU."""
    split, how = arrays(9, 3, 18, 25), {"rescaling": Rescaling(square)}
    there = crops(split, smin, smin + more, device=device, **how)
    here = crops(split, smin, smin + more, **how)
    drawn = draws(3, 0, 9, 3)
    images = torch.cat([images.cpu() for images, *_ in there.epoch(0)])
    theirs = torch.cat([images for images, *_ in here.epoch(0)])
    assert (images.int() - theirs.int()).abs().max() <= 2
    for index, image in zip(drawn.order, images, strict=True):
        s, y, x, flip = drawn.uniform[index]
        whole = split.images[index].double()[None]
        shape = Rescaling(square).shape(*whole.shape[-2:], smin + int(s * (more + 1)))
        exact = interpolate(whole, shape, mode="bilinear", antialias=True)[0]
        top, left = (int(u * (side - 14 + 1)) for u, side in zip((y, x), shape, strict=True))
        window = exact[:, top : top + 14, left : left + 14]
        window = window.flip(-1) if flip < 0.5 else window
        # Rounded twice: after its columns and after its rows.
        assert (window - image).abs().max() <= 1.01
