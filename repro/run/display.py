"""What training says while it runs: a progress bar, or a line an epoch where output is a file."""

from __future__ import annotations

import sys
from typing import NoReturn

from tqdm import tqdm

from repro.config.schema import Config
from repro.run.progress import Progress


def bar(config: Config, progress: Progress, images: int) -> tqdm[NoReturn]:
    """A bar that counts the images of all epochs.

    Args:
        config: the run's configuration.
        progress: where training begins or goes on.
        images: of an epoch.
    """
    return tqdm(
        total=config.epochs * images,
        initial=progress.epoch * images + progress.seen,
        unit="img",
        unit_scale=True,
        smoothing=0.1,
        mininterval=0.5,
        disable=None if config.progress else True,
    )


def beside_bar(progress: Progress) -> str:
    """The epoch's loss and error so far, and the last validation error."""
    loss, error = progress.loss_sum / progress.seen, 100 * progress.wrong / progress.seen
    words = f"loss {loss:.3f} error {error:.1f}%"
    if progress.rows:
        words += f" validation {progress.rows[-1]['validation_error']:.1f}%"
    return words


def epoch_line(config: Config, progress: Progress) -> str | None:
    """The last epoch in a line; None where a bar shows it, or nothing is to be shown."""
    if not config.progress or sys.stderr.isatty():
        return None
    row = progress.rows[-1]
    return (
        f"{config.arch.name} epoch {progress.epoch} of {config.epochs}: "
        f"loss {row['train_loss']:.3f}, error {row['train_error']:.1f}%, "
        f"validation {row['validation_error']:.1f}%, {row['images_per_second']:.0f} images/s"
    )
