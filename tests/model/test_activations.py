from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from repro.model.activations import rms
from repro.model.init import initialise
from repro.model.vgg import VGG
from tests.model.test_vgg import spec


def test_rms_before_each_rectification_by_hand() -> None:
    net = VGG(spec("A", 1 / 16, 32, classes=3), 0.5)
    initialise(net, "he", net.spec, seed=0)
    images = torch.randn(2, 3, 32, 32)
    found = dict(rms(net, images))
    assert list(found) == [*(f"conv{n}" for n in range(1, 9)), "FC1", "FC2", "FC3"]
    with torch.no_grad():
        first = functional.conv2d(images, net.convs[0].weight, net.convs[0].bias, padding=1)
        maps = functional.max_pool2d(first.relu(), 2)
        second = functional.conv2d(maps, net.convs[1].weight, net.convs[1].bias, padding=1)
        scores = net.eval()(images)
    assert found["conv1"] == pytest.approx(float(first.square().mean().sqrt()), rel=1e-5)
    assert found["conv2"] == pytest.approx(float(second.square().mean().sqrt()), rel=1e-5)
    assert found["FC3"] == pytest.approx(float(scores.square().mean().sqrt()), rel=1e-5)
    assert not net.convs[0]._forward_hooks, "the net is left as it was"


@pytest.mark.slow
@pytest.mark.parametrize(("name", "expected"), [("normal_literal", 1.8e7), ("normal", 2.3e-9)])
def test_the_full_width_net_as_measured_elsewhere(name: str, expected: float) -> None:
    """RMS after E's sixteenth convolution for input in 0-1, known from another measurement."""
    net = VGG(spec("E", 1, 224), 0.5)
    initialise(net, name, net.spec, seed=0)
    found = dict(rms(net, torch.rand(1, 3, 224, 224)))
    assert expected / 3 < found["conv16"] < expected * 3
