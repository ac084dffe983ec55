"""What training and testing a run share: its data, its device, the way from images to the net."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from repro.arch import layers
from repro.data import sources
from repro.data.loader import TrainingCrops, normalise
from repro.data.prescaled import prescaled
from repro.data.split import Split
from repro.data.statistics import Statistics, statistics
from repro.errors import RunError
from repro.evaluate.views import centre_error
from repro.experiment.request import Request, base_data
from repro.nets.init import copy_layers, initialise
from repro.nets.vgg import VGG
from repro.nets.weights import load_weights
from repro.process.distributed import world
from repro.process.interruption import Stop
from repro.protocol.scales import pixels, single_q
from repro.store.runs import Folder
from repro.track.curves import Curves
from repro.track.trackers import NONE


def say(line: str) -> None:
    """Print a line above any progress bar; of several processes the first one speaks."""
    if world().leads:
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
        self.world = world()
        self.cache = Path(config.runs) / ".cache"
        # What one process of a host downloads, the others find.
        self.source = self.world.host_first(
            lambda: sources.load(base_data(config.data), self.cache, say, self.stop.check)
        )
        with self.world.together():
            self._check_source()
        self.statistics = self.world.led(self._statistics)
        self.square = config.recipe.resize == "square"
        self.curves = Curves(config.track.name if self.world.leads else NONE, self.folder, say)

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
        """All that decides which images the ids of the data are."""
        data = base_data(self.request.config.data)
        return f"{data.name}-{data.channels}-{self.request.description.fingerprint}"

    @property
    def full(self) -> layers.Net:
        """The run's configuration at the paper's size."""
        net = self.request.net
        return layers.at_full_size(
            self.request.config.arch, channels=net.channels, classes=net.classes
        )

    def net(self) -> VGG:
        """The run's net on its device; its weights are still to come."""
        net = VGG(self.request.net, self.request.config.recipe.dropout)
        return self.placed(net)

    def placed(self, net: VGG) -> VGG:
        """A net on the run's device, in its precision."""
        kind = torch.float64 if self.request.config.precision == "float64" else torch.float32
        net.to(device=self.device, dtype=kind)
        return net.to(memory_format=torch.channels_last)

    def prepare(self, images: Tensor, shift: Tensor | None = None) -> Tensor:
        """Grey levels from the loader to the net's input (Section 3.1), on the device."""
        config = self.request.config
        images = images.to(self.device, non_blocking=True)
        if shift is not None:
            shift = shift.to(self.device, non_blocking=True)
        mean = self.statistics.mean
        if not config.recipe.subtract_mean:
            mean = (0.0,) * len(mean)
        values = normalise(images, mean, config.recipe.input_range, shift)
        if config.precision == "float64":
            values = values.double()
        return values.contiguous(memory_format=torch.channels_last)

    def first_weights(self) -> VGG:
        """The net as training begins: by its seed and from the runs that it starts from."""
        request, config = self.request, self.request.config
        net = VGG(request.net, config.recipe.dropout)
        initialise(net, config.init.between, self.full, config.seed)
        if not self.world.leads:
            # The first process's weights come when training starts.
            return self.placed(net)
        if "scale" in request.parents:
            load_weights(net, request.parents["scale"].folder)
        elif "init" in request.parents:
            parent = VGG(request.parents["init"].net, config.recipe.dropout)
            load_weights(parent, request.parents["init"].folder)
            copy_layers(net, parent)
        return self.placed(net)

    def cached(self, train: Split) -> Split:
        """The training images from where they are kept decoded, if they are."""
        config = self.request.config
        side = config.data.cache_side
        if side is None:
            return train
        how: dict[str, Any] = {"workers": config.workers, "progress": config.progress}
        # What one process of a host makes, the others find.
        return self.world.host_first(
            lambda: prescaled(train, side, self.cache, self._key, check=self.stop.check, **how)
        )

    def error(self, net: VGG, split: Split) -> float:
        """Error (%) on centre crops at the one test scale."""
        config = self.request.config
        crop = config.size.crop
        side = pixels(single_q(config.scale), crop)
        how: dict[str, Any] = {"batch": config.test_batch, "workers": config.workers, "say": say}
        how |= {"square": self.square, "world": self.world, "check": self.stop.check}
        return centre_error(net, split, side, crop, self.prepare, **how)

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
            square=self.square,
            own=self.world.rows,
        )
