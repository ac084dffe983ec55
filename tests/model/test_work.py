"""Operations of training and testing, counted by hand from Table 1."""

from __future__ import annotations

import pytest

from repro.config.choices import choice
from repro.config.schema import Arch
from repro.model import layers, reading, work
from repro.protocol.protocols import View

# D's convolutions: (channels in, channels out, side of the map on a 224 crop).
CONVS = [(3, 64, 224), (64, 64, 224), (64, 128, 112), (128, 128, 112), (128, 256, 56)]
CONVS += [(256, 256, 56)] * 2 + [(256, 512, 28)] + [(512, 512, 28)] * 2 + [(512, 512, 14)] * 3
FC = 25_088 * 4096 + 4096 * 4096 + 4096 * 1000


def forward(side: int) -> int:
    """Operations of D's convolutions on a square image of 32 n pixels."""
    return sum(2 * 9 * a * b * (at * side // 224) ** 2 for a, b, at in CONVS)


@pytest.fixture
def d() -> layers.Net:
    return reading.read(Arch(**choice("arch", "D")), width=1.0, crop=224, channels=3, classes=1000)


def test_a_training_step_is_three_passes(d: layers.Net) -> None:
    assert work.training(d) == 3 * (forward(224) + 2 * FC) == 3 * 30_940_528_640
    assert work.training(d, "fc") == forward(224) + 3 * 2 * FC


@pytest.mark.parametrize(("q", "cells"), [(224, 1), (256, 2), (384, 6), (512, 10)])
def test_dense_evaluation_runs_over_the_whole_image(d: layers.Net, q: int, cells: int) -> None:
    crop = forward(224) + 2 * FC
    dense = forward(q) + 2 * FC * cells**2
    assert work.view(d, View("dense", q, False)) == work.view(d, View("dense", q, True)) == dense
    assert work.view(d, View("windows", q, False)) == cells**2 * crop
    assert work.view(d, View("grid", q, False)) == 25 * crop
    assert work.view(d, View("centre", q, False)) == crop
