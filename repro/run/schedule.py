"""How weights follow their gradients (Section 3.1): the learning rate and the optimisers.

The rate by `plateau` is the paper's: divided by ten when the validation error stops improving,
three times; the next plateau ends the training. `steps` divides it at fixed shares of the training.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import optim

from repro.config.schema import Recipe

SCHEDULES = ("plateau", "steps", "linear", "constant")
STEPS = (2 / 3, 5 / 6)
"""Shares of the iterations after which `steps` divides the rate by ten."""
OPTIMISERS: dict[str, Callable[[Any, Recipe], optim.Optimizer]] = {
    "sgd": lambda weights, recipe: optim.SGD(
        weights, recipe.learning_rate, recipe.momentum, weight_decay=recipe.weight_decay
    ),
    "adam": lambda weights, recipe: optim.Adam(
        weights, recipe.learning_rate, weight_decay=recipe.weight_decay
    ),
}
"""By name; Section 3.1's is `sgd`, with momentum 0.9 and weight decay 5e-4."""


@dataclass
class Schedule:
    """Learning rate of each iteration; `state` and `load` carry it over an interruption."""

    recipe: Recipe
    rate: float
    """The highest."""
    iterations: int
    best: float = math.inf
    stale: int = 0
    """Epochs since the best validation error."""
    dropped: int = 0
    finished: bool = False

    def at(self, iteration: int) -> float:
        """The learning rate of an iteration, counted from 0."""
        warmup = self.recipe.warmup
        rise = min(1.0, (iteration + 1) / warmup) if warmup else 1.0
        if self.recipe.schedule == "linear":
            return self.rate * min(rise, 1 - iteration / self.iterations)
        if self.recipe.schedule == "steps":
            return self.rate * rise * 0.1 ** sum(iteration >= at * self.iterations for at in STEPS)
        return self.rate * rise * 0.1**self.dropped

    def epoch_ended(self, validation_error: float) -> None:
        """Take note of the validation error (%) after an epoch."""
        if self.recipe.schedule != "plateau":
            return
        if validation_error < self.best:
            self.best, self.stale = validation_error, 0
            return
        self.stale += 1
        if self.stale >= self.recipe.patience:
            self.stale = 0
            self.finished = self.dropped == self.recipe.drops
            self.dropped = min(self.dropped + 1, self.recipe.drops)

    def state(self) -> dict[str, float]:
        """The values that change while training runs."""
        return {key: getattr(self, key) for key in ("best", "stale", "dropped", "finished")}

    def load(self, state: dict[str, float]) -> None:
        """Go on from a `state`."""
        self.best = float(state["best"])
        self.stale, self.dropped = int(state["stale"]), int(state["dropped"])
        self.finished = bool(state["finished"])
