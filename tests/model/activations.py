"""How large activations are through the depth of a net, for tests of initialisations."""

import torch
from torch import Tensor, nn

from repro.model.vgg import VGG


def rms(net: VGG, images: Tensor) -> list[tuple[str, float]]:
    """Root mean square of what each weight layer puts out, before its rectification.

    One forward pass of `images` (N, channels, crop, crop) without dropout shows how activations
    grow or vanish with depth (Section 3.1). Layers are called `conv1`, ..., `FC1`, ..., in order.
    """
    found: list[tuple[str, float]] = []
    names: dict[nn.Module, str] = {part: f"conv{n}" for n, part in enumerate(net.convs, 1)}
    names |= {part: f"FC{n}" for n, part in enumerate(net.linears, 1)}

    def note(part: nn.Module, _: object, output: Tensor) -> None:
        found.append((names[part], float(output.cpu().double().square().mean().sqrt())))

    handles = [part.register_forward_hook(note) for part in names]
    with torch.inference_mode():
        net.eval()(images)
    for handle in handles:
        handle.remove()
    return found
