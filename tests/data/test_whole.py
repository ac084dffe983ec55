"""Batches for testing: every image once, bounded, its pixels as they are."""

from itertools import chain

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.transforms import functional as classic

from repro.data.images import ArrayImages
from repro.data.loader import centre_crops, shared, whole_images
from repro.data.rescale import rescale
from repro.data.split import Split
from repro.run.views import grid


@pytest.mark.parametrize(("room", "waste"), [(1, 0), (1000, 0.9), (10**6, 0), (10**6, 0.9)])
@pytest.mark.parametrize("mirror", [False, True])
def test_whole_images_come_once_each_uncropped_with_zeros_around(
    photographs: Split, room: int, waste: float, mirror: bool
) -> None:
    seen: list[int] = []
    for indices, images, shapes in whole_images(photographs, 16, room, waste=waste, mirror=mirror):
        assert len(indices) == len(images) == len(shapes)
        for index, image, (h, w) in zip(indices.tolist(), images, shapes.tolist(), strict=True):
            expected = rescale(photographs.images[index], 16)
            assert tuple(expected.shape[-2:]) == (h, w)
            assert torch.equal(image[:, :h, :w], expected.flip(-1) if mirror else expected)
            assert image.sum(dtype=torch.int64) == expected.sum(dtype=torch.int64)
            seen.append(index)
    assert sorted(seen) == list(range(7))


@given(
    st.lists(st.tuples(st.integers(5, 30), st.integers(5, 30)), min_size=1, max_size=40),
    st.integers(1, 5000),
    st.sampled_from([0, 0.1, 0.5]),
)
def test_batches_of_near_shapes_stay_below_their_bounds(
    shapes: list[tuple[int, int]], room: int, waste: float
) -> None:
    batches = shared(shapes, room, waste)
    assert sorted(chain.from_iterable(batches)) == list(range(len(shapes)))
    for batch in batches:
        heights, widths = zip(*(shapes[index] for index in batch), strict=True)
        pixels = len(batch) * max(heights) * max(widths)
        inside = sum(shapes[index][0] * shapes[index][1] for index in batch)
        assert len(batch) == 1 or pixels <= room
        assert pixels - inside <= waste * pixels


@given(st.integers(4, 40), st.integers(0, 40), st.integers(0, 40), st.booleans())
def test_centre_crops_of_any_shape_are_torchvisions_and_the_grids_middle(
    crop: int, higher: int, wider: int, mirror: bool
) -> None:
    height, width = crop + higher, crop + wider
    image = torch.arange(height * width, dtype=torch.int64).reshape(1, 1, height, width) % 251
    split = Split(ArrayImages(image.to(torch.uint8)), np.zeros(1, dtype=np.int64), ("a",))
    # As large as it is, so that nothing is resampled.
    side = min(height, width)
    ((_, found),) = centre_crops(split, side, crop, 1, mirror=mirror)
    expected = classic.center_crop(split.images[0], [crop, crop])
    assert torch.equal(found[0], expected.flip(-1) if mirror else expected)
    top, left = grid(height, width, crop)[12]
    assert torch.equal(expected, split.images[0][:, top : top + crop, left : left + crop])
