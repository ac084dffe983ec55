"""Training by Section 3.1: one loop, read from top to bottom.

    python -m repro.run arch=D                      one net
    python -m repro.run -m arch=A,B,C,D,E seed=0,1  ten, one after another

Randomness has no state: the order of images and their crops are drawn from (seed, epoch, image),
dropout from (seed, iteration). So a run that was interrupted goes on bit for bit, from the middle
of an epoch too, with what a checkpoint holds.
"""

from __future__ import annotations

import csv
import io
import math
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn, optim
from torch.nn import functional
from tqdm import tqdm

from repro.config import Config, Recipe
from repro.data.loader import TrainingCrops
from repro.nets.vgg import VGG
from repro.store.runs import Folder
from repro.train.checkpoint import load_checkpoint, save_checkpoint
from repro.train.interruption import Interrupted, Stop
from repro.train.schedule import Schedule, schedule

OPTIMISERS: dict[str, Callable[[Any, Recipe], optim.Optimizer]] = {
    "sgd": lambda weights, recipe: optim.SGD(
        weights, recipe.learning_rate, recipe.momentum, weight_decay=recipe.weight_decay
    ),
    "adam": lambda weights, recipe: optim.Adam(
        weights, recipe.learning_rate, weight_decay=recipe.weight_decay
    ),
}


@dataclass
class Place:
    """Where training is: with weights and the optimiser's state, all that a checkpoint holds."""

    epoch: int = 0
    step: int = 0
    """Batches of this epoch that are done."""
    iteration: int = 0
    loss_sum: float = 0.0
    wrong: int = 0
    seen: int = 0
    """Images of this epoch, and the sums of their losses and errors above."""
    seconds: float = 0.0
    """Spent in training and validation so far, over all interruptions."""
    rows: list[dict[str, float]] = field(default_factory=list)
    """The log, a row an epoch."""


@dataclass(frozen=True)
class Outcome:
    """How training ended."""

    outcome: str
    """`trained`, `diverged` (a loss that is not finite) or `did not learn` (still at chance)."""
    reason: str
    place: Place


@dataclass(frozen=True)
class Chance:
    """The error of a net that names the commonest class whatever it sees."""

    error: float
    """In percent."""
    threshold: float
    """Three standard deviations of the validation error below it: an error under it is no luck."""


def chance(labels: NDArray[np.int64], validation_images: int) -> Chance:
    """Chance by the training labels, and what is clearly better on so many validation images."""
    error = 1 - np.bincount(labels).max() / len(labels)
    deviation = math.sqrt(error * (1 - error) / validation_images)
    return Chance(100 * error, 100 * (error - 3 * deviation))


class Training:
    """One net in training. Build it, then `run` it; an interrupted one goes on by itself."""

    def __init__(
        self,
        net: VGG,
        batches: TrainingCrops,
        config: Config,
        folder: Folder,
        stop: Stop,
        *,
        prepare: Callable[[Tensor, Tensor], Tensor],
        validate: Callable[[], float],
        chance: Chance,
        say: Callable[[str], None],
        test: Callable[[], float] | None = None,
    ) -> None:
        """
        Args:
            net: with its first weights, on its device.
            batches: the training crops.
            config: the run's configuration.
            folder: the run's folder, held.
            stop: asked to stop, training saves a checkpoint and raises `Interrupted`.
            prepare: from grey levels and colour shifts to the net's input on its device.
            validate: error (%) on the validation images.
            chance: the error that a net has which learned nothing.
            say: prints a line without disturbing the progress bar.
            test: error (%) on the test images, to be logged after each epoch; None: not looked at.
        """
        self.net, self.batches, self.config, self.folder = net, batches, config, folder
        self.stop, self.prepare, self.say = stop, prepare, say
        self.validate, self.test, self.chance = validate, test, chance
        recipe = config.recipe
        if config.finetune == "fc":
            net.features.requires_grad_(False)
        weights = [weight for weight in net.parameters() if weight.requires_grad]
        self.optimiser = OPTIMISERS[recipe.optimiser](weights, recipe)
        self.schedule: Schedule = schedule(
            recipe, config.scale.lr_factor, recipe.epochs * len(batches)
        )
        self.place = Place()
        self.checkpoints = 0
        self.device = next(net.parameters()).device
        self.half = config.precision == "bf16"

    def run(self) -> Outcome:
        """Train to the end.

        Raises:
            Interrupted: after a checkpoint was saved.
            RunError: an image or the disk failed, or another process took the run over.
        """
        self._resume()
        saved = time.monotonic()
        with self._bar() as bar:
            while self.place.epoch < self.config.recipe.epochs and not self.schedule.finished:
                bar.set_description(f"{self.config.arch.name} epoch {self.place.epoch + 1}")
                began = time.monotonic()
                for images, shift, labels in self.batches.epoch(self.place.epoch, self.place.step):
                    self.folder.check()
                    self._step(images, shift, labels)
                    self.place.seconds += time.monotonic() - began
                    began = time.monotonic()
                    bar.update(len(labels))
                    if self.place.step % 10 == 0:
                        bar.set_postfix_str(self._summary(), refresh=False)
                    if not math.isfinite(self.place.loss_sum):
                        return self._diverged()
                    if self.stop.asked:
                        self._save()
                        self.say(f"{self.folder.path.name} stops, saved; the same command goes on")
                        raise Interrupted
                    if began - saved > self.config.checkpoint_seconds:
                        self._save()
                        saved = began
                self._end_epoch()
        return self._ended()

    def _step(self, images: Tensor, shift: Tensor, labels: Tensor) -> None:
        place, recipe = self.place, self.config.recipe
        self.net.train()
        if self.config.finetune == "fc":
            self.net.features.eval()
        torch.manual_seed(self.config.seed * 1_000_003 + place.iteration)
        rate = self.schedule.at(place.iteration)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        labels = labels.to(self.device, non_blocking=True)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
            scores = self.net(self.prepare(images, shift))
            loss = functional.cross_entropy(scores, labels)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if recipe.clip is not None:
            nn.utils.clip_grad_norm_(self.net.parameters(), recipe.clip)
        self.optimiser.step()
        place.loss_sum += loss.item() * len(labels)
        place.wrong += int((scores.detach().argmax(dim=1) != labels).sum())
        place.seen += len(labels)
        place.step += 1
        place.iteration += 1

    def _end_epoch(self) -> None:
        place = self.place
        began = time.monotonic()
        rate = self.schedule.at(place.iteration - 1)
        training = sum(row["seconds"] for row in place.rows)
        speed = place.seen / (place.seconds - training)
        error = self.validate()
        place.seconds += time.monotonic() - began
        place.rows.append(
            {
                "epoch": place.epoch + 1,
                "iterations": place.iteration,
                "learning_rate": rate,
                "train_loss": place.loss_sum / place.seen,
                "train_error": 100 * place.wrong / place.seen,
                "validation_error": error,
                "images_per_second": speed,
                "seconds": place.seconds - training,
            }
        )
        if self.test is not None:
            place.rows[-1]["test_error"] = self.test()
        self.schedule.epoch_ended(error)
        place.epoch, place.step = place.epoch + 1, 0
        place.loss_sum, place.wrong, place.seen = 0.0, 0, 0
        self.folder.write("log.csv", log(place.rows))
        self._save()
        if self.config.progress and not sys.stderr.isatty():
            # A file that takes the output wants a line now and then, not a bar.
            row = place.rows[-1]
            self.say(
                f"{self.config.arch.name} epoch {place.epoch} of {self.config.recipe.epochs}: "
                f"loss {row['train_loss']:.3f}, error {row['train_error']:.1f}%, "
                f"validation {error:.1f}%, {speed:.0f} images/s"
            )

    def _ended(self) -> Outcome:
        error = self.place.rows[-1]["validation_error"]
        if error < self.chance.threshold:
            return Outcome("trained", "", self.place)
        reason = f"validation error {error:.1f}% at the end, chance is {self.chance.error:.1f}%"
        return Outcome("did not learn", reason, self.place)

    def _diverged(self) -> Outcome:
        place = self.place
        reason = f"the loss is not finite at epoch {place.epoch + 1}, iteration {place.iteration}"
        return Outcome("diverged", reason, place)

    def _bar(self) -> tqdm[NoReturn]:
        place, images = self.place, len(self.batches.split.labels)
        return tqdm(
            total=self.config.recipe.epochs * images,
            initial=place.epoch * images + place.seen,
            unit="img",
            unit_scale=True,
            smoothing=0.1,
            mininterval=0.5,
            disable=None if self.config.progress else True,
        )

    def _summary(self) -> str:
        place = self.place
        words = (
            f"loss {place.loss_sum / place.seen:.3f} error {100 * place.wrong / place.seen:.1f}%"
        )
        if place.rows:
            words += f" validation {place.rows[-1]['validation_error']:.1f}%"
        return words

    def _save(self) -> None:
        place = asdict(self.place) | {"schedule": self.schedule.state()}
        save_checkpoint(self.folder, self.net, self.optimiser, place, self.checkpoints)
        self.checkpoints += 1

    def _resume(self) -> None:
        loaded = load_checkpoint(self.folder.path, self.net, self.optimiser, self.say)
        if loaded is None:
            return
        place, self.checkpoints = loaded
        self.schedule.load(place.pop("schedule"))
        self.place = Place(**place)
        self.say(
            f"{self.folder.path.name} goes on at epoch {self.place.epoch + 1}, "
            f"step {self.place.step + 1}"
        )


def log(rows: list[dict[str, float]]) -> bytes:
    """The content of `log.csv`."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()
