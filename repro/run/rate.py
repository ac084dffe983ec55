"""How fast this machine trains and tests: a few steps of a net on noise, timed."""

import dataclasses
import time
from collections.abc import Callable

import torch
from torch import nn

from repro.config.schema import Config
from repro.errors import RunError
from repro.model.cost import cost, training_flops
from repro.model.layers import Linear, Net
from repro.model.vgg import VGG
from repro.run.device import compiled, is_out_of_memory, memory_format, torch_settings
from repro.run.schedule import OPTIMISERS

LONG = 0.25
"""Seconds of a step from which on more images would not make the rate more certain."""
LARGE = 50_000_000
"""Parameters from which on the hidden FC layers are left out: they take long to allocate, and at
few images their weights would cost more than at the run's batch."""

Step = Callable[[], None]


def measure(net: Net, config: Config, device: torch.device) -> tuple[float, float]:
    """Floating point operations a second of training steps, and of forward passes as in testing.

    The step grows up to the run's batch or micro-batch, or until it takes long enough to be timed.
    Testing computes in float32 where training is bf16. A RunError: not one image fits into memory.
    """
    net = without_hidden(net) if cost(net).parameters > LARGE else net
    most = min(config.recipe.batch, config.micro_batch or config.recipe.batch)
    with torch_settings(config):
        layout = memory_format(config, device)
        module = VGG(net, config.recipe.dropout).to(device).to(memory_format=layout)
        if config.precision == "float64":
            module.double()
        images, seconds = 0, 0.0
        while seconds < LONG and images < most:
            more = min(most, 4 * images or 1)
            try:
                seconds = _shortest(training_step(module, config, device, more), device)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                if not images:
                    raise RunError("one image does not fit into memory") from None
                break
            images = more
        tested = _shortest(testing_step(module, config, device, images), device)
    return images * training_flops(net) / seconds, images * cost(net).flops / tested


def without_hidden(net: Net) -> Net:
    """The convolutions of a net and an FC layer for the classes."""
    first = net.linears[0]
    last = Linear(first.in_channels, first.side, net.classes, hidden=False)
    features = [layer for layer in net.layers if not isinstance(layer, Linear)]
    return dataclasses.replace(net, layers=(*features, last))


def training_step(net: VGG, config: Config, device: torch.device, images: int) -> Step:
    """A training step on one batch of noise that is already there, as in `repro.run.loop`.

    The net is on its device, which may not be done when the step returns: see `wait`.
    """
    noise = _noise(net, config, device, images)
    labels = torch.arange(images, device=device) % net.spec.classes
    optimiser = OPTIMISERS[config.recipe.optimiser](net.parameters(), config.recipe)
    for group in optimiser.param_groups:
        # Noise is not to be learnt until weights overflow.
        group["lr"] = 1e-6
    forward = compiled(net, config.compile)
    net.train()

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16, config.precision == "bf16"):
            loss = nn.functional.cross_entropy(forward(noise), labels)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()

    return step


def testing_step(net: VGG, config: Config, device: torch.device, images: int) -> Step:
    """A forward pass on one batch of noise, in the precision in which views are computed."""
    noise = _noise(net, config, device, images)
    net.eval()

    def step() -> None:
        with torch.inference_mode():
            net(noise)

    return step


def wait(device: torch.device) -> None:
    """Return when the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def _noise(net: VGG, config: Config, device: torch.device, images: int) -> torch.Tensor:
    kind = torch.float64 if config.precision == "float64" else torch.float32
    shape = (images, net.spec.channels, net.spec.crop, net.spec.crop)
    return torch.randn(shape, dtype=kind).to(device, memory_format=memory_format(config, device))


def _shortest(step: Step, device: torch.device) -> float:
    """The shortest of a few steps; the first also pays for setting things up."""
    times: list[float] = []
    while len(times) < 2 or (len(times) < 4 and sum(times) < 2 * LONG):
        began = time.perf_counter()
        step()
        wait(device)
        times.append(time.perf_counter() - began)
    return min(times)
