"""Normalisation in its reproducible forms, against torch's own layers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from repro.model.normalisation import BatchNorm, LocalResponseNorm, share_batch_norm


def outcome(layer: nn.Module, images: Tensor) -> list[Tensor]:
    """What a layer puts out, the gradients that it passes on, and its state after the step."""
    given = images.clone().requires_grad_()
    out = layer(given)
    (out * torch.linspace(-1, 1, out.numel()).to(out).view(out.shape)).sum().backward()
    assert given.grad is not None
    return [
        out.detach(),
        given.grad,
        *(weight.grad for weight in layer.parameters() if weight.grad is not None),
        *layer.buffers(),
    ]


def images(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 3


@pytest.mark.parametrize("size", [4, 5])
@pytest.mark.parametrize("channels", [1, 4, 9])
def test_sums_of_neighbouring_channels_are_local_response_normalisation(
    size: int, channels: int
) -> None:
    own = LocalResponseNorm(size, alpha=5e-1, beta=0.75, k=2.0)
    peer = nn.LocalResponseNorm(size, alpha=5e-1, beta=0.75, k=2.0)
    maps = images(2, channels, 3, 4)
    expected = outcome(peer, maps)
    own.forward = own.windowed  # type: ignore[method-assign]
    for one, other in zip(outcome(own, maps), expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_shared_batch_normalisation_of_one_process_is_torchs() -> None:
    own, peer = BatchNorm(3).double(), nn.BatchNorm2d(3).double()
    assert share_batch_norm(nn.Sequential(own), lambda tensor: tensor)
    assert not share_batch_norm(nn.Sequential(peer), lambda tensor: tensor)
    for layer in (own, peer):
        nn.init.constant_(layer.weight, 1.5)
        nn.init.constant_(layer.bias, -0.5)
    for _ in range(2):
        for one, other in zip(
            outcome(own, images(4, 3, 2, 5)), outcome(peer, images(4, 3, 2, 5)), strict=True
        ):
            torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)
    own.eval()
    peer.eval()
    torch.testing.assert_close(own(images(2, 3, 2, 2)), peer(images(2, 3, 2, 2)))


def test_half_precision_is_normalised_in_single() -> None:
    own = BatchNorm(3)
    share_batch_norm(own, lambda tensor: tensor)
    maps = (1000 + images(4, 3, 2, 5)).to(torch.bfloat16)
    out = own(maps)
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out, nn.BatchNorm2d(3)(maps), rtol=1e-2, atol=1e-2)
