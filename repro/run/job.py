"""One job, read from top to bottom: a run is trained and tested."""

import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from repro.config.way_in import show
from repro.data import sources
from repro.data.inputs import Inputs
from repro.data.loader import EvaluationBatches, TrainingCrops, crops_picture
from repro.data.rescale import Rescaling
from repro.data.split import Counts, Split
from repro.data.statistics import Statistics, sampled, statistics
from repro.errors import RunError
from repro.model.cost import cost
from repro.model.init import copy_all_but_last, copy_layers, initialise
from repro.model.reading import spec_of
from repro.model.vgg import VGG, encoded, load_weights
from repro.protocol.boxes import Floats, constants
from repro.protocol.protocols import KINDS, View
from repro.protocol.scales import PICTURED, pixels, single_q
from repro.run import boxes
from repro.run.device import dtype_of, memory_format
from repro.run.distributed import process_group
from repro.run.environment import describe
from repro.run.interruption import Stop
from repro.run.loop import Training, classification
from repro.run.progress import Chance
from repro.run.request import Request, summary, test_errors
from repro.run.transfer import score
from repro.run.views import EvaluationOptions, centre_error, compute, describe_images
from repro.run.weights import read_again
from repro.store import boxes as stored_boxes
from repro.store import views as stored
from repro.store.expected import Expected, ListedImages, sha256
from repro.store.files import DAY, remove_leftovers
from repro.store.folder import Folder
from repro.store.identity import PUBLISHED, unlabelled
from repro.store.runs import CACHE, CHECKPOINTS, CROPS, RESULT, WEIGHTS, read_result
from repro.track.curves import NONE, Curves

FROM = "from_"
"""How the keys of `digests` begin that are of the weights that a net began from."""


def say(line: str) -> None:
    """Print a line above any progress bar; of several processes the first one speaks."""
    if process_group().is_first:
        # What cannot be said, as to a file on a full disk, is no reason to stop.
        with suppress(OSError):
            tqdm.write(line, file=sys.stderr)


class Job:
    """One run on its device, from whatever is done of it to its end."""

    def __init__(self, request: Request, folder: Folder, stop: Stop, device: torch.device) -> None:
        """A RunError says that the data cannot be read, or are not those of the request."""
        self.request, self.folder, self.stop, self.device = request, folder, stop, device
        self.config, self.world = request.config, process_group()
        config, world, self.cache = self.config, self.world, Path(self.config.runs) / CACHE
        data = unlabelled(config.data)
        # What one process of a host downloads, the others find.
        self.source = world.host_first(lambda: sources.load(data, self.cache, say, stop.check))
        if self.source.description != request.description:
            said = "has other images or classes than when the command was given: give it again"
            raise RunError(f"data={config.data.name} {said}")
        test = self.source.test
        self.digests = {"test_images": ListedImages.of(test.ids, test.labels).digest}
        self.digests |= {"boxes": stored_boxes.digest(*test.truth)} if config.locates else {}
        self.dtype, layout = dtype_of(config), memory_format(config, device)
        if request.published is not None:
            self.prepare = request.published.convention.inputs(device, self.dtype, layout)
        else:
            found = self.source.description
            seen = f"{found.fingerprint}{found.times[:16]}-{data.enlarge}"
            key = f"{data.name}-{data.channels}-{seen}"
            words = (self.cache, key, config.progress, stop.check, config.workers)
            self.statistics = world.decided_by_first(lambda: self._statistics(*words))
            mean, recipe = self.statistics.mean, config.recipe
            mean = mean if recipe.subtract_mean else (0.0,) * len(mean)
            self.prepare = Inputs(mean, recipe.input_range, device, self.dtype, layout)
        self.evaluation = EvaluationOptions(
            prepare=self.prepare,
            batch=config.test_batch,
            precision=config.usual_test_precision,
            workers=config.workers,
            rescaling=Rescaling(config.recipe.resize == "square"),
            world=world,
            say=say,
            check=stop.check,
        )

    def _statistics(self, *words: Any) -> Statistics:
        """The mean and the components of the colours; of a net that is trained its own mean."""
        result = read_result(self.request.folder)
        mean = None if result is None else result["data"].get("mean")
        return statistics(self.source.train, *words) if mean is None else Statistics(tuple(mean))

    def train_and_test(self) -> None:
        """Train where that is not done, then compute the views that are missing."""
        request, track = self.request, self.config.track.name
        curves = Curves(track if self.world.is_first else NONE, self.folder, self.config, say)
        result = self.world.decided_by_first(self._begun)
        if result is None:
            result = self._train(curves) if request.published is None else self._take()
        for name in CHECKPOINTS:
            self.folder.remove(name)
        tested = self._tested(result)
        missing = self.world.decided_by_first(lambda: request.missing_views(tested))
        if result["outcome"] != "diverged" and missing:
            self._view(missing, tested)
        if self.world.is_first:
            score(request, tested, self.source.test, self.folder, self.stop.check)
            curves.follow(partial(test_errors, request, tested))
            show(summary(request), goes_on=True)
        # The others wait until all is written.
        self.world.decided_by_first(lambda: None)

    def _begun(self) -> dict[str, Any] | None:
        """How training ended, or None and the folder is ready for it."""
        request = self.request
        # Others may be writing there now.
        remove_leftovers(self.cache, older=DAY)
        result = read_result(request.folder)
        if result is None:
            if not request.has_checkpoint():
                self.folder.forget()
            self.folder.write_config(request.config, request.record)
        return result

    def _train(self, curves: Curves) -> dict[str, Any]:
        """Train by Section 3.1; how it ended, as `result.json` says."""
        config, source, crop = self.config, self.source, self.config.size.crop
        (net, origins), batches = self._first_weights(), self._batches()
        say(f"{self.request.name} trains")
        if source.description.left_out:
            say(f"{source.description.left_out} image files cannot be decoded and are left out")
        if self.world.is_first:
            scales = [(pixels(a, crop), pixels(b, crop)) for a, b in PICTURED]
            how = self.evaluation.rescaling
            self.folder.write(CROPS, crops_picture(source.train, scales, crop, how))
        images = len(source.validation.images)
        chance = Chance.of(batches.split.labels, images)
        if config.locates:
            chance = Chance.at(boxes.constant_error(source.train), images)
        # Each epoch validates on the same batches.
        kept: dict[Any, EvaluationBatches] = {}
        each = replace(self.evaluation, kept=kept)
        test = partial(self._error, net, source.test, each)
        training = Training(
            net,
            batches,
            config,
            self.folder,
            self.stop,
            prepare=self.prepare,
            validate=partial(self._error, net, source.validation, each),
            test=test if config.recipe.test_each_epoch else None,
            chance=chance,
            objective=boxes.regression if config.locates else classification,
            say=say,
            note=curves.follow,
            world=self.world,
            origins=origins,
        )
        outcome = training.run()
        self.digests |= training.origins
        # Their workers end.
        kept.clear()
        content = None if outcome.outcome == "diverged" else encoded(net)
        return self._ended(content, outcome.record)

    def _first_weights(self) -> tuple[VGG, dict[str, str]]:
        """The net as training begins: by its seed and from the runs that it starts from.

        Beside it the digests of their weights, by role.
        """
        config, spec = self.config, self.request.net
        net = VGG(spec, config.recipe.dropout)
        full = spec_of(config.arch, channels=spec.channels, classes=spec.classes)
        initialise(net, config.init.between, full, config.seed)
        net.to(self.dtype)
        origins = {}
        # Other processes are given the first one's weights as training starts.
        for role, parent in self.request.parents.items() if self.world.is_first else ():
            other = net if role == "scale" else VGG(parent.net, 0.0).to(self.dtype)
            origins[f"{FROM}{role}"] = load_weights(other, parent.folder)
            if other is not net:
                (copy_all_but_last if role == "boxes" else copy_layers)(net, other)
        return self._placed(net), origins

    def _placed(self, net: VGG) -> VGG:
        return net.to(self.device).to(memory_format=memory_format(self.config, self.device))

    def _stored(self, request: Request) -> tuple[VGG, str]:
        """The net of a run that is trained, to be tested, and the digest of its weights."""
        net = self._placed(VGG(request.net, 0.0).to(self.dtype)).eval()
        digest = self.world.decided_by_first(lambda: load_weights(net, request.folder))
        self.world.broadcast_state(net)
        return net, digest

    @cached_property
    def _scorer(self) -> VGG:
        """The classification net of a run that locates; a RunError: it began from another."""
        parent, folder = self.request.parents["boxes"], self.request.folder
        net, digest = self._stored(parent)
        own = self.world.decided_by_first(lambda: read_result(folder)) or {}
        if own.get("digests", {}).get(f"{FROM}boxes") not in (None, digest):
            said = (
                f"{parent.folder} is another net than the one that {self.request.name} began from"
            )
            raise RunError(f"{said}: put that back, or remove both folders")
        return net

    @cached_property
    def _constants(self) -> Floats:
        train, classes = self.source.train, self.request.description.classes
        return constants(*train.truth, train.labels, classes)

    def _batches(self) -> TrainingCrops:
        """This process's training crops."""
        config, crop = self.config, self.config.size.crop
        return TrainingCrops(
            self.source.train.trained_on(config.recipe.train_images),
            smin=pixels(config.scale.smin, crop),
            smax=pixels(config.scale.smax, crop),
            crop=crop,
            mirror=config.data.mirror,
            batch=config.recipe.batch,
            seed=config.seed,
            workers=config.workers,
            colour=(self.statistics, config.recipe.colour_shift),
            rescaling=self.evaluation.rescaling,
            own=self.world.rows,
            series=self.request.series,
            device=self.device if config.data.on_device else None,
        )

    def _error(self, net: VGG, split: Split, options: EvaluationOptions) -> float:
        """Error (%) on centre crops at the one test scale."""
        side = pixels(single_q(self.config.scale), self.config.size.crop)
        if self.config.locates:
            return boxes.centre_error(net, split, side, options)
        return centre_error(net, split, side, options)

    def _take(self) -> dict[str, Any]:
        """Take a net that others trained for one that has ended its training here."""
        published = self.request.published
        assert published is not None
        say(f"{self.request.name} is not trained: {published.words}")
        with torch.device("meta"):
            net = VGG(self.request.net, 0.0)
        if self.world.is_first:
            names = self.request.description.names
            found = read_again(published, self.config, self.request.net, names)
            # The file's own memory, not a copy.
            net.load_state_dict(dict(found.tensors), assign=True)
        ended = {"outcome": PUBLISHED, "reason": published.words, "epochs": 0, "iterations": 0}
        ended |= {"validation_error": None, "seconds": 0, "images_per_second": None}
        return self._ended(encoded(net) if self.world.is_first else None, ended)

    def _ended(self, content: bytes | None, ended: Mapping[str, Any]) -> dict[str, Any]:
        """Write the weights, if there are any, and last how they came to be."""

        def written() -> dict[str, Any]:
            result = self._result(content, ended)
            if content is not None:
                self.folder.write(WEIGHTS, content)
            return self.folder.write_result(result)

        return self.world.decided_by_first(written)

    def _result(self, content: bytes | None, ended: Mapping[str, Any]) -> dict[str, Any]:
        request, source = self.request, self.source
        mean: dict[str, Any] = {}
        if request.published is None:
            mean["mean"] = list(self.statistics.mean)
            mean["mean_of"] = len(sampled(source.train).images)
        sides = source.test.spread(1000).images.sizes().min(axis=1)
        return {
            "schema": 1,
            "name": request.name,
            **request.record,
            **ended,
            "parameters": cost(request.net).parameters,
            "digests": self.digests | ({} if content is None else {"weights": sha256(content)}),
            "data": {
                **{part: len(getattr(source, part).images) for part in Counts._fields},
                "classes": request.description.classes,
                "class_names": list(source.classes),
                "smallest_side": int(np.median(sides)),
                **mean,
                "validation_is_test": source.validation_is_test,
                "left_out": source.description.left_out,
                **({"odd_boxes": odd} if (odd := source.description.odd_boxes) else {}),
            },
            "environment": describe(request.config, self.device, self.world),
        }

    def _tested(self, result: dict[str, Any]) -> Expected:
        """The images and weights that the views must be of, by the data at hand and by training."""
        test, known, listed = self.source.test, Expected.of(result), self.digests["test_images"]
        if known.listed not in (None, listed) or known.boxes != self.digests.get("boxes"):
            place, name = self.request.folder / RESULT, self.config.data.name
            raise RunError(
                f"{place} is of other test images or boxes than data={name}: move it away"
            )
        classes = self.request.description.classes
        return replace(known, images=len(test.ids), classes=classes, listed=listed)

    def _view(self, missing: list[View], tested: Expected) -> None:
        """Compute the views that are missing, with the net as training left it."""
        net, _ = self._stored(self.request)
        bar = tqdm(missing, unit="view", disable=not self.config.progress or None)
        for view in bar:
            bar.set_description(f"{self.config.arch.name} {view.name}")
            if damage := stored.damage(stored.path(self.request.folder, view), tested):
                say(damage)
            self.world.check_stop(self.stop)
            content = self._content(net, view, tested.weights)
            self.folder.write(str(stored.path(Path(), view)), content)

    def _content(self, net: VGG, view: View, weights: str | None) -> bytes:
        """A view, computed, as its file has it."""
        common = (view, self.source.test, self.evaluation)
        if not KINDS[view.kind].boxes:
            look = describe_images if self.config.data.transfer else compute
            return stored.encode(look(net, *common), weights, view.name)
        found = boxes.compute(net, lambda: self._scorer, self._constants, *common)
        return stored_boxes.encode(found, weights, view.name)
