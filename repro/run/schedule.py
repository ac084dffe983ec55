"""The learning rate through training (Section 3.1).

`plateau` is the paper's: divided by ten when the validation error stops improving, three times;
the next plateau, or the last epoch, ends the training. `linear` falls to zero over the epochs,
`constant` stays. Any of them may rise linearly through the first iterations.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

from repro.config.schema import Recipe

SCHEDULES = ("plateau", "linear", "constant")


@dataclass
class Schedule:
    """Learning rate of each iteration; `state` and `load` carry it over an interruption."""

    kind: str
    rate: float
    iterations: int
    """Iterations in all epochs."""
    warmup: int
    patience: int
    drops: int
    best: float = math.inf
    stale: int = 0
    """Epochs since the best validation error."""
    dropped: int = 0
    finished: bool = False

    def at(self, iteration: int) -> float:
        """The learning rate of an iteration, counted from 0."""
        rise = min(1.0, (iteration + 1) / self.warmup) if self.warmup else 1.0
        if self.kind == "linear":
            return self.rate * min(rise, 1 - iteration / self.iterations)
        return self.rate * rise * 0.1**self.dropped

    def epoch_ended(self, validation_error: float) -> None:
        """Take note of the validation error (%) after an epoch."""
        if self.kind != "plateau":
            return
        if validation_error < self.best:
            self.best, self.stale = validation_error, 0
            return
        self.stale += 1
        if self.stale >= self.patience:
            self.stale = 0
            self.finished = self.dropped == self.drops
            self.dropped = min(self.dropped + 1, self.drops)

    def state(self) -> dict[str, float]:
        """What changes while training runs."""
        fields = asdict(self)
        return {key: fields[key] for key in ("best", "stale", "dropped", "finished")}

    def load(self, state: dict[str, float]) -> None:
        """Go on from a `state`."""
        self.best = float(state["best"])
        self.stale, self.dropped = int(state["stale"]), int(state["dropped"])
        self.finished = bool(state["finished"])


def schedule(recipe: Recipe, lr_factor: float, iterations: int) -> Schedule:
    """The schedule of a recipe at a share `lr_factor` of its learning rate."""
    return Schedule(
        recipe.schedule,
        recipe.learning_rate * lr_factor,
        iterations,
        recipe.warmup,
        recipe.patience,
        recipe.drops,
    )
