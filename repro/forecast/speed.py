"""How fast the runs of a sweep would be: as was said, as finished runs were, or as timed now."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from repro.config.schema import Config
from repro.model import work
from repro.model.cost import cost
from repro.run import rate
from repro.run.device import pick
from repro.run.environment import speed
from repro.run.request import Request
from repro.store import identity
from repro.store.runs import Started


@dataclass(frozen=True)
class Rate:
    """Floating point operations a second."""

    flops: float
    source: str
    """Where the number comes from."""


def said(tflops: float) -> Rate:
    """A rate that the user assumes, in 10^12 operations a second."""
    return Rate(tflops * 1e12, "as tflops= says")


def measured(requests: Sequence[Request], earlier: Sequence[Started]) -> dict[str, Rate]:
    """The rate of each run on this machine, by the runs' names.

    Args:
        requests: the runs.
        earlier: runs of the store, which may have trained the same nets here.
    """
    rates: dict[str, Rate] = {}
    timed: dict[tuple[Any, ...], Rate] = {}
    # Of nets that take long to be timed, the one that takes longest stands for the others.
    for request in sorted(requests, key=lambda r: cost(r.net).flops, reverse=True):
        rates[request.name] = _by_runs(request, earlier) or _by_timing(request, timed)
    return rates


def _by_runs(request: Request, earlier: Sequence[Started]) -> Rate | None:
    """By the training of the same net on this machine, the loading of images included."""
    config = request.config
    here = speed(config, pick(config.device))
    speeds = [
        run.result["images_per_second"]
        for run in earlier
        if run.result is not None
        and run.result["images_per_second"]
        and _work(run.config) == _work(config)
        and here.items() <= run.result["environment"].items()
    ]
    if not speeds:
        return None
    flops = statistics.median(speeds) * work.training(request.net, config.finetune)
    runs = "a finished run" if len(speeds) == 1 else f"{len(speeds)} finished runs"
    return Rate(flops, f"by {runs} of {config.arch.name} at size={config.size.name} here")


def _work(config: Config) -> tuple[Any, ...]:
    """What a training step computes."""
    contents = (identity.content(config, group) for group in ("arch", "size"))
    how = (config.precision, config.finetune, config.recipe.batch, config.data.channels)
    return (*contents, *how)


def _by_timing(request: Request, timed: dict[tuple[Any, ...], Rate]) -> Rate:
    """By a few steps taken now."""
    config, net = request.config, request.net
    how = (config.recipe.batch, config.precision, config.threads, config.device)
    size = (config.size.width, config.size.poolings, net.crop, net.channels, *how)
    own = (*size, net.layers[:-1])
    for key in (size, own):
        if key in timed:
            return timed[key]
    device = pick(config.device)
    where = f"{device.type}, {config.precision}"
    if device.type == "cpu":
        where += f", {config.threads} threads"
    name = f"{config.arch.name} at size={config.size.name}"
    if config.progress:
        print(f"timing training steps of {name} ({where})", file=sys.stderr)
    flops, images = rate.measure(net, config, device)
    found = Rate(
        flops, f"timed on steps of {name}, {images} image{'s'[: images > 1]} at once ({where})"
    )
    takes_long = work.training(net) > rate.LONG * flops
    timed[size if takes_long else own] = found
    return found
