"""Stored views computed anew, on a random sample of the test images, and held against the store."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from repro.data import sources
from repro.data.split import Split
from repro.errors import RequestError
from repro.protocol.protocols import View
from repro.protocol.rescaling import rescaling
from repro.release.trained import Trained, cache_of, data_of, finished_run, opened
from repro.run.views import EvaluationOptions, compute
from repro.store import views as stored
from repro.store.runs import Run

ROUNDING = {"tf32": 1e-2}
"""How far apart posteriors may be that two machines compute, by the precision of the run."""
FLOAT32 = 1e-4
"""The same, where nothing coarser is used."""
HALVES = 1e-4
"""What keeping logarithms in 16 bits adds: |p log p| / 2^12 at most, which is 0.9e-4."""
NAMED = re.compile(r"(dense|grid|centre|windows)-Q(\d{1,5})(-mirrored)?")


@dataclass(frozen=True)
class Compared:
    """One view, as it is stored and as it was computed anew."""

    view: str
    images: int
    difference: float
    """The largest |difference| of a posterior."""
    other_top1: int
    """Images whose best class differs."""
    other_labels: int
    """Images whose stored label is not the data's."""
    tolerance: float
    damage: str = ""
    """Why the view cannot be read."""

    @property
    def within(self) -> bool:
        """Whether all that differs is rounding."""
        # Written so that what is not a number does not count.
        fits = self.difference <= self.tolerance
        return fits and not self.other_labels and not self.damage


def stored_views(run: Run) -> list[View]:
    """The views that lie in a run's folder.

    Raises:
        RequestError: there is none.
    """
    files = sorted((run.folder / "views").glob("*.npz"))
    found = [NAMED.fullmatch(file.stem) for file in files]
    views = [View(match[1], int(match[2]), bool(match[3])) for match in found if match]
    if not views:
        raise RequestError(f"run={run.folder} has no stored views: there is nothing to compare")
    return views


def tolerance(run: Run) -> float:
    """How far from what is stored a posterior may be that was computed anew."""
    halves = HALVES if run.result["data"]["classes"] > stored.LOGARITHMS_ABOVE else 0.0
    return ROUNDING.get(run.config.precision, FLOAT32) + halves


def test_images(run: Run, root: str | None, say: Callable[[str], None]) -> Split:
    """The images that a run was tested on, as they lie on this machine.

    Args:
        run: the run.
        root: the folder that holds its data; None: where its configuration says.
        say: takes a line for the user.

    Raises:
        RequestError: the folder is missing, or has other images or classes.
        RunError: a download failed.
    """
    data, cache = data_of(run, root), cache_of(run)
    description = sources.check(data, cache)
    classes = run.result["data"]["classes"]
    if description.classes != classes:
        raise RequestError(
            f"data.root={data.root} has {description.classes} classes and the run was trained on "
            f"{classes}: say with data.root= where its data lies"
        )
    test = sources.load(data, cache, say).test
    if len(test.ids) != run.result["data"]["test"]:
        raise RequestError(
            f"data.root={data.root} has {len(test.ids):,} test images and the run was tested on "
            f"{run.result['data']['test']:,}: say with data.root= where its data lies"
        )
    return test


def sample(test: Split, count: int, seed: int) -> Split:
    """So many random images of a test set, or all where it has no more."""
    chosen = np.random.default_rng(seed).permutation(len(test.ids))[:count]
    return test.take(np.sort(chosen))


def verify(
    folder: Path,
    *,
    images: int,
    seed: int,
    root: str | None,
    device: torch.device,
    say: Callable[[str], None],
) -> Iterator[Compared]:
    """Compare each stored view of a run with what its weights give on a sample of its test images.

    Args:
        folder: the run's.
        images: how many test images each view is computed on.
        seed: of the sample.
        root: the folder that holds the run's data here; None: where its configuration says.
        device: what computes.
        say: takes a line for the user.

    Raises:
        RequestError: no such run, no views, or other data.
        RunError: the weights are damaged, or an image cannot be decoded.
    """
    run = finished_run(folder)
    wanted = stored_views(run)
    few = sample(test_images(run, root, say), images, seed)
    with opened(run, device) as trained:
        for view in wanted:
            yield _compared(run, trained, view, few, say)


def _compared(
    run: Run, trained: Trained, view: View, few: Split, say: Callable[[str], None]
) -> Compared:
    limit, count = tolerance(run), len(few.ids)
    try:
        kept = stored.read(run.folder, view, run.tested)
    except stored.Damaged as error:
        return Compared(view.name, count, float("nan"), 0, 0, limit, str(error))
    if kept is None:
        return Compared(view.name, count, float("nan"), 0, 0, limit, "it is gone")
    places = _places(kept.ids, few.ids, view)
    config = run.config
    anew = compute(
        trained.net,
        view,
        few,
        trained.prepare,
        EvaluationOptions(
            batch=config.test_batch, rescaling=rescaling(config.recipe.resize), say=say
        ),
    )
    before, after = kept.posteriors[places], anew.posteriors
    return Compared(
        view=view.name,
        images=count,
        difference=float(np.abs(before - after).max()),
        other_top1=int((before.argmax(axis=1) != after.argmax(axis=1)).sum()),
        other_labels=int((kept.labels[places] != few.labels).sum()),
        tolerance=limit,
    )


def _places(ids: NDArray[np.str_], wanted: Sequence[str], view: View) -> NDArray[np.int64]:
    """Where the wanted images stand among a view's."""
    rows = {str(name): row for row, name in enumerate(ids)}
    for name in wanted:
        if name not in rows:
            raise RequestError(
                f"view {view.name} knows no image {name}: say with data.root= where the data lies "
                "that the run was tested on"
            )
    return np.array([rows[name] for name in wanted], dtype=np.int64)


def table(rows: Sequence[Compared]) -> str:
    """A row for each view."""
    width = max(len(row.view) for row in rows)
    lines = [
        f"{'view':<{width}}  {'images':>6}  {'max |difference|':>16}  {'other top-1':>11}  within"
    ]
    for row in rows:
        line = (
            f"{row.view:<{width}}  {row.images:>6}  {row.difference:>16.1e}  "
            f"{row.other_top1:>11}  {'yes' if row.within else 'NO'}"
        )
        if row.other_labels:
            line += f" ({row.other_labels} labels are not the data's)"
        lines.append(f"{line} ({row.damage})" if row.damage else line)
    return "\n".join(lines)


def verdict(rows: Sequence[Compared]) -> str:
    """What the rows come to, in a line."""
    off = [row.view for row in rows if not row.within]
    if off:
        return (
            f"{len(off)} of {len(rows)} views are not what the weights give: {', '.join(off)}; "
            "remove them and give the run's command again, or doubt the weights"
        )
    return f"all {len(rows)} views are what the weights give, within {rows[0].tolerance:g}"
