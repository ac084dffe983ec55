"""From stored views to errors: every number of the report that a net gave starts here."""

import io
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from itertools import chain, product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from repro.config.schema import Init
from repro.errors import RequestError, leave_out, one_line
from repro.paper import numbers
from repro.protocol.protocols import BOXES, PROTOCOLS, View, of, readings, views, views_at
from repro.report.intervals import student
from repro.report.net import Net, NetOrEnsemble, label
from repro.store import boxes
from repro.store import runs as store
from repro.store import views as stored
from repro.store.expected import ListedImages
from repro.store.identity import base
from repro.store.ranks import Kept, Ranks, read
from repro.store.ranks import images as read_images
from repro.store.runs import Run
from repro.store.views import Posteriors

COLUMNS = [
    *("data", "size", "arch", "scale", "recipe", "init", "finetune", "precision", "seed"),
    *("protocol", "Q", "metric", "value", "paper", "run"),
]
TOP = {"top1_error": 1, "top5_error": 5}


@dataclass(frozen=True)
class Measured:
    """One net, or several whose posteriors are averaged, tested by one protocol."""

    runs: tuple[Run, ...]
    net: NetOrEnsemble
    protocol: str
    qs: tuple[tuple[int, ...], ...]
    """The test scales of each run, in paper pixels."""
    ranks: Ranks

    @property
    def run(self) -> Run:
        """The run, or the first of a fusion."""
        return self.runs[0]

    @property
    def seed(self) -> int:
        """The seed, which all nets of a fusion share."""
        return self.run.config.seed

    @property
    def q(self) -> str:
        """The test scales in paper pixels, as in `224,256,288`; of several nets joined by `+`."""
        return "+".join(",".join(map(str, own)) for own in self.qs)

    @property
    def wrong(self) -> NDArray[np.bool_]:
        """Top-1 errors, an image each, in the order of image ids."""
        return self.ranks.wrong(1)

    def joined(self, word: Callable[[Run], str]) -> str:
        """A word about each run, joined by `+`."""
        return "+".join(word(run) for run in self.runs)

    def error(self, metric: str) -> float | None:
        """Error in percent, or None where there are too few classes for the metric to mean much."""
        k = TOP.get(metric, 1)
        return 100 * float(self.ranks.wrong(k).mean()) if k < self.ranks.classes else None

    def paper(self, metric: str) -> float | None:
        """The paper's value of this cell; top-5 only where there are as many classes."""
        comparable = metric != "top5_error" or self.ranks.classes == numbers.CLASSES
        if comparable and all(numbers.is_table1(run.config.arch) for run in self.runs):
            return numbers.error_of(self.protocol, label(self.net), metric)
        return None


def usual_init(runs: Sequence[Run]) -> Init:
    """The commonest initialisation; diverged nets and nets that only give layers do not count. Of
    equals it is the recipe's.
    """
    parents = {run.config.init.copy_from for run in runs}
    counted = [run for run in runs if base(run.config.arch.name) not in parents]
    counted = [run for run in counted or runs if run.result["outcome"] != "diverged"] or list(runs)
    nets = {(r.config.arch.name, r.config.scale.name, r.config.init.name) for r in counted}
    counts = Counter(init for _, _, init in nets)
    own = runs[0].config.recipe.init
    usual = max(counts, key=lambda name: (counts[name], name == own, name))
    return next(run.config.init for run in counted if run.config.init.name == usual)


def measure(runs: Sequence[Run], usual: Init) -> list[Measured]:
    """Every number that the views or ranks of a setting's runs, of usual start, suffice for.

    A line says which view is damaged.
    """
    found = []
    for run in runs:
        # Here, since what is checked is still in memory when it is measured.
        for line in (line for one in run.places for line in stored.damaged(one, run.tested)):
            leave_out(line)
        net, scale = Net.of(run.config, usual), run.config.scale
        for protocol, qs in ((name, qs) for name in of(net.boxes) for qs in readings(name, scale)):
            if (ranks := _ranks((run,), protocol, (qs,))) is not None:
                found.append(Measured((run,), net, protocol, (qs,), ranks))
    return found


def fuse(measured: Sequence[Measured], nets: tuple[Net, ...], protocol: str) -> list[Measured]:
    """The mean posteriors of several nets of one setting, for every seed that all of them have."""
    fusions = []
    by_seed: dict[int, dict[NetOrEnsemble, Measured]] = {}
    for one in measured:
        if one.protocol == protocol:
            by_seed.setdefault(one.seed, {})[one.net] = one
    for _, found in sorted(by_seed.items()):
        if all(net in found for net in nets):
            runs = tuple(found[net].run for net in nets)
            qs = tuple(found[net].qs[0] for net in nets)
            if (ranks := _ranks(runs, protocol, qs)) is not None:
                fusions.append(Measured(runs, nets, protocol, qs, ranks))
    return fusions


def _ranks(runs: Sequence[Run], protocol: str, qs: Sequence[tuple[int, ...]]) -> Ranks | None:
    """By the mean posteriors of runs; where views are absent, the ranks that were kept of it."""
    each = list(zip(runs, qs, strict=True))
    try:
        if protocol in BOXES:
            # Of the union of their boxes, merged: 0 where an image's box is right, else 1.
            wanted = ((run, view) for run, q in each for view in views_at(protocol, q, run.config))
            read_boxes = [_located(run, view) for run, view in wanted]
            wrong = boxes.union(read_boxes).wrong(PROTOCOLS[protocol].constant)
            return Ranks(runs[0].tested.classes, wrong.astype(np.uint8))
        # Of an ensemble's posteriors one net's are in memory at a time.
        parts = (_posteriors(run, protocol, q) for run, q in each)
        return Ranks.of(next(parts) if len(runs) == 1 else stored.mean(parts))
    except stored.Absent:
        key = f"{protocol}@{'+'.join(','.join(map(str, own)) for own in qs)}"
        every = (kept(runs, folder) for folder in stores_of(runs))
        return next((one.ranks[key] for one in every if one and key in one.ranks), None)
    except (RequestError, ValueError) as error:
        names = " + ".join(run.name for run in runs)
        leave_out(f"{protocol} of {names}: {one_line(error)}")
        return None


def _posteriors(run: Run, protocol: str, qs: tuple[int, ...]) -> Posteriors:
    wanted = views_at(protocol, qs, run.config)
    for place in run.places:
        if (found := stored.mean_of(place, wanted, run.tested)) is not None:
            return found
    raise stored.Absent(f"{run.folder} holds no views for {protocol}")


def _located(run: Run, view: View) -> boxes.Located:
    for place in run.places:
        with suppress(stored.Absent):
            return stored.located(place, view, run.tested)
    raise stored.Absent(f"{run.folder} holds no view {view.name}")


def stores_of(runs: Sequence[Run]) -> list[Path]:
    """The folders of runs that hold numbers of these, the one that counts first."""
    return list(dict.fromkeys(place.parent for run in runs for place in run.places))


def kept(runs: Sequence[Run], folder: Path) -> Kept | None:
    """The ranks that a folder of runs keeps of a run or an ensemble; None also if damaged."""
    # Of a damaged file it was said when the runs were admitted.
    with suppress(RequestError):
        found = read(folder, [run.identity for run in runs], [run.tested for run in runs])
        # Older files do not say which nets: those of the runs that lie there.
        if found is not None and (found.weights or {run.folder.parent for run in runs} == {folder}):
            return found
    return None


def views_of(run: Run) -> list[View]:
    """Every view that some protocol takes of a run's net, each once."""
    every = (views(protocol, run.config) for protocol in of(run.config.boxes))
    return list(dict.fromkeys(view for some in every for view in some))


def listed_images(run: Run) -> ListedImages | None:
    """The test images of a run, by one of its views or by its ranks; None: neither is whole."""
    for place, view in product(run.places, views_of(run)):
        with suppress(RequestError):
            read_view = stored.located if run.config.locates else stored.read
            found: Any = read_view(place, view, run.tested)
            return ListedImages.of(found.ids, found.labels)
    for folder in stores_of([run]):
        with suppress(RequestError):
            if (own := kept([run], folder)) is not None:
                return read_images(folder, own.images)
    return None


def read_log(run: Run) -> pd.DataFrame | None:
    """A run's log, a row an epoch, or None where no epoch was finished or it is damaged."""
    content = store.log_content(run)
    return None if content is None else _log(content)


@cache
def _log(content: bytes) -> pd.DataFrame | None:
    try:
        log = pd.read_csv(io.BytesIO(content), dtype=float)
        whole = log.epoch.tolist() == [*range(1, len(log) + 1)]
        whole &= {"train_error", "validation_error"} <= set(log.columns)
        whole &= not np.isinf(log.to_numpy(float)).any()
    except (ValueError, TypeError, AttributeError):
        return None
    return log if len(log) and whole else None


def seconds(run: Run, view: View) -> float | None:
    """Seconds that computing a view of all test images took; None where not known."""
    by_view = (stored.seconds(place, view, run.tested) for place in run.places)
    by_rank = (kept([run], folder) for folder in stores_of([run]))
    every = chain(by_view, (one.seconds.get(view.name) for one in by_rank if one))
    return next((found for found in every if found is not None), None)


def results(measured: Sequence[Measured]) -> pd.DataFrame:
    """The tidy table `results.csv`: a row for each number."""
    rows = []
    for one in measured:
        config, fused = one.run.config, "fusion:" if len(one.runs) > 1 else ""
        inits = list(dict.fromkeys(run.config.init.name for run in one.runs))
        row = [config.data.name, config.size.name]
        row += [one.joined(lambda r: r.config.arch.name), one.joined(lambda r: r.config.scale.name)]
        row += [config.recipe.name]
        row += inits if len(inits) == 1 else [one.joined(lambda r: r.config.init.name)]
        # Of a run that locates for what, as in `per_class:fc`.
        tuned = one.joined(lambda r: f"{r.config.boxes}:" * r.config.locates + r.config.finetune)
        row += [tuned, config.precision, str(config.seed)]
        for metric in ("box_error",) if one.protocol in BOXES else TOP:
            if (value := one.error(metric)) is not None:
                paper = one.paper(metric)
                number = [fused + one.protocol, one.q, metric, f"{value:.4f}"]
                number += ["" if paper is None else f"{paper:.1f}"]
                rows.append([*row, *number, one.joined(lambda r: r.identity)])
    return pd.DataFrame(rows, columns=COLUMNS).sort_values(COLUMNS).reset_index(drop=True)


def spread(cells: Sequence[Measured]) -> dict[str, Any]:
    """An error (%) over seeds, with Student's 95% interval; of one seed Wilson's over images."""
    if len(cells) == 1:
        low, error, high = stored.interval(cells[0].wrong)
        return {"mean": error, "sd": None, "n": 1, "low": low, "high": high}
    errors, count = np.array([100 * cell.wrong.mean() for cell in cells]), len(cells)
    mean, sd = float(errors.mean()), float(errors.std(ddof=1))
    half = student(sd, count)
    ends = {"low": max(0.0, mean - half), "high": min(100.0, mean + half)}
    return {"mean": mean, "sd": sd, "n": count, **ends}
