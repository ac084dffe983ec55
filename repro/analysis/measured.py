"""From stored views to errors: every number of the report that a net gave starts here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from repro.paper import published
from repro.spec.scales import PROTOCOLS, q_of, views
from repro.store import views as stored
from repro.store.runs import Run
from repro.store.views import Posteriors

COLUMNS = [
    *("data", "size", "arch", "scale", "recipe", "init", "finetune", "precision", "seed"),
    *("protocol", "Q", "metric", "value", "paper", "run"),
]
TOP = {"top1_error": 1, "top5_error": 5}


@dataclass(frozen=True)
class Measured:
    """One net tested by one protocol."""

    run: Run
    protocol: str
    posteriors: Posteriors

    @property
    def q(self) -> str:
        """The test scales in paper pixels, as in `224,256,288`."""
        return ",".join(map(str, q_of(self.protocol, self.run.config.scale)))

    @property
    def images(self) -> int:
        """Test images."""
        return len(self.posteriors.labels)

    @cached_property
    def wrong(self) -> NDArray[np.bool_]:
        """Top-1 errors, an image each, in the order of image ids."""
        return stored.wrong(self.posteriors, 1)

    def error(self, metric: str) -> float | None:
        """Error in percent, or None where there are too few classes for the metric to mean much."""
        if self.posteriors.posteriors.shape[1] <= TOP[metric]:
            return None
        return 100 * float(stored.wrong(self.posteriors, TOP[metric]).mean())

    def published(self, metric: str) -> float | None:
        """The paper's value of this cell; top-5 only where there are as many classes."""
        config = self.run.config
        classes = self.posteriors.posteriors.shape[1]
        if config.finetune != "all" or (metric == "top5_error" and classes != published.CLASSES):
            return None
        return published.error(self.protocol, config.arch.name, config.scale.name, metric)


def measure(runs: Sequence[Run]) -> list[Measured]:
    """Every protocol that the stored views of the runs suffice for.

    Raises:
        RequestError: a stored view is damaged.
    """
    found = []
    for run in runs:
        for protocol in PROTOCOLS:
            wanted = views(protocol, run.config.scale, run.config.data.mirror)
            read = [stored.read(run.folder, view) for view in wanted]
            present = [posteriors for posteriors in read if posteriors is not None]
            if len(present) == len(wanted):
                found.append(Measured(run, protocol, stored.mean(present)))
    return found


def results(measured: Sequence[Measured]) -> pd.DataFrame:
    """The tidy table `results.csv`: a row for each number."""
    rows = []
    for one in measured:
        config = one.run.config
        for metric in TOP:
            value = one.error(metric)
            if value is None:
                continue
            paper = one.published(metric)
            row = [config.data.name, config.size.name, config.arch.name, config.scale.name]
            row += [config.recipe.name, config.init.name, config.finetune, config.precision]
            row += [str(config.seed), one.protocol, one.q, metric, f"{value:.4f}"]
            row += ["" if paper is None else f"{paper:.1f}", one.run.identity]
            rows.append(row)
    return pd.DataFrame(rows, columns=COLUMNS).sort_values(COLUMNS).reset_index(drop=True)


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
