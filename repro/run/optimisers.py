"""Rules by which weights follow their gradients; Section 3.1's is `sgd`, with momentum."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import optim

from repro.config.schema import Recipe

OPTIMISERS: dict[str, Callable[[Any, Recipe], optim.Optimizer]] = {
    "sgd": lambda weights, recipe: optim.SGD(
        weights, recipe.learning_rate, recipe.momentum, weight_decay=recipe.weight_decay
    ),
    "adam": lambda weights, recipe: optim.Adam(
        weights, recipe.learning_rate, weight_decay=recipe.weight_decay
    ),
}
