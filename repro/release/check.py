"""Stored views computed anew, on a random sample of the test images, and held against the store."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from repro.data import sources
from repro.data.split import Split
from repro.errors import RequestError
from repro.protocol.protocols import View
from repro.release.answers import options
from repro.release.trained import Trained, cache_of, data_of, finished_run, opened
from repro.run.views import compute
from repro.store import views as stored
from repro.store.runs import Run

TF32, FLOAT32 = 1e-2, 1e-4
"""How far apart posteriors may be that two machines compute, in the run's precision."""
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
    names = (NAMED.fullmatch(file.stem) for file in sorted((run.folder / "views").glob("*.npz")))
    views = [View(name[1], int(name[2]), bool(name[3])) for name in names if name]
    if not views:
        raise RequestError(f"run={run.folder} has no stored views: there is nothing to compare")
    test = _test_images(run, root, say)
    chosen = np.random.default_rng(seed).permutation(len(test.ids))[:images]
    few = test.take(np.sort(chosen))
    with opened(run, device) as trained:
        for view in views:
            yield _compared(run, trained, view, few, say)


def _test_images(run: Run, root: str | None, say: Callable[[str], None]) -> Split:
    """The images that a run was tested on, as they lie on this machine."""
    data, cache, wanted = data_of(run, root), cache_of(run), run.result["data"]
    classes = sources.check(data, cache).classes
    count = wanted["test"]
    if classes == wanted["classes"]:
        test = sources.load(data, cache, say).test
        count = len(test.ids)
        if count == wanted["test"]:
            return test
    raise RequestError(
        f"data.root={data.root} has {count:,} test images of {classes} classes and the run was "
        f"tested on {wanted['test']:,} of {wanted['classes']} classes: say with data.root= where "
        "its data lies"
    )


def _compared(
    run: Run, trained: Trained, view: View, few: Split, say: Callable[[str], None]
) -> Compared:
    halves = HALVES if run.result["data"]["classes"] > stored.LOGARITHMS_ABOVE else 0.0
    limit = (TF32 if run.config.precision == "tf32" else FLOAT32) + halves
    try:
        kept, damage = stored.read(run.folder, view, run.tested), "it is gone"
    except stored.Damaged as error:
        kept, damage = None, str(error)
    if kept is None:
        return Compared(view.name, len(few.ids), float("nan"), 0, 0, limit, damage)
    rows = {str(name): row for row, name in enumerate(kept.ids)}
    if unknown := [name for name in few.ids if name not in rows]:
        raise RequestError(
            f"view {view.name} knows no image {unknown[0]}: say with data.root= where the data "
            "lies that the run was tested on"
        )
    places = [rows[name] for name in few.ids]
    anew = compute(trained.net, view, few, trained.prepare, options(run.config, say))
    before, after = kept.posteriors[places], anew.posteriors
    return Compared(
        view=view.name,
        images=len(few.ids),
        difference=float(np.abs(before - after).max()),
        other_top1=int((before.argmax(axis=1) != after.argmax(axis=1)).sum()),
        other_labels=int((kept.labels[places] != few.labels).sum()),
        tolerance=limit,
    )


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
