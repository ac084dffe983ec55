from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from repro.model.dense import Dense
from repro.model.geometry import block_sides, geometry, lrn_channels, padded_taps, score_map_side
from repro.model.layers import Conv, Linear
from repro.model.vgg import VGG
from repro.protocol.scales import pixels
from tests.model.test_layers import at, net


@pytest.mark.parametrize("q", [224, 256, 288, 384, 512])
def test_score_maps_are_those_of_the_real_net(q: int) -> None:
    small = net("A", width=1 / 16, crop=64, classes=10)
    side = pixels(q, 64)
    scores = Dense(VGG(small, 0.5).eval())(torch.zeros(1, 3, side, side))
    assert scores.shape[2:] == (score_map_side(small, side),) * 2


def test_the_papers_geometry() -> None:
    sides = [geometry(net("D"), q) for q in (224, 256, 288, 384, 512)]
    assert [row.map_side for row in sides] == [7, 8, 9, 12, 16]
    assert [row.score_map_side for row in sides] == [1, 2, 3, 6, 10]
    assert {row.overhang for row in sides} == {0}
    assert sides[0].receptive_field == 212  # known of VGG-16's last pooling


@pytest.mark.parametrize("size", ["half", "quarter", "eighth"])
@pytest.mark.parametrize("name", ["A", "A-LRN", "B", "C", "D", "E", "B-5x5"])
def test_a_size_that_keeps_the_maps_keeps_the_windows(name: str, size: str) -> None:
    small = at(name, size)
    rows = [geometry(small, pixels(q, small.crop)) for q in (224, 256, 288, 384, 512)]
    assert [row.score_map_side for row in rows] == [1, 2, 3, 6, 10]
    assert {row.overhang for row in rows} == {0}


@pytest.mark.parametrize("name", ["A", "A-LRN", "C", "E", "B-5x5"])
def test_at_an_eighth_the_real_net_has_the_papers_score_maps(name: str) -> None:
    dense = Dense(VGG(at(name, "eighth"), 0.5).eval())
    for side, cells in ((28, 1), (32, 2), (36, 3), (48, 6), (64, 10)):
        with torch.inference_mode():
            assert dense(torch.rand(1, 3, side, side)).shape == (1, 10, cells, cells)
    with torch.inference_mode():
        # 256x384 of the paper, and one that its pooling rounds up: 35 -> 18 -> 9 cells.
        assert dense(torch.rand(1, 3, 32, 48)).shape[2:] == (2, 6)
        assert dense(torch.rand(1, 3, 32, 35)).shape[2:] == (2, 3)


def test_blocks_work_on_the_sides_of_table_1() -> None:
    assert block_sides(net("D")) == {1: 224, 2: 112, 3: 56, 4: 28, 5: 14}
    assert block_sides(at("D", "eighth")) == {1: 28, 2: 28, 3: 28, 4: 28, 5: 14}
    assert block_sides(at("E", "quarter")) == {1: 56, 2: 56, 3: 56, 4: 28, 5: 14}
    assert block_sides(net("alexnet")) == {1: 55, 2: 27, 3: 13}


def test_channels_under_local_response_normalisation() -> None:
    assert lrn_channels(net("A-LRN")) == 64
    assert lrn_channels(at("A-LRN", "eighth")) == 4
    assert lrn_channels(net("alexnet")) == 96
    assert lrn_channels(net("A")) is None


def test_five_poolings_on_64_pixels_hang_over() -> None:
    small = net("D", width=1 / 8, crop=64, classes=10)
    row = geometry(small, 73)
    # 73 -> 37, 19, 10, 5, 3 cells; two windows of 64 pixels, 32 apart, need 96
    assert (row.map_side, row.score_map_side, row.overhang) == (3, 2, 23)


@pytest.mark.parametrize("name", ["A", "C", "alexnet"])
def test_padded_taps_against_convolving_ones(name: str) -> None:
    small = net(name, width=1 / 16, crop=64, classes=10)
    side, taps, inside = 75, 0.0, 0.0
    ones = torch.ones(1, 1, side, side)
    for layer in small.layers:
        if isinstance(layer, Conv):
            kernel = torch.ones(1, 1, layer.kernel, layer.kernel)
            hits = functional.conv2d(ones, kernel, stride=layer.stride, padding=layer.padding)
            weight = layer.in_channels // layer.groups * layer.out_channels
            inside += weight * hits.sum().item()
            taps += weight * hits.numel() * layer.kernel**2
            ones = torch.ones_like(hits)
        elif not isinstance(layer, Linear) and hasattr(layer, "stride"):
            ones = functional.max_pool2d(ones, layer.kernel, layer.stride, ceil_mode=True)
    assert padded_taps(small, side) == pytest.approx(1 - inside / taps)
