"""Appendix B in the report: what linear SVMs on descriptors scored, and the claims on it.

A test has a value for each split. Its interval comes of draws of the images, with replacement, the
same for every run; over nets of several seeds their spread is added, as Student's.
"""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from repro.errors import leave_out
from repro.paper import numbers
from repro.protocol.measures import TEST, errors
from repro.protocol.protocols import TRANSFERS
from repro.report.intervals import student
from repro.report.measured import COLUMNS
from repro.report.net import images_of, worded
from repro.report.settings import setting
from repro.store import scores
from repro.store.identity import base
from repro.store.runs import Run
from repro.store.scores import Scores

DRAWS = 500
Draws = NDArray[np.float64]


@lru_cache(maxsize=4)
def _draws(images: int) -> NDArray[np.int16]:
    """How often each draw has each image, (draws, images); in few bytes, for there are many."""
    random = np.random.default_rng(0)
    return random.multinomial(images, np.full(images, 1 / images), size=DRAWS).astype(np.int16)


@dataclass(frozen=True)
class Tested:
    """One test of one net's descriptors, or of two nets' stacked."""

    runs: tuple[Run, ...]
    found: Scores

    @property
    def net(self) -> str:
        """Its name in claims: `D`, `D:random`, `D+E`, or `pixels` where no net is asked."""
        if TRANSFERS[self.found.protocol].kind == "pixels":
            return "pixels"
        trained = [(worded(run.config.arch.name), training(run)) for run in self.runs]
        return "+".join(f"{arch}:random" if t and not t["run"] else arch for arch, t in trained)

    @property
    def trained_on(self) -> str:
        """The data and the recipe of the net, or whose file it is."""
        words = []
        for run in self.runs if self.net != "pixels" else ():
            known, file = training(run), run.published or {}
            if known is None:
                words.append(f"a file of {file['format']}, {file['sha256'][:8]}")
            elif not known["data"]:
                words.append(f"random ({known['recipe']})")
            else:
                words.append(f"{worded(known['data'])}, {known['recipe']}")
        return " + ".join(dict.fromkeys(words))

    @property
    def training(self) -> str:
        """What claims on one training have in common: `trained_on` without digests; empty: none."""
        if self.net == "pixels" or self.net.endswith(":random"):
            return ""
        each = re.sub(r"(a file of \w+), \w+", r"\1", self.trained_on).split(" + ")
        return " + ".join(dict.fromkeys(each))

    @property
    def seed(self) -> int | None:
        """The seed of the net; 0 where it is not known, or no matter; None: two nets' differ."""
        seeds = set(self.seeds) or {0}
        return seeds.pop() if len(seeds) == 1 else None

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of its nets, as far as they are known."""
        known = [training(run) for run in self.runs if self.net != "pixels"]
        return tuple(int(one["seed"]) for one in known if one is not None)

    @property
    def given(self) -> bool:
        """Whether there are no other seeds of it: a file of others', or no net."""
        return self.net == "pixels" or all(training(run) is None for run in self.runs)

    @property
    def q(self) -> str:
        """The test scales in paper pixels."""
        return ",".join(map(str, self.found.qs))

    def paper(self, data: str, metric: str) -> float | None:
        """The paper's error (%) of the same cell: by the data's own test and measure."""
        look = TRANSFERS[self.found.protocol]
        # The labels of VOC-2012's test images are its server's.
        if look.stacked != data.startswith("caltech") or look.qs or data == "voc2012":
            return None
        value = numbers.transferred(self.net, data) if metric == usual_metric(data) else None
        return None if value is None else 100 - value

    @cached_property
    def drawn(self) -> dict[str, Draws]:
        """Each measure in percent by draws of the images, (splits, draws)."""
        draws, place = _draws(len(self.found.ids)), self.found.ids.argsort().argsort()
        each = [
            errors(self.found.labels[part == TEST], values, draws.take(place[part == TEST], axis=1))
            for part, values in self.found.splits
        ]
        return {name: np.stack([one[name] for one in each]) for name in each[0]}


def usual_metric(data: str) -> str:
    """The usual measure of a data set; of VOC its own of that year: 11 points until 2009."""
    known = {"voc2007": "ap11_error", "voc2012": "ap_area_error"}
    return known.get(data, "recall_error")


def _each_once(tested: Sequence[Tested]) -> Iterator[Tested]:
    """Of two nets of one training and seed, as of two machines, the first."""
    seen: dict[object, Tested] = {}
    for one in tested:
        key = one.net, one.trained_on, one.found.protocol, one.q, one.seeds
        first = seen.setdefault(key, one)
        if first is one or not one.seeds:
            yield one
        else:
            names = ["+".join(run.name for run in each.runs) for each in (one, first)]
            said = f"{names[1]} is of the same training and seed, and counts"
            leave_out(f"{one.found.protocol} of {names[0]}: {said}")


def training(run: Run) -> dict[str, Any] | None:
    """What its record says of the training of a run's net; None: of a file it is not known."""
    known: dict[str, Any] | None = (run.published or {}).get("trained")
    return known


class Transfers:
    """The runs of one setting whose descriptors were tested."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self.runs, self.setting = runs, setting(runs[0].config)
        self.data, self.images = base(self.setting.data), images_of(self.setting.data)
        self.metric = usual_metric(runs[0].config.data.source or self.data)
        known = {run.identity: run for run in runs}
        self.tested: list[Tested] = []
        seen: set[tuple[str, frozenset[str]]] = set()
        for run in runs:
            for found in scores.whole(run.places, run.tested):
                key = found.protocol, frozenset({run.identity, found.partner})
                # Two nets are the same in either order.
                if key in seen:
                    continue
                other = known.get(found.partner)
                if other and other.tested.weights == found.partner_weights:
                    both = sorted((run, other), key=lambda one: one.config.arch.name)
                    self.tested.append(Tested(tuple(both), found))
                    seen.add(key)
                elif not found.partner:
                    self.tested.append(Tested((run,), found))
                else:
                    why = "its partner is not among the runs of this setting, or another now"
                    leave_out(f"{run.folder / scores.file_name(found.name)}: {why}")
        every, self.tested = self.tested, list(_each_once(self.tested))
        there, kept = (
            {r.identity for one in some for r in one.runs} for some in (every, self.tested)
        )
        self.runs = [run for run in runs if run.identity in kept or run.identity not in there]

    @property
    def trainings(self) -> list[str]:
        """The trainings that there are nets of."""
        return sorted({one.training for one in self.tested} - {""})

    def cells(self, net: str, test: str, training: str) -> dict[int, Tested]:
        """One net of a training, or not trained, or two of one seed, in one test, by its seed.

        Of nets that are not trained those of one initialisation: of which there are most.
        """
        found: dict[str, dict[int, Tested]] = {}
        for one in self.tested:
            here = (one.net, one.found.protocol) == (net, test) and one.training in (training, "")
            if here and one.seed is not None:
                kind = one.training or one.trained_on
                found.setdefault(kind, {}).setdefault(one.seed, one)
        return max(found.values(), key=len, default={})


def results(groups: Sequence[Transfers]) -> pd.DataFrame:
    """Rows of `results.csv`: the mean over the splits of each test and measure."""
    rows = []
    for group in groups:
        for one in group.tested:
            names = [[getattr(r.config, k).name for r in one.runs] for k in ("scale", "init")]
            (scale, init), here = map("+".join, names), group.setting
            where = [here.data, here.size, one.net, scale, here.recipe, init, "all", here.precision]
            seed = "" if one.seed is None else str(one.seed)
            for metric, values in one.found.errors.items():
                paper = one.paper(group.images, metric)
                number = [one.found.protocol, one.q, metric, f"{values.mean():.4f}"]
                number += ["" if paper is None else f"{paper:.1f}"]
                runs = "+".join(run.identity for run in one.runs)
                rows.append([*where, seed, *number, runs])
    return pd.DataFrame(rows, columns=COLUMNS)


def interval_of(
    drawn: Sequence[Draws], values: NDArray[np.float64], least: float = 0.0
) -> dict[str, Any]:
    """Mean, deviations, interval of `values` (seeds, splits), which lie from `least` to 100.

    `drawn` are the means over the splits by draws of the images, (draws,), of each seed.
    """
    seeds, mean = len(values), float(values.mean())
    half = 1.96 * float(np.mean(drawn, axis=0).std())
    deviation = float(values.mean(axis=1).std(ddof=1)) if seeds > 1 else None
    if deviation is not None:
        half = math.hypot(half, student(deviation, seeds))
    splits = float(values.std(axis=1, ddof=1).mean()) if values.shape[1] > 1 else None
    found = {"mean": mean, "splits_sd": splits, "seeds_sd": deviation, "n": seeds}
    found |= {"low": max(least, mean - half), "high": min(100.0, mean + half)}
    return {key: value and round(value, 4) for key, value in found.items()}
