"""What training and testing a run share: its data, its device, the way from images to the net."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from tqdm import tqdm

from repro.data import sources
from repro.data.inputs import Inputs
from repro.data.loader import TrainingCrops
from repro.data.split import Split
from repro.data.statistics import statistics
from repro.errors import RunError
from repro.model import layers, reading
from repro.model.init import copy_layers, initialise
from repro.model.vgg import VGG, load_weights
from repro.protocol.rescaling import rescaling
from repro.protocol.scales import pixels, single_q
from repro.run.device import memory_format
from repro.run.distributed import process_group
from repro.run.interruption import Stop
from repro.run.request import Request, base_data
from repro.run.views import EvaluationOptions, centre_error
from repro.store.folder import Folder


def say(line: str) -> None:
    """Print a line above any progress bar; of several processes the first one speaks."""
    if process_group().is_first:
        tqdm.write(line, file=sys.stderr)


class Setup:
    """A run's data and device, and what is made of its configuration there."""

    def __init__(self, request: Request, folder: Folder, stop: Stop, device: torch.device) -> None:
        """
        Raises:
            RunError: the data cannot be read, or are not those of the request.
        """
        self.request, self.folder, self.stop, self.device = request, folder, stop, device
        self.config, self.world = request.config, process_group()
        self.cache = Path(self.config.runs) / ".cache"
        self.rescaling = rescaling(self.config.recipe.resize)
        # What one process of a host downloads, the others find.
        self.source = self.world.host_first(
            lambda: sources.load(base_data(self.config.data), self.cache, say, stop.check)
        )
        self._check_source()
        self.dtype = torch.float64 if self.config.precision == "float64" else torch.float32
        layout = memory_format(self.config, device)
        if request.published is not None:
            self.prepare = request.published.convention.inputs(device, self.dtype, layout)
        else:
            self.statistics = self.world.decided_by_first(
                lambda: statistics(
                    self.source.train,
                    self.cache,
                    self._key,
                    self.config.progress,
                    stop.check,
                    self.config.workers,
                )
            )
            mean, recipe = self.statistics.mean, self.config.recipe
            mean = mean if recipe.subtract_mean else (0.0,) * len(mean)
            self.prepare = Inputs(mean, recipe.input_range, device, self.dtype, layout)
        self.evaluation = EvaluationOptions(
            batch=self.config.test_batch,
            workers=self.config.workers,
            rescaling=self.rescaling,
            world=self.world,
            say=say,
            check=stop.check,
        )

    def _check_source(self) -> None:
        """The run is named by what was known of its data when the command was given."""
        found, known = self.source.description, self.request.description
        what = "other images or classes than"
        if found.left_out != known.left_out:
            what = f"{found.left_out} image files that cannot be decoded, not {known.left_out} as"
        if found != known:
            name = self.config.data.name
            raise RunError(f"data={name} has {what} when the command was given: give it again")

    @property
    def _key(self) -> str:
        """All that decides which images the ids of the data are, and when they were modified."""
        data, found = base_data(self.config.data), self.source.description
        return f"{data.name}-{data.channels}-{found.fingerprint}{found.times[:16]}"

    @property
    def full(self) -> layers.Net:
        """The run's configuration at the paper's size."""
        net = self.request.net
        return reading.at_full_size(self.config.arch, channels=net.channels, classes=net.classes)

    def net(self, spec: layers.Net | None = None) -> VGG:
        """A net on the processor, in the run's precision; None: the run's own."""
        return VGG(spec or self.request.net, self.config.recipe.dropout).to(self.dtype)

    def placed(self, net: VGG) -> VGG:
        """A net on the run's device, in its layout of memory."""
        return net.to(self.device).to(memory_format=memory_format(self.config, self.device))

    def first_weights(self, spec: layers.Net | None = None) -> VGG:
        """The net as training begins: by its seed and from the runs that it starts from.

        Args:
            spec: another net, initialised as this one is; None: the run's own.
        """
        net = VGG(spec or self.request.net, self.config.recipe.dropout)
        initialise(net, self.config.init.between, self.full, self.config.seed)
        net.to(self.dtype)
        # Other processes are given the first one's weights as training starts.
        if spec is None and self.world.is_first:
            for role, parent in self.request.parents.items():
                if role == "scale":
                    load_weights(net, parent.folder)
                else:
                    other = self.net(parent.net)
                    load_weights(other, parent.folder)
                    copy_layers(net, other)
        return self.placed(net)

    def error(self, net: VGG, split: Split) -> float:
        """Error (%) on centre crops at the one test scale."""
        crop = self.config.size.crop
        side = pixels(single_q(self.config.scale), crop)
        return centre_error(net, split, side, crop, self.prepare, self.evaluation)

    def batches(self) -> TrainingCrops:
        """This process's training crops."""
        config, crop = self.config, self.config.size.crop
        return TrainingCrops(
            self.source.train.spread(config.recipe.train_images),
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
