"""How fast this machine computes a net: a few training and testing steps on noise, timed."""

import dataclasses
import time
from collections.abc import Callable

import torch
from torch import nn

from repro.config.schema import EAGER, Config
from repro.errors import RunError
from repro.model.cost import cost, training_flops
from repro.model.layers import Linear, Spec
from repro.model.vgg import VGG
from repro.run.device import compiled, computing_in, dtype_of, memory_format, torch_settings
from repro.run.memory import is_out_of_memory
from repro.run.schedule import OPTIMISERS

Step = Callable[[], None]
LONG = 0.25
"""Seconds of a step from which on more images would not make the rate more certain."""
LARGE = 50_000_000
"""Parameters from which on the hidden FC layers are left out: they take long to allocate, and at
few images their weights would cost more than at the run's batch."""


def measure(net: Spec, config: Config, device: torch.device) -> tuple[float, float]:
    """Operations a second of training and of testing; a RunError: memory is too small."""
    if cost(net).parameters > LARGE:
        first = net.linears[0]
        last = Linear(first.in_channels, first.side, net.classes, hidden=False)
        net = dataclasses.replace(net, layers=(*net.features, last))
    most = min(config.recipe.batch, config.micro_batch or config.recipe.batch)
    with torch_settings(config):
        layout = memory_format(config, device)
        module = VGG(net, config.recipe.dropout).to(dtype_of(config))
        module = module.to(device).to(memory_format=layout)
        # The size is found without a compiler, which takes minutes for each.
        images, seconds, eager = 0, 0.0, dataclasses.replace(config, compile=EAGER)
        while seconds < LONG and images < most:
            more = min(most, 4 * images or 1)
            try:
                seconds = _shortest(training_step(module, eager, device, more), device)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                if not images:
                    raise RunError("one image does not fit into memory") from None
                break
            images = more
        if config.compile != EAGER:
            step = training_step(module, config, device, images)
            # It is recorded by its first two runs.
            step()
            step()
            seconds = _shortest(step, device)
        tested = _shortest(testing_step(module, config, device, images), device)
    return images * training_flops(net) / seconds, images * cost(net).flops / tested


def training_step(net: VGG, config: Config, device: torch.device, images: int) -> Step:
    """A training step on one batch of noise, as in `repro.run.loop`; the net is on its device."""
    noise = _noise(net, config, device, images)
    labels = torch.arange(images, device=device) % net.spec.linears[-1].out_features
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
        with torch.inference_mode(), computing_in(config.views_in):
            net(noise)

    return step


def wait(device: torch.device) -> None:
    """Return when the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def _noise(net: VGG, config: Config, device: torch.device, images: int) -> torch.Tensor:
    shape = (images, net.spec.channels, net.spec.crop, net.spec.crop)
    noise = torch.randn(shape, dtype=dtype_of(config))
    return noise.to(device, memory_format=memory_format(config, device))


def _shortest(step: Step, device: torch.device) -> float:
    """The shortest of a few steps; the first also pays for setting things up."""
    times: list[float] = []
    while len(times) < 2 or (len(times) < 4 and sum(times) < 2 * LONG):
        began = time.perf_counter()
        step()
        wait(device)
        times.append(time.perf_counter() - began)
    return min(times)
