"""Training by Section 3.1: one loop, read from top to bottom.

    python -m repro.run arch=D                      one net
    python -m repro.run -m arch=A,B,C,D,E seed=0,1  ten, one after another
    torchrun --nproc_per_node=4 -m repro.run arch=D one net on four GPUs (see distributed.py)

Randomness has no state: the order of images and their crops are drawn from (seed, epoch, image),
dropout from (seed, iteration, row of the batch). So a run that was interrupted goes on bit for
bit, from the middle of an epoch too, with what a checkpoint holds.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, NoReturn

import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from repro.config.schema import EAGER, Config
from repro.data.loader import TrainingCrops
from repro.nets.dropout import seed, share
from repro.nets.vgg import VGG
from repro.process.distributed import ALONE, World
from repro.process.interruption import Interrupted, Stop
from repro.store.runs import LOG, Folder
from repro.train.chance import Chance
from repro.train.checkpoint import Pace, load_checkpoint, save_checkpoint
from repro.train.optimisers import OPTIMISERS
from repro.train.place import Place
from repro.train.schedule import Schedule, schedule
from repro.train.upload import Upload


@dataclass(frozen=True)
class Outcome:
    """How training ended."""

    outcome: str
    """`trained`, `diverged` (a loss that is not finite) or `did not learn` (still at chance)."""
    reason: str
    place: Place


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
        world: World = ALONE,
    ) -> None:
        """
        Args:
            net: with its first weights, on its device.
            batches: the training crops that this process makes.
            config: the run's configuration.
            folder: the run's folder, held.
            stop: asked to stop, training saves a checkpoint and raises `Interrupted`.
            prepare: from grey levels and colour shifts to the net's input on its device.
            validate: error (%) on the validation images; all processes call it; may raise
                `Interrupted`, in all of them.
            chance: the error that a net has which learned nothing.
            say: prints a line without disturbing the progress bar.
            test: likewise on the test images, to be logged after each epoch; None: not looked at.
            world: the processes that train this net, each with its own `Training`.
        """
        self.net, self.batches, self.config, self.folder = net, batches, config, folder
        self.stop, self.prepare, self.say = stop, prepare, say
        self.validate, self.test, self.chance, self.world = validate, test, chance, world
        recipe = config.recipe
        if config.finetune == "fc":
            net.features.requires_grad_(False)
        weights = [weight for weight in net.parameters() if weight.requires_grad]
        self.optimiser = OPTIMISERS[recipe.optimiser](weights, recipe)
        self.schedule: Schedule = schedule(
            recipe, config.scale.lr_factor, config.epochs * len(batches)
        )
        self.place, self.checkpoints = Place(), 0
        self.pace = Pace(config.checkpoint_seconds)
        self.device = next(net.parameters()).device
        self.half = config.precision == "bf16"
        self.forward: Callable[[Tensor], Tensor] = net
        if config.compile != EAGER:
            self.forward = torch.compile(net, mode=config.compile)

    def run(self) -> Outcome:
        """Train to the end.

        Raises:
            Interrupted: after a checkpoint was saved.
            RunError: an image or the disk failed, in any process, or someone else took the run
                over.
        """
        self._resume()
        with self._bar() as bar:
            while self.place.epoch < self.config.epochs and not self.schedule.finished:
                bar.set_description(f"{self.config.arch.name} epoch {self.place.epoch + 1}")
                began = time.monotonic()
                batches = Upload(self.batches.epoch(self.place.epoch, self.place.step), self.device)
                self._learning()
                for step in range(self.place.step, len(self.batches)):
                    self._step(batches)
                    self.place.seconds += time.monotonic() - began
                    began = time.monotonic()
                    bar.update(self.batches.images(step))
                    if self.place.step % 10 == 0:
                        bar.set_postfix_str(self._summary(), refresh=False)
                    if not math.isfinite(self.place.loss_sum):
                        return self._diverged()
                    due = self.world.leads and self.pace.due
                    asked, due = self.world.any(self.stop.asked, due)
                    if asked:
                        self._stop()
                    if due:
                        self._save()
                self._end_epoch()
        return self._ended()

    def _learning(self) -> None:
        self.net.train()
        if self.config.finetune == "fc":
            self.net.features.eval()

    def _step(self, batches: Upload) -> None:
        place, recipe = self.place, self.config.recipe
        total = self.batches.images(place.step)
        with self.world.together():
            self.folder.check()
            counts = self._backward(*batches.take(), total)
            batches.send()
        weights = self.optimiser.param_groups[0]["params"]
        self.world.sum([*(weight.grad for weight in weights), counts])
        if recipe.clip is not None:
            nn.utils.clip_grad_norm_(self.net.parameters(), recipe.clip)
        for group in self.optimiser.param_groups:
            group["lr"] = self.schedule.at(place.iteration)
        self.optimiser.step()
        loss, wrong = counts.tolist()
        place.loss_sum += loss * total
        place.wrong += round(wrong)
        place.seen += total
        place.step += 1
        place.iteration += 1

    def _backward(self, images: Tensor, shift: Tensor, labels: Tensor, total: int) -> Tensor:
        """Gradients of this process's share of the mean loss over a batch of `total` images.

        Returns:
            That share, and how many of this process's images are wrong: (2,).
        """
        share(self.net, self.world.rows(total), total)
        seed(self.device, self.config.seed * 1_000_003 + self.place.iteration)
        labels = labels.to(self.device, non_blocking=True)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
            scores = self.forward(self.prepare(images, shift))
            loss = functional.cross_entropy(scores, labels, reduction="sum") / total
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        wrong = (scores.detach().argmax(dim=1) != labels).sum()
        return torch.stack([loss.detach(), wrong.to(loss.dtype)])

    def _end_epoch(self) -> None:
        place = self.place
        rate, speed = self.schedule.at(place.iteration - 1), place.seen / place.epoch_seconds
        began = time.monotonic()
        try:
            error = self.validate()
            validation = time.monotonic() - began
            tested = None if self.test is None else self.test()
        except Interrupted:
            # Here no step is left of the epoch: what goes on from it begins with the validation.
            self._stop()
        place.seconds += validation
        place.end_epoch(rate, speed, error, tested)
        self.schedule.epoch_ended(error)
        with self.world.together():
            self.folder.write(LOG, place.log())
        self._save()
        if self.config.progress and not sys.stderr.isatty():
            # A file that takes the output wants a line now and then, not a bar.
            row = place.rows[-1]
            self.say(
                f"{self.config.arch.name} epoch {place.epoch} of {self.config.epochs}: "
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
            total=self.config.epochs * images,
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
        with self.world.together():
            if not self.world.leads:
                return
            place = asdict(self.place) | {"schedule": self.schedule.state()}
            with self.pace.saving():
                save_checkpoint(self.folder, self.net, self.optimiser, place, self.checkpoints)
            self.checkpoints += 1

    def _stop(self) -> NoReturn:
        self._save()
        self.say(f"{self.folder.path.name} stops, saved; the same command goes on")
        with self.world.together():
            raise Interrupted

    def _check_place(self, place: dict[str, Any]) -> None:
        """Refuse, with an error, a place that this training never comes to."""
        place = dict(place)
        replace(self.schedule).load(place.pop("schedule"))
        Place(**place).check(self.config.epochs, len(self.batches))

    def _resume(self) -> None:
        loaded = self.world.led(
            lambda: load_checkpoint(
                self.folder.path, self.net, self.optimiser, self.say, self._check_place
            )
        )
        self.world.level(self.net, self.optimiser)
        if loaded is None:
            return
        place, self.checkpoints = loaded
        self.schedule.load(place.pop("schedule"))
        self.place = Place(**place)
        step = self.place.step
        where = f"step {step + 1}" if step < len(self.batches) else "after its last step"
        self.say(f"{self.folder.path.name} goes on at epoch {self.place.epoch + 1}, {where}")
