"""How fast this machine trains: a few steps of a net, timed."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable

import torch
from torch import nn, optim

from repro import environment
from repro.config import Config
from repro.nets.vgg import VGG
from repro.spec import work
from repro.spec.cost import cost
from repro.spec.layers import Linear, Net

LONG = 0.25
"""Seconds of a step from which on more images would not make the rate more certain."""
LARGE = 50_000_000
"""Parameters from which on the hidden FC layers are left out: they take long to allocate, and at
few images their weights would cost more than at the run's batch."""


def measure(net: Net, config: Config, device: torch.device) -> tuple[float, int]:
    """Floating point operations a second of training steps, and the images of the longest one.

    The step grows up to the run's batch, or until it takes long enough to be timed.

    Args:
        net: the layers.
        config: batch, precision and threads.
        device: where.
    """
    net = without_hidden(net) if cost(net).parameters > LARGE else net
    images, rate = 0, 0.0
    with environment.torch_settings(config):
        trained = VGG(net, config.recipe.dropout).to(device)
        trained.to(memory_format=torch.channels_last)
        if config.precision == "float64":
            trained.double()
        seconds = 0.0
        while seconds < LONG and images < config.recipe.batch:
            more = min(config.recipe.batch, max(1, 4 * images))
            try:
                seconds = _seconds(_step(trained, config, device, more))
            except torch.OutOfMemoryError:
                if not images:
                    raise
                break
            images, rate = more, more * work.training(net) / seconds
    return rate, images


def without_hidden(net: Net) -> Net:
    """The convolutions of a net and an FC layer for the classes."""
    first = net.linears[0]
    last = Linear(first.in_channels, first.side, net.classes, hidden=False)
    features = [layer for layer in net.layers if not isinstance(layer, Linear)]
    return dataclasses.replace(net, layers=(*features, last))


def _step(net: VGG, config: Config, device: torch.device, images: int) -> Callable[[], float]:
    """A training step on noise, as in `repro.train.loop`."""
    kind = torch.float64 if config.precision == "float64" else torch.float32
    shape = (images, net.spec.channels, net.spec.crop, net.spec.crop)
    noise = torch.randn(shape, dtype=kind).to(device, memory_format=torch.channels_last)
    labels = torch.arange(images, device=device) % net.spec.classes
    optimiser = optim.SGD(net.parameters(), lr=1e-6, momentum=0.9)
    net.train()

    def step() -> float:
        half = config.precision == "bf16"
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            loss = nn.functional.cross_entropy(net(noise), labels)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        # Reading a number of the last weight waits for a device to have done it all.
        return next(net.parameters()).detach().flatten()[0].item()

    return step


def _seconds(step: Callable[[], float]) -> float:
    """The shortest of a few steps; the first also pays for setting things up."""
    times: list[float] = []
    while len(times) < 2 or (len(times) < 4 and sum(times) < 2 * LONG):
        began = time.perf_counter()
        step()
        times.append(time.perf_counter() - began)
    return min(times)
