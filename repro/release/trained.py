"""A trained net, opened, with what it wants as input: a finished run's, or one of a file."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch

from repro.config.schema import Config, Data
from repro.data.inputs import Inputs
from repro.errors import RequestError, flat
from repro.model.layers import Spec
from repro.model.reading import spec_of
from repro.model.vgg import VGG, load_weights
from repro.run.device import dtype_of, memory_format, torch_settings
from repro.store import identity
from repro.store.runs import WEIGHTS, Run, read_run
from repro.weights.contents import Weights, of_run


class Trained(NamedTuple):
    """A trained net in evaluation mode, how it is tested, and how it takes images."""

    config: Config
    net: VGG
    prepare: Inputs


def finished_run(folder: Path) -> Run:
    """The run of a folder anywhere; RequestError where it is not finished or has no net."""
    try:
        # A configuration belongs to the folder's own name, not to that of a link.
        folder = folder.expanduser().resolve()
        run = read_run(folder)
    except (OSError, ValueError, RuntimeError) as error:
        raise RequestError(f"run={folder} cannot be looked at: {flat(str(error))}") from None
    if run is None:
        raise RequestError(f"run={folder} is no finished run: expected its folder, as in runs/NAME")
    if run.result["outcome"] == "diverged" or not (folder / WEIGHTS).is_file():
        raise RequestError(f"run={folder} has no net: expected a run that ended with {WEIGHTS}")
    if run.config.locates:
        raise RequestError(f"run={folder} gives boxes only: expected its classification run")
    if run.config.data.transfer:
        raise RequestError(f"run={folder} has descriptors only: expected the net's own run or file")
    return run


def data_of(run: Run, root: str | None) -> Data:
    """The data set of a run as its file names it; `root` says where it lies on this machine."""
    data = identity.unlabelled(run.config.data)
    # Each file that is looked at is decoded anyway.
    return replace(data, root=data.root if root is None else root, verify=False)


@contextmanager
def opened(run: Run, device: torch.device) -> Iterator[Trained]:
    """A run with its net, while torch is set up as the run had it; RunError: damaged weights."""
    config, data = run.config, run.result["data"]
    channels, recipe = config.data.channels, config.recipe
    dtype = dtype_of(config)
    with torch_settings(config):
        spec = spec_of(config.arch, config.size, channels=channels, classes=data["classes"])
        net = VGG(spec, recipe.dropout).to(dtype)
        load_weights(net, run.folder)
        layout = memory_format(config, device)
        net = net.to(device).to(memory_format=layout)
        inputs = of_run(config, run.result).inputs(device, dtype, layout)
        if run.published is None:
            # The very numbers that training used; the convention's are rounded.
            mean = data["mean"] if recipe.subtract_mean else [0.0] * channels
            inputs = replace(inputs, mean=mean)
        yield Trained(config, net.eval(), inputs)


@contextmanager
def opened_file(
    config: Config, spec: Spec, weights: Weights, device: torch.device
) -> Iterator[Trained]:
    """A net of a file of weights, without a run, for as long as torch is set up for it."""
    with torch_settings(config):
        layout = memory_format(config, device)
        with torch.device("meta"):
            net = VGG(spec, 0.0)
        net = net.to_empty(device=device).to(memory_format=layout)
        net.load_state_dict(weights.tensors)
        inputs = weights.convention.inputs(device, torch.float32, layout)
        # The file's own tensors would stay in memory beside them.
        del weights
        yield Trained(config, net.eval(), inputs)
