"""What training and testing a run share: its data, its device, the way from images to the net."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from tqdm import tqdm

from repro.data import sources
from repro.data.inputs import Inputs
from repro.data.loader import TrainingCrops
from repro.data.prescaled import prescaled
from repro.data.split import Split
from repro.data.statistics import Statistics, statistics
from repro.errors import RunError
from repro.model import layers, reading
from repro.model.init import copy_layers, initialise
from repro.model.vgg import VGG
from repro.model.weights import load_weights
from repro.protocol.rescaling import rescaling
from repro.protocol.scales import pixels, single_q
from repro.run.device import memory_format
from repro.run.distributed import process_group
from repro.run.interruption import Stop
from repro.run.request import Request, base_data
from repro.run.views import EvaluationOptions, centre_error
from repro.store.folder import Folder
from repro.track.curves import Curves
from repro.track.trackers import NONE


def say(line: str) -> None:
    """Print a line above any progress bar; of several processes the first one speaks."""
    if process_group().is_first:
        tqdm.write(line, file=sys.stderr)


@dataclass
class Stage:
    """What finishing one run needs at hand."""

    request: Request
    folder: Folder
    stop: Stop
    device: torch.device

    def __post_init__(self) -> None:
        config = self.request.config
        self.world = process_group()
        self.cache = Path(config.runs) / ".cache"
        # What one process of a host downloads, the others find.
        self.source = self.world.host_first(
            lambda: sources.load(base_data(config.data), self.cache, say, self.stop.check)
        )
        with self.world.all_or_none():
            self._check_source()
        if self.request.published is None:
            self.statistics = self.world.decided_by_first(self._statistics)
        self.rescaling = rescaling(config.recipe.resize)
        self.curves = Curves(config.track.name if self.world.is_first else NONE, self.folder, say)

    def _check_source(self) -> None:
        """The run is named by what was known of its data when the command was given."""
        found, known = self.source.description, self.request.description
        if found == known:
            return
        name = self.request.config.data.name
        if found.left_out != known.left_out:
            raise RunError(
                f"data={name} now has {found.left_out} image files that cannot be decoded, and "
                f"{known.left_out} when the command was given: give it again"
            )
        raise RunError(
            f"data={name} has other images or classes than when the command was given: give it "
            "again"
        )

    def _statistics(self) -> Statistics:
        train, progress = self.source.train, self.request.config.progress
        return statistics(train, self.cache, self._key, progress, self.stop.check)

    @property
    def _key(self) -> str:
        """All that decides which images the ids of the data are, and when they were modified."""
        data, found = base_data(self.request.config.data), self.source.description
        return f"{data.name}-{data.channels}-{found.fingerprint}{found.times[:16]}"

    @property
    def full(self) -> layers.Net:
        """The run's configuration at the paper's size."""
        net = self.request.net
        return reading.at_full_size(
            self.request.config.arch, channels=net.channels, classes=net.classes
        )

    def net(self) -> VGG:
        """The run's net on its device; its weights are still to come."""
        net = VGG(self.request.net, self.request.config.recipe.dropout)
        return self.placed(net)

    def placed(self, net: VGG) -> VGG:
        """A net on the run's device, in its precision."""
        net.to(device=self.device, dtype=self.dtype)
        return net.to(memory_format=memory_format(self.request.config, self.device))

    @property
    def dtype(self) -> torch.dtype:
        """Of weights and inputs."""
        return torch.float64 if self.request.config.precision == "float64" else torch.float32

    @cached_property
    def prepare(self) -> Inputs:
        """Grey levels from the loader to the net's input (Section 3.1), on the device."""
        config, published = self.request.config, self.request.published
        layout = memory_format(config, self.device)
        if published is not None:
            return published.convention.inputs(self.device, self.dtype, layout)
        mean = self.statistics.mean
        return Inputs(
            mean if config.recipe.subtract_mean else (0.0,) * len(mean),
            config.recipe.input_range,
            self.device,
            self.dtype,
            layout,
        )

    def first_weights(self) -> VGG:
        """The net as training begins: by its seed and from the runs that it starts from."""
        request, config = self.request, self.request.config
        net = VGG(request.net, config.recipe.dropout)
        initialise(net, config.init.between, self.full, config.seed)
        if not self.world.is_first:
            # The first process's weights come when training starts.
            return self.placed(net)
        # The parent's weights, whole.
        net.to(self.dtype)
        if "scale" in request.parents:
            load_weights(net, request.parents["scale"].folder)
        elif "init" in request.parents:
            parent = VGG(request.parents["init"].net, config.recipe.dropout).to(self.dtype)
            load_weights(parent, request.parents["init"].folder)
            copy_layers(net, parent)
        return self.placed(net)

    def cached(self, train: Split) -> Split:
        """The training images from where they are kept decoded, if they are."""
        config = self.request.config
        side = config.data.cache_side
        if side is None:
            return train
        # What one process of a host makes, the others find.
        return self.world.host_first(
            lambda: prescaled(
                train,
                side,
                self.cache,
                self._key,
                workers=config.workers,
                progress=config.progress,
                check=self.stop.check,
            )
        )

    def error(self, net: VGG, split: Split) -> float:
        """Error (%) on centre crops at the one test scale."""
        config = self.request.config
        crop = config.size.crop
        side = pixels(single_q(config.scale), crop)
        return centre_error(net, split, side, crop, self.prepare, self.evaluation)

    @property
    def evaluation(self) -> EvaluationOptions:
        """How images are tested."""
        config = self.request.config
        return EvaluationOptions(
            batch=config.test_batch,
            workers=config.workers,
            rescaling=self.rescaling,
            world=self.world,
            say=say,
            check=self.stop.check,
        )

    def batches(self, train: Split) -> TrainingCrops:
        """This process's training crops."""
        config, crop = self.request.config, self.request.config.size.crop
        return TrainingCrops(
            train,
            smin=pixels(config.scale.smin, crop),
            smax=pixels(config.scale.smax, crop),
            crop=crop,
            mirror=config.data.mirror,
            batch=config.recipe.batch,
            seed=config.seed,
            workers=config.workers,
            colour=(self.statistics, config.recipe.colour_shift),
            rescaling=self.rescaling,
            own=self.world.rows,
            series=self.request.series,
        )
