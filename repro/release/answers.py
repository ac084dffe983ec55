"""What a run's net says of images that are no part of its data, by the protocols of testing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from repro.config.schema import Config
from repro.data.images import FileImages, decode
from repro.data.split import Split
from repro.errors import RequestError
from repro.protocol.protocols import ONE_NUMBER, View, views
from repro.protocol.rescaling import rescaling
from repro.release.trained import Trained
from repro.run.views import EvaluationOptions, compute
from repro.store.views import Posteriors, mean


def views_of(config: Config, protocol: str) -> tuple[View, ...]:
    """The views whose mean a protocol is for a net.

    Raises:
        RequestError: there is no such protocol, or it has no one mean.
    """
    if protocol not in ONE_NUMBER:
        raise RequestError(f"test={protocol} is not known: choose from {', '.join(ONE_NUMBER)}")
    return views(protocol, config.scale, config.data.mirror)


def say_aside(line: str) -> None:
    """Print a line on standard error, apart from the answers."""
    print(line, file=sys.stderr)


def options(config: Config, say: Callable[[str], None] = say_aside) -> EvaluationOptions:
    """How images are looked at here: one by one decoded, rescaled as the run's were."""
    resize = rescaling(config.recipe.resize)
    return EvaluationOptions(batch=config.test_batch, rescaling=resize, say=say)


def check_images(paths: Sequence[Path], channels: int) -> None:
    """Decode each image once, before any is looked at.

    Raises:
        RunError: one cannot be read or decoded; names the path.
    """
    for path in paths:
        decode(path, channels)


def posteriors(trained: Trained, paths: Sequence[Path], protocol: str) -> Posteriors:
    """Posteriors (N, classes) of image files, in their order, as testing finds them (Section 3.2).

    The labels mean nothing; the ids are the numbers of the images.

    Raises:
        RequestError: see `views_of`.
        RunError: an image cannot be decoded, or does not fit into memory.
    """
    config = trained.config
    images = FileImages(paths, config.data.channels)
    # Of one length, so that their order is that of the images.
    ids = tuple(f"{number:09d}" for number in range(len(paths)))
    split, how = Split(images, np.zeros(len(paths), dtype=np.int64), ids), options(config)
    return mean(
        compute(trained.net, view, split, trained.prepare, how)
        for view in views_of(config, protocol)
    )


def table(paths: Sequence[Path], found: Posteriors, classes: Sequence[str], top: int) -> str:
    """The best classes of each image, a row each: rank, posterior in percent, class."""
    lines = [f"{'rank':>4}  {'posterior':>9}  class"]
    for path, row in zip(paths, found.posteriors, strict=True):
        lines.append(shown(path))
        # A tie goes to the class with the lower number.
        best = np.argsort(-row, kind="stable")[:top]
        lines += [
            f"{rank:>4}  {100 * row[label]:>8.2f}%  {classes[label]}"
            for rank, label in enumerate(best, start=1)
        ]
    return "\n".join(lines)


def shown(path: Path) -> str:
    """A path that a terminal can show, whatever its bytes are."""
    return "".join(c if c.isprintable() else "?" for c in str(path))
