"""From stored views to errors: every number of the report that a net gave starts here."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from repro.config import Init
from repro.errors import RequestError
from repro.paper import published
from repro.spec.scales import PROTOCOLS, readings, views_at
from repro.store import views as stored
from repro.store.identity import base
from repro.store.runs import Run
from repro.store.views import Posteriors

COLUMNS = [
    *("data", "size", "arch", "scale", "recipe", "init", "finetune", "precision", "seed"),
    *("protocol", "Q", "metric", "value", "paper", "run"),
]
TOP = {"top1_error": 1, "top5_error": 5}


@dataclass(frozen=True)
class Errors:
    """What is kept of posteriors, which for many classes are a thousand times as large."""

    classes: int
    wrong: dict[int, NDArray[np.bool_]]
    """By k, whether each image's class is not among the k best, in the order of image ids; only
    for k below the number of classes."""

    @classmethod
    def of(cls, posteriors: Posteriors) -> Errors:
        """The errors that posteriors make."""
        classes = posteriors.posteriors.shape[1]
        wrong = {k: stored.wrong(posteriors, k) for k in TOP.values() if k < classes}
        return cls(classes, wrong)


@dataclass(frozen=True)
class Measured:
    """One net, or several whose posteriors are averaged, tested by one protocol."""

    runs: tuple[Run, ...]
    net: str
    """As in `D-jitter-fc` (see `net_label`); the nets of a fusion joined by `+`."""
    protocol: str
    qs: tuple[tuple[int, ...], ...]
    """The test scales of each run, in paper pixels."""
    errors: Errors

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
        """The test scales in paper pixels, as in `224,256,288`."""
        return "+".join(",".join(map(str, qs)) for qs in self.qs)

    @property
    def images(self) -> int:
        """Test images."""
        return len(self.wrong)

    @property
    def wrong(self) -> NDArray[np.bool_]:
        """Top-1 errors, an image each, in the order of image ids."""
        return self.errors.wrong[1]

    def joined(self, word: Callable[[Run], str]) -> str:
        """A word about each run, joined by `+`."""
        return "+".join(word(run) for run in self.runs)

    def error(self, metric: str) -> float | None:
        """Error in percent, or None where there are too few classes for the metric to mean much."""
        wrong = self.errors.wrong.get(TOP[metric])
        return None if wrong is None else 100 * float(wrong.mean())

    def published(self, metric: str) -> float | None:
        """The paper's value of this cell; top-5 only where there are as many classes."""
        if metric == "top5_error" and self.errors.classes != published.CLASSES:
            return None
        if not all(published.is_table1(run.config.arch) for run in self.runs):
            return None
        if PROTOCOLS[self.protocol].scales == "each":
            return None
        return published.error_of(self.protocol, self.net, metric)


def usual_init(runs: Sequence[Run]) -> Init:
    """The initialisation that a setting's plain names stand for.

    It is that of most nets which did not diverge, those that others start from left aside; where
    there are as many, the recipe's own.
    """
    parents = {run.config.init.copy_from for run in runs}
    counted = [run for run in runs if base(run.config.arch.name) not in parents]
    counted = [run for run in counted or runs if run.result["outcome"] != "diverged"] or list(runs)
    nets = {(r.config.arch.name, r.config.scale.name, r.config.init.name) for r in counted}
    counts = Counter(init for _, _, init in nets)
    own = runs[0].config.recipe.init
    usual = max(counts, key=lambda name: (counts[name], name == own, name))
    return next(run.config.init for run in counted if run.config.init.name == usual)


def members(net: str) -> list[str]:
    """The labels of an ensemble's members; the `+` of a changed name (`E+fc=...`) parts none."""
    return re.split(r"\+(?![\w.]+=|[0-9a-f]{6}(?:-|$))", net)


def net_label(run: Run, usual: Init) -> str:
    """What tells the nets of one setting apart, seeds aside, as in `D-jitter-fc`.

    Args:
        run: a run of the setting.
        usual: the setting's initialisation; another is named, as in `E-S256-he`. The net that the
            others of a setting start from is named plainly: it has no other way to start itself.
    """
    config = run.config
    words = [config.arch.name, config.scale.name]
    if config.finetune != "all":
        words.append(config.finetune)
    starts_others = usual.copy_from == base(config.arch.name)
    if config.init.name != usual.name and not (
        starts_others and config.init.name == config.recipe.init
    ):
        words.append(config.init.name)
    return "-".join(words)


def measure(runs: Sequence[Run], usual: Init | None = None) -> list[Measured]:
    """Every number that the stored views of the runs of a setting suffice for.

    Args:
        runs: of one setting.
        usual: the setting's initialisation; None: that of most of these runs.

    Raises:
        RequestError: a stored view does not show the images of another.
    """
    usual = usual or usual_init(runs)
    found = []
    for run in runs:
        for protocol in PROTOCOLS:
            for qs in readings(protocol, run.config.scale):
                posteriors = _posteriors(run, protocol, qs)
                if posteriors is not None:
                    label, errors = net_label(run, usual), Errors.of(posteriors)
                    found.append(Measured((run,), label, protocol, (qs,), errors))
    return found


def _posteriors(run: Run, protocol: str, qs: tuple[int, ...]) -> Posteriors | None:
    return stored.mean_of(run.folder, views_at(protocol, qs, run.config.data.mirror))


def _again(run: Run, protocol: str, qs: tuple[int, ...]) -> Posteriors:
    found = _posteriors(run, protocol, qs)
    if found is None:
        raise RequestError(f"{run.folder} changed while it was read: give the command again")
    return found


def fuse(measured: Sequence[Measured], nets: Sequence[str], protocol: str) -> list[Measured]:
    """The mean posteriors of several nets of one setting, for every seed that all of them have.

    Args:
        measured: nets of one setting.
        nets: which, as in `D-jitter`.
        protocol: how each is tested, at the test scales of its own S.

    Raises:
        RequestError: a view that was measured is gone.
    """
    seeds = sorted({one.seed for one in measured})
    fusions = []
    for seed in seeds:
        found = {one.net: one for one in measured if (one.protocol, one.seed) == (protocol, seed)}
        if all(net in found for net in nets):
            chosen = [found[net] for net in nets]
            runs = tuple(one.run for one in chosen)
            qs = tuple(one.qs[0] for one in chosen)
            parts = (_again(run, protocol, q) for run, q in zip(runs, qs, strict=True))
            errors = Errors.of(stored.mean(parts))
            fusions.append(Measured(runs, "+".join(nets), protocol, qs, errors))
    return fusions


def results(measured: Sequence[Measured]) -> pd.DataFrame:
    """The tidy table `results.csv`: a row for each number."""
    rows = []
    for one in measured:
        config = one.run.config
        fused = "fusion:" if len(one.runs) > 1 else ""
        for metric in TOP:
            value = one.error(metric)
            if value is None:
                continue
            paper = one.published(metric)
            row = [config.data.name, config.size.name]
            row += [one.joined(lambda r: r.config.arch.name)]
            row += [one.joined(lambda r: r.config.scale.name)]
            row += [config.recipe.name, _same_or_joined(one, lambda r: r.config.init.name)]
            row += [one.joined(lambda r: r.config.finetune), config.precision]
            row += [str(config.seed), fused + one.protocol, one.q, metric, f"{value:.4f}"]
            row += ["" if paper is None else f"{paper:.1f}", one.joined(lambda r: r.identity)]
            rows.append(row)
    return pd.DataFrame(rows, columns=COLUMNS).sort_values(COLUMNS).reset_index(drop=True)


def _same_or_joined(one: Measured, word: Callable[[Run], str]) -> str:
    words = {word(run) for run in one.runs}
    return words.pop() if len(words) == 1 else one.joined(word)


@dataclass(frozen=True)
class Spread:
    """An error over the seeds that there are, in percent."""

    mean: float
    low: float
    high: float
    sd: float | None
    """Standard deviation over seeds; None for one seed."""
    seeds: int
    images: int

    def __str__(self) -> str:
        if self.sd is None:
            return f"{self.mean:.1f} [{self.low:.1f}; {self.high:.1f}]"
        return f"{self.mean:.1f} ± {self.sd:.1f} (n={self.seeds})"


def spread(cells: Sequence[Measured]) -> Spread:
    """Mean and interval of one cell.

    With one seed the interval is Wilson's over test images, for this net; with several it is
    Student's over seeds, for the configuration.

    Raises:
        ValueError: no cells.
    """
    errors = np.array([100 * cell.wrong.mean() for cell in cells])
    images = cells[0].images
    if len(cells) == 1:
        low, error, high = stored.interval(cells[0].wrong)
        return Spread(error, low, high, None, 1, images)
    mean, sd = float(errors.mean()), float(errors.std(ddof=1))
    half = float(stats.t.ppf(0.975, len(cells) - 1)) * sd / len(cells) ** 0.5
    return Spread(mean, max(0.0, mean - half), min(100.0, mean + half), sd, len(cells), images)
