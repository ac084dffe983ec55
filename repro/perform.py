"""One request becomes one finished run: its parents, its training, its views."""

from __future__ import annotations

import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from repro import environment
from repro.config import Config
from repro.data import sources
from repro.data.loader import TrainingCrops, normalise
from repro.data.picture import crops_picture
from repro.data.prescaled import prescaled
from repro.data.statistics import Statistics, statistics
from repro.data.whole import centre_crops
from repro.errors import RequestError, RunError
from repro.evaluate.views import centre_error, compute
from repro.nets.activations import rms
from repro.nets.init import copy_layers, initialise
from repro.nets.vgg import VGG
from repro.nets.weights import load_weights, weights
from repro.request import Request, base_data, resolve
from repro.spec import layers
from repro.spec.cost import cost
from repro.spec.scales import ONE_NUMBER, PAPER_CROP, View, pixels, single_q, views
from repro.store import views as stored
from repro.store.files import DAY, sweep
from repro.store.runs import ACTIVATIONS, FAILED, WEIGHTS, Folder, Watched, hold, read_result
from repro.train.chance import chance
from repro.train.checkpoint import GENERATIONS
from repro.train.distributed import world
from repro.train.interruption import Stop
from repro.train.loop import Outcome, Training

PICTURED = ((256, 256), (384, 384), (256, 512))
"""The training scales that the picture of crops shows, in paper pixels."""
FORWARD = 4
"""Images of the forward pass that measures activations."""


def say(line: str) -> None:
    """Print a line above any progress bar; of several processes the first one speaks."""
    if world().leads:
        tqdm.write(line, file=sys.stderr)


def perform(request: Request, stop: Stop) -> None:
    """Finish a run and, before it, the runs that it starts from.

    A failure is recorded in the run's folder and ends only this run.

    Raises:
        repro.train.interruption.Interrupted: asked to stop; what was done is saved.
    """
    with stop.listening():
        for member in request.lineage():
            done = member.finished() or _finish(member, stop)
            # Asked to stop after the last place where this run could.
            stop.check()
            if not done:
                break
    # Or between that and here.
    stop.check()


def work(config: Config, stop: Stop, folder: Folder | None = None) -> None:
    """The part of one process in finishing a run; the one that leads has the folder."""
    with environment.torch_settings(config):
        with world().together():
            request = resolve(config)
        world().agree(request.identity)
        with world().together():
            chosen = environment.device(config.device, world())
        with environment.reserved(chosen, Path(config.runs), say, stop.check) as device:
            Performance(request, folder or Watched(request.folder), stop, device).finish()


def _finish(request: Request, stop: Stop) -> bool:
    store = Path(request.config.runs)
    try:
        with hold(store, request.name, say, stop.check) as folder:
            try:
                request.check_folder()
                folder.begin()
                if not request.finished():
                    with world().leading(request.config):
                        work(request.config, stop, folder)
                return True
            except Exception as error:
                _record_failure(folder, error)
                raise
    except (RunError, RequestError) as error:
        say(f"{request.name} failed: {error}")
    except Exception:
        traceback.print_exc()
    if world().amid:
        # The others are somewhere in that run and can join no other.
        raise SystemExit(1)
    return False


def _record_failure(folder: Folder, error: Exception) -> None:
    known = isinstance(error, RunError | RequestError)
    reason = str(error) if known else f"{type(error).__name__}: {error}"
    try:
        folder.write_json(FAILED, {"reason": reason.splitlines()[0] if reason else "?"})
    except RunError:
        # A full disk cannot take the record of its being full.
        return


@dataclass
class Performance:
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
            lambda: sources.load(base_data(config.data), self.cache)
        )
        with self.world.together():
            self._check_left_out()
        self.statistics = self.world.led(self._statistics)
        self.square = config.recipe.resize == "square"

    def _check_left_out(self) -> None:
        """The run is named by what was known of its data, which may just have been downloaded."""
        found, known = self.source.left_out, self.request.description.left_out
        if found != known:
            raise RunError(
                f"data={self.request.config.data.name} now has {found} image files that cannot be "
                f"decoded, and {known} when the command was given: give it again"
            )

    def finish(self) -> None:
        """Train where that is not done, then compute the views that are missing."""
        result = self.world.led(self._begun)
        if result is None:
            result = self._train()
        for name in GENERATIONS:
            self.folder.remove(name)
        missing = self.world.led(self.request.missing_views)
        if result["outcome"] != "diverged" and missing:
            self._view(missing)
        with self.world.together():
            if self.world.leads and self.request.lacks_activations():
                self.folder.write(ACTIVATIONS, self._activations())
        if self.world.leads:
            self._summarise(result)

    def _begun(self) -> dict[str, Any] | None:
        """How training ended, or None and the folder is ready for it."""
        request = self.request
        # Others may be writing there now.
        sweep(self.cache, older=DAY)
        result = read_result(request.folder)
        if result is None:
            if not request.has_checkpoint():
                self.folder.forget()
            self.folder.write_config(request.config, request.record)
        return result

    def _statistics(self) -> Statistics:
        config, description = self.request.config, self.request.description
        key = f"{config.data.name}-{config.data.channels}-{description.fingerprint[:16]}"
        train, check = self.source.train, self.stop.check
        return statistics(train, self.cache, key, config.progress, check)

    def _net(self) -> VGG:
        net = VGG(self.request.net, self.request.config.recipe.dropout)
        return self._placed(net)

    def _placed(self, net: VGG) -> VGG:
        kind = torch.float64 if self.request.config.precision == "float64" else torch.float32
        net.to(device=self.device, dtype=kind)
        return net.to(memory_format=torch.channels_last)

    def _prepare(self, images: Tensor, shift: Tensor | None = None) -> Tensor:
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

    def _first_weights(self) -> VGG:
        request, config = self.request, self.request.config
        net = VGG(request.net, config.recipe.dropout)
        initialise(net, config.init.between, config.size.width, config.seed)
        if not self.world.leads:
            # The first process's weights come when training starts.
            return self._placed(net)
        if "scale" in request.parents:
            load_weights(net, request.parents["scale"].folder)
        elif "init" in request.parents:
            parent = VGG(request.parents["init"].net, config.recipe.dropout)
            load_weights(parent, request.parents["init"].folder)
            copy_layers(net, parent)
        return self._placed(net)

    def _train(self) -> dict[str, Any]:
        config, source = self.request.config, self.source
        with self.world.together():
            net = self._first_weights()
        say(f"{self.request.name} trains")
        if source.left_out:
            say(f"{source.left_out} image files cannot be decoded and are left out")
        crop = config.size.crop
        scales = [(pixels(a, crop), pixels(b, crop)) for a, b in PICTURED]
        with self.world.together():
            if self.world.leads:
                self.folder.write(
                    "crops.png", crops_picture(source.train, scales, crop, self.square)
                )
        train = self._cached(source.train.first(config.recipe.train_images))
        training = Training(
            net,
            self._batches(train),
            config,
            self.folder,
            self.stop,
            prepare=self._prepare,
            validate=lambda: self._error(net, source.validation),
            test=(lambda: self._error(net, source.test)) if config.recipe.test_each_epoch else None,
            chance=chance(train.labels, len(source.validation.images)),
            say=say,
            world=self.world,
        )
        outcome = training.run()
        result = self._result(outcome, training.chance.error)
        with self.world.together():
            if outcome.outcome != "diverged":
                self.folder.write(WEIGHTS, weights(net))
            self.folder.write_json("result.json", result)
        return result

    def _cached(self, train: sources.Split) -> sources.Split:
        """The training images from where they are kept decoded, if they are."""
        config, description = self.request.config, self.request.description
        data = base_data(config.data)
        if data.cache_side is None:
            return train
        key = f"{data.name}-{data.channels}-{description.fingerprint}"
        how: dict[str, Any] = {"workers": config.workers, "progress": config.progress}
        side = data.cache_side
        # What one process of a host makes, the others find.
        return self.world.host_first(
            lambda: prescaled(train, side, self.cache, key, check=self.stop.check, **how)
        )

    def _error(self, net: VGG, split: sources.Split) -> float:
        """Error (%) on centre crops at the one test scale."""
        config = self.request.config
        crop = config.size.crop
        side = pixels(single_q(config.scale), crop)
        how: dict[str, Any] = {"batch": config.test_batch, "workers": config.workers, "say": say}
        how |= {"square": self.square, "world": self.world, "check": self.stop.check}
        return centre_error(net, split, side, crop, self._prepare, **how)

    def _batches(self, train: sources.Split) -> TrainingCrops:
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

    def _result(self, outcome: Outcome, chance_error: float) -> dict[str, Any]:
        request, source, place = self.request, self.source, outcome.place
        last = place.rows[-1] if place.rows else {}
        return {
            "schema": 1,
            "name": request.name,
            **request.record,
            "outcome": outcome.outcome,
            "reason": outcome.reason,
            "epochs": place.epoch,
            "iterations": place.iteration,
            "validation_error": last.get("validation_error"),
            "train_error": last.get("train_error"),
            "train_loss": last.get("train_loss"),
            "chance_error": chance_error,
            "seconds": round(place.seconds, 2),
            "images_per_second": last.get("images_per_second"),
            "parameters": cost(request.net).parameters,
            "data": {
                "train": len(source.train.images),
                "validation": len(source.validation.images),
                "test": len(source.test.images),
                "classes": request.net.classes,
                "smallest_side": _smallest_side(source.test),
                "mean": list(self.statistics.mean),
                "validation_is_test": source.validation_is_test,
                "left_out": source.left_out,
            },
            "environment": environment.describe(request.config, self.device, self.world),
        }

    def _activations(self) -> bytes:
        """RMS after each layer before training: of this net, and of its kind at full width.

        Layers copied from another net are known at this run's width only.
        """
        request, config = self.request, self.request.config
        rows = ["net,layer,rms"]
        nets = {"as run": self._first_weights()}
        if config.init.copy_from is None:
            full = layers.read(
                config.arch,
                width=1,
                crop=PAPER_CROP,
                channels=config.data.channels,
                classes=request.net.classes,
            )
            nets["full width"] = VGG(full, config.recipe.dropout)
            initialise(nets["full width"], config.init.between, 1, config.seed)
            self._placed(nets["full width"])
        for name, net in nets.items():
            side, crop = pixels(single_q(config.scale), net.spec.crop), net.spec.crop
            few = self.source.train.first(FORWARD)
            _, images = next(centre_crops(few, side, crop, FORWARD, square=self.square))
            rows += [
                f"{name},{layer},{value:.6g}" for layer, value in rms(net, self._prepare(images))
            ]
        return ("\n".join(rows) + "\n").encode()

    def _view(self, missing: list[View]) -> None:
        config, test = self.request.config, self.source.test
        net = self._net().eval()
        self.world.led(lambda: load_weights(net, self.request.folder))
        self.world.level(net)
        how: dict[str, Any] = {"batch": config.test_batch, "workers": config.workers}
        how |= {"square": self.square, "world": self.world, "say": say}
        how["check"] = self.stop.check
        bar = tqdm(missing, unit="view", disable=not config.progress or None)
        for view in bar:
            bar.set_description(f"{config.arch.name} {view.name}")
            if damage := stored.damage(stored.path(self.request.folder, view)):
                say(damage)
            self.world.check_stop(self.stop)
            posteriors = compute(net, view, test, self._prepare, **how)
            with self.world.together():
                if self.world.leads:
                    self.folder.write(f"views/{view.name}.npz", stored.encode(posteriors))

    def _summarise(self, result: dict[str, Any]) -> None:
        config, line = self.request.config, f"{self.request.name}: {result['outcome']}"
        if result["outcome"] != "trained":
            line += f" ({result['reason']})"
        if result["validation_error"] is not None:
            line += f", validation error {result['validation_error']:.1f}%"
        for protocol in ONE_NUMBER:
            wanted = views(protocol, config.scale, config.data.mirror)
            posteriors = stored.mean_of(self.request.folder, wanted)
            if posteriors is not None:
                low, error, high = stored.interval(stored.wrong(posteriors, 1))
                line += f"; {protocol} test error {error:.1f}% [{low:.1f}; {high:.1f}]"
        print(line)


def _smallest_side(test: sources.Split) -> int:
    """Median of the smaller sides of (at most a thousand of) the images, in pixels."""
    return int(np.median(test.first(1000).images.sizes().min(axis=1)))
