"""One run, from whatever is done of it to its end: its training, its views."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from repro.data.picture import crops_picture
from repro.data.split import Split
from repro.data.statistics import looked_at
from repro.data.whole import centre_crops
from repro.errors import RunError
from repro.model.activations import rms
from repro.model.cost import cost
from repro.model.init import initialise
from repro.model.vgg import VGG
from repro.model.weights import load_weights, weights
from repro.protocol.protocols import View
from repro.protocol.scales import PICTURED, pixels, single_q
from repro.run import environment
from repro.run.chance import chance
from repro.run.loop import Outcome, Training
from repro.run.preprocessing import Varied
from repro.run.published import Published, again
from repro.run.stage import Stage, say
from repro.run.summary import summary, test_errors
from repro.run.views import compute
from repro.store import views as stored
from repro.store.expected import Expected, ListedImages, sha256
from repro.store.files import DAY, remove_leftovers
from repro.store.identity import PUBLISHED
from repro.store.runs import ACTIVATIONS, CHECKPOINTS, CROPS, RESULT, WEIGHTS, read_result

FORWARD = 4
"""Images of the forward pass that measures activations."""


class Performance(Stage):
    """One run on its stage, from whatever is done of it to its end."""

    def finish(self) -> None:
        """Train where that is not done, then compute the views that are missing."""
        with self.curves:
            self._finish()

    def _finish(self) -> None:
        result = self.world.decided_by_first(self._begun)
        if result is None:
            published = self.request.published
            result = self._train() if published is None else self._take(published)
        for name in CHECKPOINTS:
            self.folder.remove(name)
        tested = self._tested(result)
        missing = self.world.decided_by_first(lambda: self.request.missing_views(tested))
        if result["outcome"] != "diverged" and missing:
            self._view(missing, tested)
        if self.world.decided_by_first(lambda: self.request.missing_ways(result)):
            Varied(self, self._tested_net).finish()
        with self.world.all_or_none():
            if self.world.is_first and self.request.lacks_activations():
                self.folder.write(ACTIVATIONS, self._activations())
        if self.world.is_first:
            errors = test_errors(self.request)
            self.curves.test({protocol: error for protocol, (_, error, _) in errors.items()})
            print(summary(self.request))

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

    def _train(self) -> dict[str, Any]:
        config, source = self.request.config, self.source
        with self.world.all_or_none():
            net = self.first_weights()
        say(f"{self.request.name} trains")
        if source.description.left_out:
            say(f"{source.description.left_out} image files cannot be decoded and are left out")
        crop = config.size.crop
        scales = [(pixels(a, crop), pixels(b, crop)) for a, b in PICTURED]
        with self.world.all_or_none():
            if self.world.is_first:
                self.folder.write(CROPS, crops_picture(source.train, scales, crop, self.rescaling))
        train = self.cached(source.train.spread(config.recipe.train_images))
        training = Training(
            net,
            self.batches(train),
            config,
            self.folder,
            self.stop,
            prepare=self.prepare,
            validate=lambda: self.error(net, source.validation),
            test=(lambda: self.error(net, source.test)) if config.recipe.test_each_epoch else None,
            chance=chance(train.labels, len(source.validation.images)),
            say=say,
            note=self.curves.follow,
            world=self.world,
        )
        outcome = training.run()
        return self._ended(
            lambda: weights(net) if outcome.outcome != "diverged" else None,
            **self._trained(outcome, training.chance.error),
        )

    def _take(self, published: Published) -> dict[str, Any]:
        """Take a net that others trained for one that has ended its training here."""
        say(f"{self.request.name} is not trained: {published.words}")

        def content() -> bytes:
            found = again(published, self.request.config, self.request.net)
            with torch.device("meta"):
                net = VGG(self.request.net, 0.0)
            # The file's own memory, not a copy.
            net.load_state_dict(dict(found.tensors), assign=True)
            return weights(net)

        return self._ended(
            content,
            outcome=PUBLISHED,
            reason=published.words,
            epochs=0,
            iterations=0,
            validation_error=None,
            seconds=0,
            images_per_second=None,
        )

    def _ended(self, made: Callable[[], bytes | None], **ended: Any) -> dict[str, Any]:
        """Write the weights and, last, how they came to be."""

        def written() -> dict[str, Any]:
            content = made()
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
                f"data={self.request.config.data.name} has now: move the run's folder away"
            )
        classes = self.request.net.classes
        return replace(known, images=len(test.ids), classes=classes, listed=self._listed)

    def _trained(self, outcome: Outcome, chance_error: float) -> dict[str, Any]:
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
            "chance_error": chance_error,
            "seconds": round(progress.seconds, 2),
            "images_per_second": last.get("images_per_second"),
        }

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

    def _activations(self) -> bytes:
        """RMS after each layer before training: of this net, and of its kind at full width.

        Layers copied from another net are known at this run's width only.
        """
        config = self.request.config
        rows = ["net,layer,rms"]
        nets = {"as run": self.first_weights()}
        if config.init.copy_from is None:
            nets["full width"] = VGG(self.full, config.recipe.dropout)
            initialise(nets["full width"], config.init.between, self.full, config.seed)
            self.placed(nets["full width"])
        for name, net in nets.items():
            side, crop = pixels(single_q(config.scale), net.spec.crop), net.spec.crop
            few = self.source.train.spread(FORWARD)
            _, images = next(centre_crops(few, side, crop, FORWARD, rescaling=self.rescaling))
            rows += [
                f"{name},{layer},{value:.6g}" for layer, value in rms(net, self.prepare(images))
            ]
        return ("\n".join(rows) + "\n").encode()

    @cached_property
    def _tested_net(self) -> VGG:
        """The net as the run left it, in evaluation mode, in every process."""
        net = self.net().eval()
        self.world.decided_by_first(lambda: load_weights(net, self.request.folder))
        self.world.broadcast_state(net)
        return net

    def _view(self, missing: list[View], tested: Expected) -> None:
        config, test = self.request.config, self.source.test
        net = self._tested_net
        bar = tqdm(missing, unit="view", disable=not config.progress or None)
        for view in bar:
            bar.set_description(f"{config.arch.name} {view.name}")
            if damage := stored.damage(stored.path(self.request.folder, view), tested):
                say(damage)
            self.world.check_stop(self.stop)
            posteriors = compute(net, view, test, self.prepare, self.evaluation)
            with self.world.all_or_none():
                if self.world.is_first:
                    content = stored.encode(posteriors, tested.weights, view.name)
                    self.folder.write(f"views/{view.name}.npz", content)


def _smallest_side(test: Split) -> int:
    """Median of the smaller sides of (at most a thousand of) the images, in pixels."""
    return int(np.median(test.spread(1000).images.sizes().min(axis=1)))
