"""Stored views computed anew, on a random sample of the test images, and held against the store."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from repro.data import sources
from repro.data.split import Split
from repro.errors import RequestError
from repro.protocol.protocols import View
from repro.release.answers import options, say_aside
from repro.release.trained import Trained, data_of, finished_run, opened
from repro.run.views import compute
from repro.store import views as stored
from repro.store.runs import CACHE, Run

TF32, FLOAT32 = 1e-2, 1e-4
"""How far apart posteriors may be that two machines compute, by the view's precision."""
HALVES = 1e-4
"""The error of logarithms kept in 16 bits: |p log p| / 2^12 at most, which is 0.9e-4."""


class Compared(NamedTuple):
    """One view, as it is stored and as it was computed anew."""

    view: str
    tolerance: float
    difference: float = float("nan")
    """The largest |difference| of a posterior."""
    other_top1: int = 0
    """Images whose best class differs."""
    fault: str = ""
    """A reason to refuse the view whatever its posteriors are."""

    @property
    def within(self) -> bool:
        """Whether all that differs is rounding; what is not a number is more."""
        return self.difference <= self.tolerance and not self.fault


def verify(
    folder: Path, images: int, seed: int, root: str | None, device: torch.device
) -> tuple[int, list[Compared]]:
    """How many test images were looked at anew, and how each view compares (`root`: its data).

    RequestError: no such run, no views, or other data. RunError: damaged weights or images.
    """
    run = finished_run(folder)
    files = stored.files(run.folder)
    views = [view for file in files if (view := View.named(file.stem))]
    if not views:
        raise RequestError(f"run={run.folder} has no stored views: there is nothing to compare")
    data, cache, tested = data_of(run, root), run.folder.parent / CACHE, run.tested
    classes = sources.check(data, cache).classes
    test = sources.load(data, cache, say_aside).test if classes == tested.classes else None
    if test is None or len(test.ids) != tested.images:
        raise RequestError(f"data.root={data.root} has not {tested}: say where the run's data lies")
    few = test.take(np.sort(np.random.default_rng(seed).permutation(len(test.ids))[:images]))
    with opened(run, device) as trained:
        return len(few.ids), list(_compared(run, trained, views, few))


def _compared(run: Run, trained: Trained, views: list[View], few: Split) -> Iterator[Compared]:
    for view in views:
        precision = view.precision or run.config.usual_test_precision
        limit = TF32 if precision == "tf32" else FLOAT32
        limit += HALVES if run.tested.classes > stored.LOGARITHMS_ABOVE else 0.0
        try:
            kept = stored.read(run.folder, view, run.tested)
        except stored.Absent as error:
            yield Compared(view.name, limit, fault=str(error))
            continue
        rows = {str(name): row for row, name in enumerate(kept.ids)}
        if unknown := [name for name in few.ids if name not in rows]:
            said = f"view {view.name} knows no image {unknown[0]}"
            raise RequestError(f"{said}: say with data.root= where the run's data lies")
        places = [rows[name] for name in few.ids]
        before, others = kept.posteriors[places], (kept.labels[places] != few.labels).sum()
        after = compute(trained.net, view, few, options(trained)).posteriors
        best = int((before.argmax(axis=1) != after.argmax(axis=1)).sum())
        fault = f"{others} labels are not the data's" if others else ""
        yield Compared(view.name, limit, float(np.abs(before - after).max()), best, fault)
