"""What a net says of images that are no part of its data, and what its classes are called."""

import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from repro.config.schema import Config
from repro.data import sources
from repro.data.images import FileImages, decode
from repro.data.rescale import Rescaling
from repro.data.split import Split
from repro.errors import RequestError, RunError, flat
from repro.protocol.protocols import ONE_NUMBER, views
from repro.release.trained import Trained, data_of
from repro.run.views import EvaluationOptions, compute
from repro.store.runs import CACHE, Run
from repro.store.views import Posteriors, mean
from repro.weights.contents import synsets

LONGEST = 100
ILSVRC = 1000
"""Classes of the whole data set, whose order is that of their WordNet numbers."""


def say_aside(line: str) -> None:
    """Print a line on standard error, apart from the answers."""
    print(line, file=sys.stderr)


def options(trained: Trained) -> EvaluationOptions:
    """How images are looked at here: one by one decoded, rescaled as the run's were."""
    config = trained.config
    how = (trained.prepare, config.test_batch, config.usual_test_precision)
    square = Rescaling(config.recipe.resize == "square")
    return EvaluationOptions(*how, rescaling=square, say=say_aside)


def check(config: Config, paths: Sequence[Path], protocol: str) -> None:
    """Refuse a protocol without one mean, and images that cannot be decoded, before any work."""
    if protocol not in ONE_NUMBER:
        raise RequestError(f"test={protocol} is not known: choose from {', '.join(ONE_NUMBER)}")
    for path in paths:
        decode(path, config.data.channels)


def posteriors(trained: Trained, paths: Sequence[Path], protocol: str) -> Posteriors:
    """Posteriors (N, classes) of image files, in order, as testing finds them (Section 3.2)."""
    config = trained.config
    # Of one length, so that their order is that of the images.
    ids = tuple(f"{number:09d}" for number in range(len(paths)))
    images = FileImages(paths, config.data.channels, smallest=config.data.enlarge or 1)
    split = Split(images, np.zeros(len(paths), np.int64), ids)
    wanted, how = views(protocol, config), options(trained)
    return mean(compute(trained.net, view, split, how) for view in wanted)


def table(paths: Sequence[Path], found: Posteriors, classes: Sequence[str], top: int) -> str:
    """The best classes of each image, a row each: rank, posterior in percent, class."""
    lines = [f"{'rank':>4}  {'posterior':>9}  class"]
    for path, row in zip(paths, found.posteriors, strict=True):
        lines.append(flat(str(path)))
        # A tie goes to the class with the lower number.
        best = np.argsort(-row, kind="stable")[:top]
        lines += [f"{n:>4}  {100 * row[k]:>8.2f}%  {classes[k]}" for n, k in enumerate(best, 1)]
    return "\n".join(lines)


def class_names(run: Run, root: str | None = None) -> tuple[str, ...]:
    """The classes' names by the run's record, else by its data (in `root`), else their numbers."""
    data, count = data_of(run, root), run.result["data"]["classes"]
    found: Any = run.result["data"].get("class_names")
    if found is None:
        with contextlib.suppress(RequestError, RunError):
            found = sources.classes_there(data, run.folder.parent / CACHE)
    known = isinstance(found, list | tuple) and len(found) == count
    names = [flat(str(name)) for name in (found if known else range(count))]
    # What WordNet's numbers mean.
    words = dict(zip(synsets(), _ilsvrc(), strict=True)) if {*names} <= {*synsets()} else {}
    return tuple(f"{name} {words.get(name, '')}".strip()[:LONGEST] for name in names)


def names_of_file(own: Sequence[str] | None, count: int) -> tuple[tuple[str, ...], str]:
    """The names of a file's `count` classes, its `own` if it has some, and whose names they are."""
    if own is None and count != ILSVRC:
        return tuple(map(str, range(count))), "classes: the file has no names; numbers from 0"
    whose = "the file has no names; ImageNet's" if own is None else "the file's names"
    names = tuple(flat(name)[:LONGEST] for name in (_ilsvrc() if own is None else own))
    return names, f"classes: {whose}; that the net has them in this order is not checked here"


def _ilsvrc() -> Sequence[str]:
    from torchvision.models import VGG16_Weights

    return VGG16_Weights.IMAGENET1K_V1.meta["categories"]  # type: ignore[no-any-return]
