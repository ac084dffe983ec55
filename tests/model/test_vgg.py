"""The net and its layers against torchvision, torch and formulas written out."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
import torchvision
from torch import Tensor, nn

from repro.config.choices import choice
from repro.config.schema import Arch
from repro.model import layers, reading
from repro.model.init import initialise
from repro.model.vgg import (
    VGG,
    BatchNorm,
    Dropout,
    LocalResponseNorm,
    set_dropout_rows,
    share_batch_norm,
)
from tests.model.activations import rms

THEIRS = {"B": "vgg13", "D": "vgg16", "E": "vgg19", "A-BN": "vgg11_bn"}


def spec(name: str, width: float, crop: int, channels: int = 3, classes: int = 10) -> layers.Spec:
    arch = Arch(**choice("arch", name))
    size = replace(reading.PAPER, crop=crop, width=width)
    return reading.spec_of(arch, size, channels=channels, classes=classes)


@pytest.mark.parametrize("name", THEIRS)
def test_scores_equal_torchvisions(name: str) -> None:
    torch.manual_seed(0)
    theirs = getattr(torchvision.models, THEIRS[name])(weights=None, init_weights=False).eval()
    for module in theirs.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    with torch.device("meta"):
        ours = VGG(spec(name, 1, 224, classes=1000), 0.5).eval()
    ours.load_state_dict(theirs.state_dict(), assign=True)
    images = torch.rand(1, 3, 224, 224) - 0.5
    with torch.inference_mode():
        expected, scores = theirs(images), ours(images)
    assert (scores - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_lrn_is_alexnets_formula() -> None:
    part = next(m for m in VGG(spec("A-LRN", 1, 32), 0).features if "Response" in str(m))
    x = 20 * torch.rand(2, 9, 4, 4, dtype=torch.float64)
    expected = torch.empty_like(x)
    for channel in range(9):
        near = x[:, max(0, channel - 2) : channel + 3]
        expected[:, channel] = x[:, channel] / (2 + 1e-4 * (near**2).sum(dim=1)) ** 0.75
    assert torch.allclose(part(x), expected, rtol=1e-6)


@pytest.mark.parametrize("cuts", [(0, 7), (0, 3, 7), (0, 0, 5, 7)])
def test_parts_of_a_batch_are_dropped_as_the_whole(cuts: tuple[int, ...], device: str) -> None:
    for kind in (torch.float32, torch.float64, torch.bfloat16):
        values = torch.randn(7, 640, dtype=kind, device=device)
        # In bf16 1 / (1 - p) is to be exact: CUDA scales in float32, a mask of rows in bf16.
        p = 0.5 if kind == torch.bfloat16 else 0.3
        plain, own = (nn.Sequential(d, nn.ReLU(), d) for d in (nn.Dropout(p), Dropout(p)))
        torch.manual_seed(5)
        whole, parts = plain(values), []
        for first, end in pairwise(cuts):
            set_dropout_rows(own, slice(first, end), 7)
            torch.manual_seed(5)
            parts.append(own(values[first:end]))
        assert torch.equal(torch.cat(parts), whole)
        assert torch.equal(own.eval()(values), values.relu())


def outcome(layer: nn.Module, images: Tensor) -> list[Tensor]:
    """What a layer puts out, the gradients that it passes on, and its state after the step."""
    given = images.clone().requires_grad_()
    out = layer(given)
    (out * torch.linspace(-1, 1, out.numel()).to(out).view(out.shape)).sum().backward()
    gradients = [one.grad for one in (given, *layer.parameters()) if one.grad is not None]
    return [out.detach(), *gradients, *layer.buffers()]


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 3


@pytest.mark.parametrize("size", [4, 5])
@pytest.mark.parametrize("channels", [1, 4, 9])
def test_sums_of_neighbouring_channels_are_local_response_normalisation(
    size: int, channels: int
) -> None:
    own = LocalResponseNorm(size, alpha=5e-1, beta=0.75, k=2.0)
    expected = outcome(nn.LocalResponseNorm(size, 5e-1, 0.75, 2.0), noise(2, channels, 3, 4))
    own.forward = own.windowed  # type: ignore[method-assign]
    for one, other in zip(outcome(own, noise(2, channels, 3, 4)), expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_normalisation_and_overlapping_pooling_repeat_bit_for_bit(
    kind: torch.dtype, layout: torch.memory_format, device: str
) -> None:
    layers = [
        LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0),
        nn.MaxPool2d(3, 2, ceil_mode=True),
    ]
    images = noise(8, 64, 55, 55).to(device, kind).contiguous(memory_format=layout)
    for layer in layers:
        first = outcome(layer, images)
        for _ in range(3):
            assert all(map(torch.equal, outcome(layer, images), first))


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["A-LRN", "B-5x5", "C", "D-BN", "alexnet", "blog-vgg11"])
def test_scores_and_gradients_on_cuda_are_those_of_the_cpu(name: str) -> None:
    net = VGG(spec(name, 1 / 16, 64), 0.5).double().eval()
    initialise(net, "he", net.spec, seed=0)
    images = noise(4, 3, 64, 64)
    expected = outcome(net, images)
    net.zero_grad()
    for one, other in zip(outcome(net.to("cuda"), images.to("cuda")), expected, strict=True):
        scale = float(other.abs().max())
        torch.testing.assert_close(one.cpu(), other, rtol=1e-9, atol=1e-9 * scale)


def test_shared_batch_normalisation_of_one_process_is_torchs() -> None:
    own, peer, images = BatchNorm(3).double(), nn.BatchNorm2d(3).double(), noise(4, 3, 2, 5)
    share_batch_norm(nn.Sequential(own), lambda tensor: tensor)
    for layer in (own, peer):
        nn.init.constant_(layer.weight, 1.5)
        nn.init.constant_(layer.bias, -0.5)
    for _ in range(2):
        for one, other in zip(outcome(own, images), outcome(peer, images), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(own.eval()(images), peer.eval()(images))
    half = (1000 + images).to(torch.bfloat16)
    single = own.float().train()(half)
    assert single.dtype == torch.bfloat16, "computed in single precision"
    torch.testing.assert_close(single, peer.float().train()(half), rtol=1e-2, atol=1e-2)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "expected"), [("normal_literal", 1.8e7), ("normal", 2.3e-9)])
def test_the_full_width_net_as_measured_elsewhere(name: str, expected: float) -> None:
    """RMS after E's sixteenth convolution for input in 0-1, known from another measurement."""
    net = VGG(spec("E", 1, 224), 0.5)
    initialise(net, name, net.spec, seed=0)
    found = dict(rms(net, torch.rand(1, 3, 224, 224)))
    assert expected / 3 < found["conv16"] < expected * 3
