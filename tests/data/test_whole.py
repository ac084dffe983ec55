"""Batches for testing: every image once, bounded, its pixels as they are."""

from collections import Counter
from itertools import chain

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.transforms import functional as classic

from repro.data.images import ArrayImages
from repro.data.loader import evaluation_batches, shared
from repro.data.rescale import rescale
from repro.data.split import Split
from repro.run.views import grid


@pytest.mark.parametrize("room", [1, 1000, 10**6])
@pytest.mark.parametrize("mirror", [False, True])
def test_whole_images_come_once_each_uncropped(photographs: Split, room: int, mirror: bool) -> None:
    seen: list[int] = []
    for indices, images in evaluation_batches(photographs, 16, None, room, mirror=mirror):
        for index, image in zip(indices.tolist(), images, strict=True):
            expected = rescale(photographs.images[index], 16)
            assert torch.equal(image, expected.flip(-1) if mirror else expected)
            seen.append(index)
    assert sorted(seen) == list(range(7))


@given(
    st.lists(st.tuples(st.integers(5, 30), st.integers(5, 30)), min_size=1, max_size=40),
    st.integers(1, 5000),
)
def test_batches_of_one_shape_are_as_few_as_fit(shapes: list[tuple[int, int]], room: int) -> None:
    batches = shared(shapes, room)
    assert sorted(chain.from_iterable(batches)) == list(range(len(shapes)))
    for batch in batches:
        ((height, width),) = {shapes[index] for index in batch}
        assert len(batch) == 1 or len(batch) * height * width <= room
    for (height, width), count in Counter(shapes).items():
        found = sum((height, width) == shapes[batch[0]] for batch in batches)
        assert found == -(-count // max(1, room // (height * width)))


@given(st.integers(4, 40), st.integers(0, 40), st.integers(0, 40), st.booleans())
def test_centre_crops_of_any_shape_are_torchvisions_and_the_grids_middle(
    crop: int, higher: int, wider: int, mirror: bool
) -> None:
    height, width = crop + higher, crop + wider
    image = torch.arange(height * width, dtype=torch.int64).reshape(1, 1, height, width) % 251
    split = Split(ArrayImages(image.to(torch.uint8)), np.zeros(1, dtype=np.int64), ("a",))
    # As large as it is, so that nothing is resampled.
    side = min(height, width)
    ((_, found),) = evaluation_batches(split, side, crop, crop**2, mirror=mirror)
    expected = classic.center_crop(split.images[0], [crop, crop])
    assert torch.equal(found[0], expected.flip(-1) if mirror else expected)
    top, left = grid(height, width, crop)[12]
    assert torch.equal(expected, split.images[0][:, top : top + crop, left : left + crop])
