"""Training by Section 3.1: one loop, read from top to bottom.

    python -m repro.run arch=D                      one net
    python -m repro.run -m arch=A,B,C,D,E seed=0,1  ten, one after another
    torchrun --nproc_per_node=4 -m repro.run arch=D one net on four GPUs (see distributed.py)

`Training.run` is the epochs, `Training.step` one step, `Training.gradients` what happens in it
between images and gradients. What enters the net is made in `repro.data.inputs`. The numbers are
those of `conf/recipe/paper.yaml`, which names the place where each of them acts.

Randomness has no state. The order of images and their crops are drawn from the seed, the series,
the epoch, the image and how many there are; dropout from the seed, the series, the iteration and
the row of the batch. So a run that was interrupted goes on bit for bit, from the middle of an epoch
too, with what a checkpoint holds.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from types import MappingProxyType
from typing import NoReturn

import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from repro.config.schema import EAGER, Config
from repro.data.loader import TrainingCrops
from repro.errors import RunError
from repro.model.vgg import VGG, seed_masks, set_dropout_rows, share_batch_norm
from repro.run.checkpoint import Checkpoints
from repro.run.device import compiled, sent_back, uploaded
from repro.run.distributed import ALONE, AllReduce, SummedGradients, World
from repro.run.interruption import Interrupted, Stop
from repro.run.memory import memory_error_in_a_line, micro_batches
from repro.run.progress import Chance, Outcome, Progress
from repro.run.schedule import OPTIMISERS, Schedule
from repro.store.folder import Folder
from repro.store.runs import LOG

Objective = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Takes the net's output (B, ...) and labels to the sum of losses and the number of errors."""


def classification(scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The multinomial logistic regression objective of scores (B, classes) and classes (B,)."""
    wrong = (scores.detach().argmax(dim=1) != labels).sum()
    return functional.cross_entropy(scores, labels, reduction="sum"), wrong


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
        objective: Objective = classification,
        test: Callable[[], float] | None = None,
        note: Callable[[], None] = lambda: None,
        world: World = ALONE,
        origins: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """`prepare` takes crops (B, C, crop, crop) and colour shifts (B, C) to the net's input.

        `validate` and `test` give the error (%) after an epoch, in all processes; then, when its
        row of the log is written, `note` is called. `origins`, the digests of what the net began
        from, are kept in its checkpoints.
        """
        self.net, self.batches, self.config, self.folder = net, batches, config, folder
        self.stop, self.prepare, self.say, self.note = stop, prepare, say, note
        self.validate, self.test, self.chance, self.world = validate, test, chance, world
        self.objective, self.origins = objective, dict(origins)
        net.features.requires_grad_(config.finetune != "fc")
        self.weights = [weight for weight in net.parameters() if weight.requires_grad]
        recipe, rate = config.recipe, config.recipe.learning_rate * config.lr_factor
        self.optimiser = OPTIMISERS[recipe.optimiser](self.weights, recipe)
        self.schedule = Schedule(recipe, rate, config.epochs * len(batches))
        self.device = next(net.parameters()).device
        self.forward = compiled(net, config.compile)
        self.summed = SummedGradients(world, self.weights)
        if world.size > 1:
            self._share_batch_norm()
        self.progress = Progress()
        self.checkpoints = Checkpoints(folder, config.checkpoint_seconds, say)
        self.unread: list[tuple[int, Callable[[], list[float]]]] = []
        """Steps whose sums are not read yet: images, and how to ask for loss, errors and flags."""
        cuda = self.device.type == "cuda"
        self.late = 1 if cuda else 0
        """How many of them the device works on while the next one is made."""
        # One for each training: a new one for each epoch would have memory of its own reserved.
        self.stream = torch.cuda.Stream(self.device) if cuda else None  # type: ignore[no-untyped-call]

    def _share_batch_norm(self) -> None:
        total: Callable[[Tensor], Tensor] = AllReduce.apply
        if self.config.compile != EAGER:
            # The processes meet in there, which no compiler should rearrange.
            total = torch.compiler.disable(total)  # type: ignore[no-untyped-call]
        share_batch_norm(self.net, total)

    def run(self) -> Outcome:
        """Train to the end; `Interrupted` after a checkpoint was saved.

        A RunError says that an image or the disk failed, memory ran out, another process of this
        run ended, or someone else took the run over.
        """
        self._resume()
        try:
            with self._bar() as bar:
                return self._epochs(bar)
        finally:
            self.summed.close()
            # What follows needs it no more; `_stop` has waited for it.
            with suppress(RunError):
                self.checkpoints.wait()

    def _epochs(self, bar: tqdm[NoReturn]) -> Outcome:
        while not self._over:
            bar.set_description(f"{self.config.arch.name} epoch {self.progress.epoch + 1}")
            self.clock = time.monotonic()
            self.net.train()
            self.net.features.train(self.config.finetune != "fc")
            epoch = self.batches.epoch(self.progress.epoch, self.progress.step)
            for batch in uploaded(epoch, self.device, self.stream):
                self.step(*batch)
                asked, due = self._read(bar, self.late)
                if asked or due:
                    self._read(bar)
                if not math.isfinite(self.progress.loss_sum):
                    return self._diverged()
                if asked:
                    self._stop()
                if due:
                    self._save()
            self._read(bar)
            if not math.isfinite(self.progress.loss_sum):
                return self._diverged()
            self._end_epoch()
        return self._ended()

    def step(self, images: Tensor, shift: Tensor, labels: Tensor) -> None:
        """Section 3.1, one step: a batch, its loss, the gradients, a step of gradient descent.

        It takes this process's crops (B, C, crop, crop), colour shifts (B, C) and classes (B,).
        """
        progress, recipe = self.progress, self.config.recipe
        self.folder.check()
        total = self.batches.images(progress.step)
        with memory_error_in_a_line(self.config, self.world.size):
            sums = self.gradients(images, shift, labels, total)
            if self.world.size > 1:
                flags = torch.tensor(self._flags(), dtype=sums.dtype)
                sums = torch.cat([sums, flags.to(self.device, non_blocking=True)])
            self.summed.finish(sums)
            if recipe.clip is not None:
                nn.utils.clip_grad_norm_(self.weights, recipe.clip)
            for group in self.optimiser.param_groups:
                group["lr"] = self.schedule.at(progress.iteration)
            self.optimiser.step()
        self.unread.append((total, sent_back(sums)))
        progress.step, progress.iteration = progress.step + 1, progress.iteration + 1

    def gradients(self, images: Tensor, shift: Tensor, labels: Tensor, total: int) -> Tensor:
        """Leave the gradients of this process's share of a batch's mean loss in the weights.

        `total` are the images of the batch in all processes. Returns that share of the loss, and
        how many of these images are wrong: (2,).
        """
        own = self.world.rows(total)
        labels = labels.to(self.device, non_blocking=True)
        self.optimiser.zero_grad(set_to_none=True)
        sums, parts = [], micro_batches(len(images), self.config.micro_batch)
        self.summed.begin(len(parts))
        for part in parts:
            # Dropout draws the whole batch's mask each time, and uses these rows of it.
            set_dropout_rows(self.net, slice(own.start + part.start, own.start + part.stop), total)
            masks = self.config.seed * 1_000_003 + self.progress.iteration
            seed_masks(self.device, masks + (self.batches.series << 53))
            with torch.autocast(self.device.type, torch.bfloat16, self.config.precision == "bf16"):
                scores = self.forward(self.prepare(images[part], shift[part]))
                loss, wrong = self.objective(scores, labels[part])
                loss = loss / total
            loss.backward()  # type: ignore[no-untyped-call]
            sums.append(torch.stack([loss.detach(), wrong.to(loss.dtype)]))
        return torch.stack(sums).sum(dim=0)

    def _flags(self) -> list[bool]:
        """Whether this process was asked to stop, and whether a checkpoint is due."""
        return [self.stop.asked, self.world.is_first and self.checkpoints.due]

    def _read(self, bar: tqdm[NoReturn], leave: int = 0) -> tuple[bool, bool]:
        """Count the losses and errors of all steps but the last `leave`, until one is not finite.

        Returns whether a process was asked to stop, and whether a checkpoint is due.
        """
        progress, asked, due = self.progress, False, False
        while len(self.unread) > leave and math.isfinite(progress.loss_sum):
            images, sums = self.unread.pop(0)
            loss, wrong, *told = sums()
            progress.loss_sum += loss * images
            progress.wrong, progress.seen = progress.wrong + round(wrong), progress.seen + images
            bar.update(images)
            flags = told or self._flags()
            asked, due = asked or bool(flags[0]), due or bool(flags[1])
        now = time.monotonic()
        progress.seconds, self.clock = progress.seconds + now - self.clock, now
        bar.set_postfix_str(str(progress), refresh=False)
        return asked, due

    @property
    def _over(self) -> bool:
        return self.progress.epoch >= self.config.epochs or self.schedule.finished

    def _bar(self) -> tqdm[NoReturn]:
        images, progress = len(self.batches.split.labels), self.progress
        return tqdm(
            total=self.config.epochs * images,
            initial=progress.epoch * images + progress.seen,
            unit="img",
            unit_scale=True,
            smoothing=0.1,
            mininterval=0.5,
            disable=None if self.config.progress else True,
        )

    def _end_epoch(self) -> None:
        progress = self.progress
        rate = self.schedule.at(progress.iteration - 1)
        speed = progress.seen / progress.epoch_seconds
        began = time.monotonic()
        try:
            error = self.validate()
            validation = time.monotonic() - began
            tested = None if self.test is None else self.test()
        except Interrupted:
            # Here no step is left of the epoch: what goes on from it begins with the validation.
            self._stop()
        progress.seconds += validation
        progress.end_epoch(rate, speed, error, tested)
        self.schedule.epoch_ended(error)
        self.folder.write(LOG, progress.log())
        # Not after each epoch, which may take a second: what goes on from within one has its bits.
        if self.checkpoints.due or self._over:
            self._save()
        self.note()
        if self.config.progress and not sys.stderr.isatty():
            row = progress.rows[-1]
            self.say(
                f"{self.config.arch.name} epoch {progress.epoch} of {self.config.epochs}: "
                f"loss {row['train_loss']:.3f}, error {row['train_error']:.1f}%, "
                f"validation {error:.1f}%, {speed:.0f} images/s"
            )

    def _ended(self) -> Outcome:
        error = self.progress.rows[-1]["validation_error"]
        if error < self.chance.threshold:
            return Outcome("trained", "", self.progress)
        least, chance = self.chance.threshold, self.chance.error
        reason = f"validation error {error:.1f}%, not below {least:.1f}% (chance is {chance:.1f}%)"
        return Outcome("did not learn", reason, self.progress)

    def _diverged(self) -> Outcome:
        # Steps after it may have been taken before its loss was read.
        self.progress.iteration -= len(self.unread)
        epoch, iteration = self.progress.epoch + 1, self.progress.iteration
        reason = f"the loss is not finite at epoch {epoch}, iteration {iteration}"
        return Outcome("diverged", reason, self.progress)

    def _save(self) -> None:
        if self.world.is_first:
            more = {"schedule": self.schedule.state(), "origins": self.origins}
            self.checkpoints.save(self.net, self.optimiser, asdict(self.progress) | more)

    def _stop(self) -> NoReturn:
        self._save()
        # All wait: torchrun kills the first process half a minute after another one has ended.
        self.world.decided_by_first(self.checkpoints.wait)
        self.say(f"{self.folder.path.name} stops, saved; the same command goes on")
        raise Interrupted

    def _resume(self) -> None:
        loaded = self.world.decided_by_first(
            lambda: self.checkpoints.load(self.net, self.optimiser)
        )
        self.world.broadcast_state(self.net, self.optimiser)
        if loaded is not None:
            try:
                self.schedule.load(loaded.pop("schedule"))
                # Older ones do not say; what lies there now may be another net.
                self.origins = loaded.pop("origins", {})
                self.progress = Progress(**loaded)
            except (LookupError, TypeError):
                said = "was begun by another version: go on with that, or remove it to train anew"
                raise RunError(f"{self.folder.path} {said}") from None
        # Epochs that the log has and the checkpoint has not are run again.
        if self.progress.rows:
            self.folder.write(LOG, self.progress.log())
        else:
            self.folder.remove(LOG)
        if loaded is None:
            return
        step = self.progress.step
        where = f"step {step + 1}" if step < len(self.batches) else "after its last step"
        self.say(f"{self.folder.path.name} goes on at epoch {self.progress.epoch + 1}, {where}")
