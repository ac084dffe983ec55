"""One job, read from top to bottom: a request becomes a finished run, trained and tested.

`perform` does the runs that a request starts from and then its own, each in its folder, which it
holds, and on a device. `Job.train_and_test` does what is missing of one of them.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from repro.data.loader import centre_crops, crops_picture
from repro.data.split import Split
from repro.data.statistics import looked_at
from repro.errors import RequestError, RunError
from repro.model.cost import cost
from repro.model.vgg import VGG, load_weights, rms, weights
from repro.protocol.protocols import View
from repro.protocol.scales import PICTURED, pixels, single_q
from repro.run import environment
from repro.run.device import pick, reserved, torch_settings
from repro.run.distributed import process_group
from repro.run.interruption import Stop
from repro.run.loop import Training
from repro.run.progress import Chance, Outcome
from repro.run.request import Request
from repro.run.setup import Setup, say
from repro.run.summary import summary, test_errors
from repro.run.views import compute
from repro.run.weights import read_again
from repro.store import views as stored
from repro.store.expected import Expected, ListedImages, sha256
from repro.store.files import DAY, remove_leftovers
from repro.store.folder import Folder, Watched, hold
from repro.store.identity import PUBLISHED
from repro.store.runs import ACTIVATIONS, CHECKPOINTS, CROPS, FAILED, RESULT, WEIGHTS, read_result
from repro.track.curves import Curves
from repro.track.trackers import NONE

FORWARD = 4
"""Images of the forward pass that measures activations."""


def perform(request: Request, stop: Stop) -> None:
    """Finish a run and, before it, the runs that it starts from.

    A failure is recorded in the run's folder and ends only this run; where torchrun's processes
    train it together, all of them.

    Raises:
        repro.run.interruption.Interrupted: asked to stop; what was done is saved.
    """
    world = process_group()
    with stop.listening():
        for member in request.lineage():
            done = world.decided_by_first(member.finished) or _in_folder(member, stop)
            # Asked to stop after the last place where this run could.
            world.check_stop(stop)
            if not done:
                break
    # Or between that and here.
    stop.check()


def _in_folder(request: Request, stop: Stop) -> bool:
    """Hold a run's folder and do what is missing; whether that succeeded."""
    world, store = process_group(), Path(request.config.runs)
    held = hold(store, request.name, say, stop.check)
    try:
        with held if world.is_first else nullcontext(Watched(request.folder)) as folder:
            try:
                if world.is_first:
                    request.check_folder()
                    folder.begin()
                # Another process may have finished it while this one waited.
                if not world.decided_by_first(request.finished):
                    world.check_same_run(request.identity)
                    _on_device(request, folder, stop)
                return True
            except Exception as error:
                _record_failure(folder, error)
                raise
    except (RunError, RequestError) as error:
        where = f" (in process {world.rank} of {world.size})" if world.rank else ""
        tqdm.write(f"{request.name} failed: {error}{where}", file=sys.stderr)
    except Exception:
        traceback.print_exc()
    if world.size > 1:
        # The others are somewhere in this run and can join no other.
        raise SystemExit(1)
    return False


def _on_device(request: Request, folder: Folder, stop: Stop) -> None:
    config, world = request.config, process_group()
    config.progress &= world.is_first
    with torch_settings(config):
        chosen = pick(config.device, world)
        with reserved(chosen, Path(config.runs), say, stop.check) as device:
            job = Job(request, folder, stop, device)
            with Curves(config.track.name if world.is_first else NONE, folder, say) as curves:
                job.train_and_test(curves)


def _record_failure(folder: Folder, error: Exception) -> None:
    known = isinstance(error, RunError | RequestError)
    reason = str(error) if known else f"{type(error).__name__}: {error}"
    try:
        folder.write_json(FAILED, {"reason": reason.splitlines()[0] if reason else "?"})
    except RunError:
        # A full disk cannot take the record of its being full.
        return


class Job(Setup):
    """One run on its device, from whatever is done of it to its end."""

    def train_and_test(self, curves: Curves) -> None:
        """Train where that is not done, then compute the views that are missing."""
        request = self.request
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
            if request.lacks_activations():
                self.folder.write(ACTIVATIONS, self._activations())
            curves.test(test_errors(request))
            print(summary(request))
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
        config, source, net = self.config, self.source, self.first_weights()
        say(f"{self.request.name} trains")
        if source.description.left_out:
            say(f"{source.description.left_out} image files cannot be decoded and are left out")
        crop = config.size.crop
        scales = [(pixels(a, crop), pixels(b, crop)) for a, b in PICTURED]
        if self.world.is_first:
            self.folder.write(CROPS, crops_picture(source.train, scales, crop, self.rescaling))
        batches = self.batches()
        chance = Chance.of(batches.split.labels, len(source.validation.images))
        outcome = Training(
            net,
            batches,
            config,
            self.folder,
            self.stop,
            prepare=self.prepare,
            validate=lambda: self.error(net, source.validation),
            test=(lambda: self.error(net, source.test)) if config.recipe.test_each_epoch else None,
            chance=chance,
            say=say,
            note=curves.follow,
            world=self.world,
        ).run()
        content = None if outcome.outcome == "diverged" else weights(net)
        return self._ended(content, _trained(outcome, chance))

    def _take(self) -> dict[str, Any]:
        """Take a net that others trained for one that has ended its training here."""
        published = self.request.published
        assert published is not None
        say(f"{self.request.name} is not trained: {published.words}")
        with torch.device("meta"):
            net = VGG(self.request.net, 0.0)
        if self.world.is_first:
            found = read_again(published, self.config, self.request.net)
            # The file's own memory, not a copy.
            net.load_state_dict(dict(found.tensors), assign=True)
        ended: dict[str, Any] = {
            "outcome": PUBLISHED,
            "reason": published.words,
            "epochs": 0,
            "iterations": 0,
            "validation_error": None,
            "seconds": 0,
            "images_per_second": None,
        }
        return self._ended(weights(net) if self.world.is_first else None, ended)

    def _ended(self, content: bytes | None, ended: Mapping[str, Any]) -> dict[str, Any]:
        """Write the weights, if there are any, and last how they came to be."""

        def written() -> dict[str, Any]:
            result = self._result(content, ended)
            if content is not None:
                self.folder.write(WEIGHTS, content)
            return self.folder.write_result(result)

        return self.world.decided_by_first(written)

    @cached_property
    def _listed(self) -> str:
        """The digest of the test images at hand, of which there may be 50,000."""
        return ListedImages.of(self.source.test.ids, self.source.test.labels).digest

    def _tested(self, result: dict[str, Any]) -> Expected:
        """What the views must be of, by the data at hand and the weights that training left."""
        test, known = self.source.test, Expected.of(result)
        if known.listed not in (None, self._listed):
            raise RunError(
                f"{self.request.folder / RESULT} was written beside other test images than "
                f"data={self.config.data.name} has now: move the run's folder away"
            )
        classes = self.request.net.classes
        return replace(known, images=len(test.ids), classes=classes, listed=self._listed)

    def _result(self, content: bytes | None, ended: Mapping[str, Any]) -> dict[str, Any]:
        request, source = self.request, self.source
        mean: dict[str, Any] = {}
        if request.published is None:
            mean["mean"] = list(self.statistics.mean)
            mean["mean_of"] = len(looked_at(source.train).images)
        return {
            "schema": 1,
            "name": request.name,
            **request.record,
            **ended,
            "parameters": cost(request.net).parameters,
            "digests": {"test_images": self._listed}
            | ({} if content is None else {"weights": sha256(content)}),
            "data": {
                "train": len(source.train.images),
                "validation": len(source.validation.images),
                "test": len(source.test.images),
                "classes": request.net.classes,
                "class_names": list(source.classes),
                "smallest_side": _smallest_side(source.test),
                **mean,
                "validation_is_test": source.validation_is_test,
                "left_out": source.description.left_out,
            },
            "environment": environment.describe(request.config, self.device, self.world),
        }

    def _tested_net(self) -> VGG:
        """The net as the run left it, in evaluation mode, in every process."""
        net = self.placed(self.net()).eval()
        self.world.decided_by_first(lambda: load_weights(net, self.request.folder))
        self.world.broadcast_state(net)
        return net

    def _view(self, missing: list[View], tested: Expected) -> None:
        test, net = self.source.test, self._tested_net()
        bar = tqdm(missing, unit="view", disable=not self.config.progress or None)
        for view in bar:
            bar.set_description(f"{self.config.arch.name} {view.name}")
            file = stored.path(self.request.folder, view)
            if damage := stored.damage(file, tested):
                say(damage)
            self.world.check_stop(self.stop)
            posteriors = compute(net, view, test, self.prepare, self.evaluation)
            self.folder.write(
                f"views/{view.name}.npz", stored.encode(posteriors, tested.weights, view.name)
            )

    def _activations(self) -> bytes:
        """RMS after each layer before training: of this net, and of its kind at full width.

        Layers copied from another net are known at this run's width only.
        """
        rows = ["net,layer,rms"]
        nets = {"as run": self.first_weights()}
        if self.config.init.copy_from is None:
            nets["full width"] = self.first_weights(self.full)
        for name, net in nets.items():
            side, crop = pixels(single_q(self.config.scale), net.spec.crop), net.spec.crop
            few = self.source.train.spread(FORWARD)
            _, images = next(centre_crops(few, side, crop, FORWARD, rescaling=self.rescaling))
            rows += [
                f"{name},{layer},{value:.6g}" for layer, value in rms(net, self.prepare(images))
            ]
        return ("\n".join(rows) + "\n").encode()


def _trained(outcome: Outcome, chance: Chance) -> dict[str, Any]:
    progress = outcome.progress
    last = progress.rows[-1] if progress.rows else {}
    return {
        "outcome": outcome.outcome,
        "reason": outcome.reason,
        "epochs": progress.epoch,
        "iterations": progress.iteration,
        "validation_error": last.get("validation_error"),
        "train_error": last.get("train_error"),
        "train_loss": last.get("train_loss"),
        "chance_error": chance.error,
        "seconds": round(progress.seconds, 2),
        "images_per_second": last.get("images_per_second"),
    }


def _smallest_side(test: Split) -> int:
    """Median of the smaller sides of (at most a thousand of) the images, in pixels."""
    return int(np.median(test.spread(1000).images.sizes().min(axis=1)))
