"""A trained net, opened, with what it wants as input: a finished run's, or one of a file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from repro.config.schema import Config, Data
from repro.data.inputs import Inputs
from repro.errors import RequestError, flat
from repro.model import layers, reading
from repro.model.vgg import VGG, load_weights
from repro.run.device import memory_format, torch_settings
from repro.store import identity
from repro.store.runs import WEIGHTS, Run, read_run
from repro.weights.convention import Convention, of_run
from repro.weights.read import Weights


@dataclass(frozen=True)
class Trained:
    """A trained net: a finished run's, or that of a file."""

    config: Config
    """How it is tested."""
    net: VGG
    """In evaluation mode, on its device."""
    prepare: Inputs
    """Grey levels (N, C, H, W), uint8, to the net's input, on its device."""


def finished_run(folder: Path) -> Run:
    """The run of a folder, wherever that lies.

    Raises:
        RequestError: no run is there, or it is not finished, has no net, or is damaged.
    """
    try:
        # A run's configuration belongs to the folder's own name, not to that of a link.
        folder = folder.expanduser().resolve()
        there = (folder / "config.yaml").is_file()
    except (OSError, ValueError, RuntimeError) as error:
        raise RequestError(f"run={folder} cannot be looked at: {flat(str(error))}") from None
    if not there:
        raise RequestError(
            f"run={folder} is no run: expected the folder of a finished one, as in runs/NAME"
        )
    run = read_run(folder)
    if run is None:
        raise RequestError(f"run={folder} is not finished: its command goes on with it")
    if run.result["outcome"] == "diverged":
        raise RequestError(f"run={folder} diverged and has no net: take another seed's")
    if not (folder / WEIGHTS).is_file():
        raise RequestError(f"run={folder} has no {WEIGHTS}: expected a run with its net")
    try:
        convention(run)
    except (KeyError, ValueError):
        raise RequestError(
            f"{folder / 'result.json'} does not say the mean colour that the net was trained with: "
            f"expected data.mean with {run.config.data.channels} numbers"
        ) from None
    return run


@contextmanager
def opened(run: Run, device: torch.device) -> Iterator[Trained]:
    """A run with its net, for as long as torch is set up as the run had it.

    Raises:
        RunError: its weights are missing or damaged.
    """
    with torch_settings(run.config):
        config, classes = run.config, run.result["data"]["classes"]
        spec = reading.at_size(
            config.arch, config.size, channels=config.data.channels, classes=classes
        )
        net = VGG(spec, config.recipe.dropout)
        if config.precision == "float64":
            net = net.double()
        load_weights(net, run.folder)
        layout = memory_format(config, device)
        net = net.to(device).to(memory_format=layout)
        yield Trained(config, net.eval(), _inputs(run, device, layout))


def _inputs(run: Run, device: torch.device, layout: torch.memory_format) -> Inputs:
    dtype = torch.float64 if run.config.precision == "float64" else torch.float32
    if run.published is not None:
        return convention(run).inputs(device, dtype, layout)
    # The very numbers that training used; the convention's are rounded.
    recipe, channels = run.config.recipe, run.config.data.channels
    mean = run.result["data"]["mean"] if recipe.subtract_mean else [0.0] * channels
    return Inputs(mean, recipe.input_range, device, dtype, layout)


@contextmanager
def opened_file(
    config: Config, spec: layers.Net, weights: Weights, device: torch.device
) -> Iterator[Trained]:
    """A net of a file of weights, without a run, for as long as torch is set up for it.

    Args:
        config: how it is tested.
        spec: its layers.
        weights: its weights; they are copied to the device.
        device: where it computes.
    """
    with torch_settings(config):
        layout = memory_format(config, device)
        with torch.device("meta"):
            net = VGG(spec, 0.0)
        net = net.to_empty(device=device).to(memory_format=layout)
        net.load_state_dict(dict(weights.tensors))
        inputs = weights.convention.inputs(device, torch.float32, layout)
        # The file's own tensors would stay in memory beside them.
        del weights
        yield Trained(config, net.eval(), inputs)


def convention(run: Run) -> Convention:
    """What input the net of a run wants."""
    return of_run(run.config, run.result)


def cache_of(run: Run) -> Path:
    """The cache of the store that a run lies in."""
    return run.folder.parent / ".cache"


def data_of(run: Run, root: str | None) -> Data:
    """The data set of a run as its file names it; `root` says where it lies on this machine."""
    data = run.config.data
    name = identity.base(data.name)
    # Each file that is looked at is decoded anyway.
    return replace(data, name=name, root=data.root if root is None else root, verify=False)
