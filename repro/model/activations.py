"""How large activations are through the depth of a net (Section 3.1: why A had to come first)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from repro.model.vgg import VGG


def rms(net: VGG, images: Tensor) -> list[tuple[str, float]]:
    """Root mean square after each weight layer, before its rectification, in one forward pass.

    Args:
        net: with the weights to be looked at; dropout is off.
        images: the net's input, (N, channels, crop, crop).

    Returns:
        (layer, RMS) from the first convolution to the last FC layer, layers as `conv1` and `FC1`.
    """
    found: list[tuple[str, float]] = []

    def note(name: str, output: Tensor) -> None:
        found.append((name, float(output.cpu().double().square().mean().sqrt())))

    def watch(layer: nn.Module, name: str) -> RemovableHandle:
        return layer.register_forward_hook(lambda layer, inputs, output: note(name, output))

    handles = [watch(conv, f"conv{place}") for place, conv in enumerate(net.convs, start=1)]
    handles += [watch(linear, f"FC{place}") for place, linear in enumerate(net.linears, start=1)]
    net.eval()
    try:
        with torch.inference_mode():
            net(images)
    finally:
        for handle in handles:
            handle.remove()
    return found
