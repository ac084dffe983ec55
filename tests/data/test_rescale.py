"""Rescaling by smallest side, against PIL, torch and torchvision."""

from fractions import Fraction
from math import floor

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch.nn.functional import interpolate
from torchvision.transforms.v2 import Resize

from repro.data.rescale import ISOTROPIC, Rescaling, rescale, rescaled_crop

SIDE = st.integers(1, 3000)


@given(SIDE, SIDE, st.integers(1, 700))
@example(9, 2, 1)
@example(2, 9, 1)
def test_the_smallest_side_is_exact_and_the_other_rounded_half_up(h: int, w: int, s: int) -> None:
    height, width = ISOTROPIC.shape(h, w, s)
    assert min(height, width) == s
    exact = Fraction(max(h, w) * s, min(h, w))
    assert max(height, width) == floor(exact + Fraction(1, 2))
    assert (height <= width) == (h <= w) or height == width
    assert ISOTROPIC.shape(w, h, s) == (width, height)
    assert ISOTROPIC.shape(height, width, s) == (height, width)


@pytest.mark.parametrize(("h", "w", "side"), [(20, 30, 10), (30, 20, 34), (64, 64, 32)])
def test_pixels_are_those_of_torchvision(h: int, w: int, side: int) -> None:
    image = torch.randint(0, 256, (3, h, w), dtype=torch.uint8)
    assert torch.equal(rescale(image, side), Resize(side, antialias=True)(image))
    square = Resize((side, side), antialias=True)(image)
    assert torch.equal(rescale(image, side, Rescaling(square=True)), square)


@settings(max_examples=200)
@given(
    st.integers(1, 120),
    st.integers(1, 120),
    st.integers(2, 150),
    st.sampled_from([1, 3]),
    st.data(),
)
def test_a_crop_is_that_of_the_rescaled_image_bit_for_bit(
    h: int, w: int, side: int, channels: int, more: st.DataObject
) -> None:
    pixels = np.random.default_rng([h, w, side]).integers(0, 256, (h, w, channels), dtype=np.uint8)
    image = torch.as_tensor(pixels).permute(2, 0, 1)
    if more.draw(st.booleans()):
        image = image.contiguous()
    shape = Rescaling(square=more.draw(st.booleans())).shape(h, w, side)
    crop = more.draw(st.integers(1, side))
    top, left = (more.draw(st.integers(0, length - crop)) for length in shape)
    whole = interpolate(image.contiguous()[None], shape, mode="bilinear", antialias=True)[0]
    expected = whole if shape != (h, w) else image
    found = rescaled_crop(image, shape, top, left, crop)
    assert torch.equal(found, expected[:, top : top + crop, left : left + crop])
