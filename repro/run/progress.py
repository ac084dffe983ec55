"""Where training is and how it ends: what a checkpoint holds beside weights, what is logged."""

import csv
import io
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass
class Progress:
    """Where training is: with weights and the optimiser's state, all that a checkpoint holds."""

    epoch: int = 0
    step: int = 0
    """Batches of this epoch that are done."""
    iteration: int = 0
    loss_sum: float = 0.0
    """The sum of the losses of this epoch's images."""
    wrong: int = 0
    """How many of them were wrong."""
    seen: int = 0
    """How many there were."""
    seconds: float = 0.0
    """Spent in training and validation so far, over all interruptions."""
    rows: list[dict[str, float]] = field(default_factory=list)
    """The log, a row an epoch."""

    @property
    def epoch_seconds(self) -> float:
        """Spent in this epoch so far."""
        return self.seconds - sum(row["seconds"] for row in self.rows)

    def end_epoch(self, rate: float, speed: float, error: float, tested: float | None) -> None:
        """Log the epoch: last rate, images a second, validation and (None: no) test error (%)."""
        row = {
            "epoch": self.epoch + 1,
            "iterations": self.iteration,
            "learning_rate": rate,
            "train_loss": self.loss_sum / self.seen,
            "train_error": 100 * self.wrong / self.seen,
            "validation_error": error,
            "images_per_second": speed,
            "seconds": self.epoch_seconds,
        }
        self.rows.append(row if tested is None else row | {"test_error": tested})
        self.epoch, self.step = self.epoch + 1, 0
        self.loss_sum, self.wrong, self.seen = 0.0, 0, 0

    def log(self) -> bytes:
        """The content of `log.csv`."""
        text = io.StringIO()
        writer = csv.DictWriter(text, fieldnames=list(self.rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        return text.getvalue().encode()

    def __str__(self) -> str:
        """The epoch's loss and error so far, and the last validation error, beside a bar."""
        if not self.seen:
            return ""
        words = f"loss {self.loss_sum / self.seen:.3f} error {100 * self.wrong / self.seen:.1f}%"
        last = f" validation {self.rows[-1]['validation_error']:.1f}%" if self.rows else ""
        return words + last


@dataclass(frozen=True)
class Chance:
    """The error of a net that names the commonest class whatever it sees."""

    error: float
    """In percent."""
    threshold: float
    """Three standard deviations of the validation error below it, but at least half an image, so
    that an error of zero always counts as learnt."""

    @classmethod
    def of(cls, labels: NDArray[np.int64], validation_images: int) -> "Chance":
        """By the training labels, and what is clearly better on so many validation images."""
        return cls.at(1 - np.bincount(labels).max() / len(labels), validation_images)

    @classmethod
    def at(cls, error: float, validation_images: int) -> "Chance":
        """By the share that is wrong without looking."""
        deviation = math.sqrt(error * (1 - error) / validation_images)
        return cls(100 * error, 100 * max(error - 3 * deviation, 0.5 / validation_images))


@dataclass(frozen=True)
class Outcome:
    """How training ended."""

    outcome: str
    """`trained`, `diverged` (a loss that is not finite) or `did not learn` (still at chance)."""
    reason: str
    progress: Progress

    @property
    def record(self) -> dict[str, Any]:
        """As it stands in `result.json`."""
        progress = self.progress
        last = progress.rows[-1] if progress.rows else {}
        keys = ("validation_error", "train_error", "train_loss", "images_per_second")
        return {
            "outcome": self.outcome,
            "reason": self.reason,
            "epochs": progress.epoch,
            "iterations": progress.iteration,
            "seconds": round(progress.seconds, 2),
            **{key: last.get(key) for key in keys},
        }
