"""Appendix B in the report: what linear SVMs on descriptors scored, and the claims on it.

A test has a value for each split. Its interval comes of draws of the images, with replacement, the
same for every run; over nets of several seeds their spread is added, as Student's.
"""

import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from repro.errors import RequestError
from repro.paper import numbers
from repro.protocol.measures import TEST, errors
from repro.protocol.protocols import TRANSFERS
from repro.report.claims import COLUMNS as CLAIM_COLUMNS
from repro.report.claims import TRANSFER, framed, registered
from repro.report.intervals import UNDECIDED, UNTESTABLE, Interval, decide, student
from repro.report.measured import COLUMNS
from repro.report.net import built, images_of, worded
from repro.report.obstacles import harder_to_train, untrained, weak_lrn
from repro.report.settings import setting
from repro.store import scores
from repro.store.identity import PUBLISHED, base
from repro.store.runs import Run
from repro.store.scores import Scores

DRAWS = 500
Draws = NDArray[np.float64]


@lru_cache(maxsize=4)
def _draws(images: int) -> NDArray[np.int64]:
    """How often each draw has each image, (draws, images)."""
    random = np.random.default_rng(0)
    return random.multinomial(images, np.full(images, 1 / images), size=DRAWS)


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
        trained = [(worded(run.config.arch.name), _trained(run)) for run in self.runs]
        return "+".join(f"{arch}:random" if t and not t["run"] else arch for arch, t in trained)

    @property
    def trained_on(self) -> str:
        """The data and the recipe of the net, or whose file it is."""
        words = []
        for run in self.runs if self.net != "pixels" else ():
            known, file = _trained(run), run.published or {}
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
        known = [_trained(run) for run in self.runs if self.net != "pixels"]
        return tuple(int(one["seed"]) for one in known if one is not None)

    @property
    def given(self) -> bool:
        """Whether there are no other seeds of it: a file of others', or no net."""
        return self.net == "pixels" or all(_trained(run) is None for run in self.runs)

    @property
    def q(self) -> str:
        """The test scales in paper pixels."""
        return ",".join(map(str, self.found.qs))

    @cached_property
    def drawn(self) -> dict[str, Draws]:
        """Each measure in percent by draws of the images, (splits, draws)."""
        weights = _draws(len(self.found.ids))[:, self.found.ids.argsort().argsort()]
        each = [
            errors(self.found.labels[part == TEST], values, weights[:, part == TEST])
            for part, values in self.found.splits
        ]
        return {name: np.stack([one[name] for one in each]) for name in each[0]}


def _trained(run: Run) -> dict[str, Any] | None:
    known: dict[str, Any] | None = (run.published or {}).get("trained")
    return known


Both = tuple[Tested, Tested]
"""The two sides of a claim, of one seed."""


class Transfers:
    """The runs of one setting whose descriptors were tested."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self.runs, self.setting = runs, setting(runs[0].config)
        self.data, self.images = base(self.setting.data), images_of(self.setting.data)
        known = {run.identity: run for run in runs}
        self.tested: list[Tested] = []
        for run in runs:
            for test in scores.stored(run.folder):
                # Of a damaged file it was said when the runs were admitted.
                with suppress(RequestError):
                    if (found := scores.read(run.folder, test, run.tested)) is None:
                        continue
                    other = known.get(found.partner)
                    if other and other.tested.weights == found.partner_weights:
                        both = sorted((run, other), key=lambda one: one.config.arch.name)
                        self.tested.append(Tested(tuple(both), found))
                    elif not found.partner:
                        self.tested.append(Tested((run,), found))

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
                paper = _paper(one, group.images, metric)
                number = [one.found.protocol, one.q, metric, f"{values.mean():.4f}"]
                number += ["" if paper is None else f"{paper:.1f}"]
                runs = "+".join(run.identity for run in one.runs)
                rows.append([*where, seed, *number, runs])
    return pd.DataFrame(rows, columns=COLUMNS)


def _paper(one: Tested, data: str, metric: str) -> float | None:
    """The paper's error (%) of the same cell: by the data's own test, and VOC's measure then."""
    look = TRANSFERS[one.found.protocol]
    usual = {"voc2007": "ap11_error"}.get(data, "recall_error")
    # VOC-2012's is of other images; it has no such measure.
    if look.stacked != data.startswith("caltech") or look.qs or metric != usual:
        return None
    value = numbers.transferred(one.net, data)
    return None if value is None else 100 - value


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


def claims() -> tuple[Mapping[str, Any], ...]:
    """The claims on descriptors, rows of `repro/paper/claims.yaml`."""
    return tuple(row for row in registered() if row["family"] == TRANSFER)


def judge(groups: Sequence[Transfers]) -> pd.DataFrame:
    """Rows of `claims.csv`: each claim on each setting and training that has both of its sides."""
    every = ((group, training) for group in groups for training in group.trainings)
    return framed([judged(claim, *one) for one in every for claim in claims()])


def judged(claim: Mapping[str, Any], group: Transfers, training: str = "") -> dict[str, Any] | None:
    """The row of one claim on nets of one training; None: what it needs is not there."""
    if group.data not in claim["data"]:
        return None
    tests = claim["tests"]
    left_test, right_test = (tests, tests) if isinstance(tests, str) else tests
    every, absent = set[int](), []
    used: dict[str, list[Both]] = {}
    for left, right in claim["pairs"]:
        ours = group.cells(left, left_test, training)
        theirs = group.cells(right, right_test, training)
        if right == "pixels":
            # They have no seed.
            theirs = {seed: one for seed in ours for one in theirs.values()}
        every |= ours.keys() | theirs.keys()
        if common := sorted(ours.keys() & theirs.keys()):
            used[f"{left} - {right}"] = [(ours[seed], theirs[seed]) for seed in common]
        else:
            absent.append(f"{left} - {right}")
    # The first seeds, in which all pairs are there: else their mean would be of other nets.
    seeds = set(sorted(every)[: claim["seeds"]])
    seeds = seeds.intersection(*({one.seed for one, _ in pairs} for pairs in used.values()))
    if not used or not seeds or (absent and claim.get("complete")):
        return None
    used = {name: [both for both in pairs if both[0].seed in seeds] for name, pairs in used.items()}
    measured = [", ".join(used), *([f"not run: {', '.join(absent)}"] if absent else [])]
    if training:
        measured.append(f"of {training}")
    row = _judged(claim, list(itertools.chain(*used.values())))
    if reason := next((why for pairs in used.values() for why in _obstacles(pairs)), ""):
        row |= {"verdict": UNTESTABLE, "verdict_holm": UNTESTABLE, "reason": reason}
    row["pooled"] = "; ".join([*measured, row["pooled"]])
    row |= {"left": f"{row['left']}/{left_test}", "right": f"{row['right']}/{right_test}"}
    return row | asdict(group.setting)


def _judged(claim: Mapping[str, Any], pairs: Sequence[Both]) -> dict[str, Any]:
    """The difference of both sides, the mean over the pairs of each seed, and its verdict."""
    metric = claim["metric"]
    gaps: dict[int | None, list[NDArray[np.float64]]] = {}
    for left, right in pairs:
        gap = left.found.errors[metric] - right.found.errors[metric]
        gaps.setdefault(left.seed, []).append(gap)
    # The spread of these is that of the nets.
    by_seed = np.array([np.mean(own, axis=0) for own in gaps.values()])
    drawn = [(left.drawn[metric] - right.drawn[metric]).mean(axis=0) for left, right in pairs]
    found = interval_of([np.mean(drawn, axis=0)] * len(by_seed), by_seed, -100.0)
    given = all(left.given and right.given for left, right in pairs)
    edge = float(claim.get("margin", 0))
    edges = (-edge, edge) if claim["kind"] == "equal_within" else (-math.inf, -edge)
    interval = Interval(found["low"], found["high"])
    verdict, _, _ = decide(interval, found["mean"], edges, lambda to: math.nan)
    reason = ""
    if not given and len(by_seed) < claim["seeds"]:
        verdict, reason = UNDECIDED, f"{len(by_seed)} of {claim['seeds']} seeds"
    splits = ", ".join(f"{value:+.1f}" for value in by_seed.mean(axis=0))
    return {
        **{key: claim[key] for key in CLAIM_COLUMNS if key in claim},
        "left": "; ".join(dict.fromkeys(left.net for left, _ in pairs)),
        "right": "; ".join(dict.fromkeys(right.net for _, right in pairs)),
        **{"difference": found["mean"], "ci_low": found["low"], "ci_high": found["high"]},
        # Of one split.
        "n_images": int((pairs[0][0].found.parts[0] == TEST).sum()),
        **{"n_seeds": len(by_seed), "reason": reason, "verdict": verdict, "verdict_holm": verdict},
        **{"primary": False, "margin": edge, "pooled": f"splits: {splits}"},
        "about": "nets" if given else "configuration",
    }


def _obstacles(pairs: Sequence[Both]) -> Iterator[str]:
    """Why two nets, of several seeds each, cannot show what the paper's do: not trained out.

    The rules are those of errors, asked of nets that were trained here.
    """
    alone = []
    for side in zip(*pairs, strict=True):
        for runs in zip(*(one.runs for one in side if one.net != "pixels"), strict=True):
            arch, trained = runs[0].config.arch, [_trained(run) for run in runs]
            known = [one for one in trained if one and one["run"]]
            if not known:
                continue
            net, name = built(runs[0].config, runs[0].result["data"]["classes"]), worded(arch.name)
            yield from weak_lrn(arch, net, runs[0].result[PUBLISHED]["input"]["input_range"])
            errors = [one.get("train_errors", []) for one in known]
            failed = [one["seed"] for one in known if not one.get("learnt", True)]
            yield from untrained(name, errors, failed)
            alone += [(net.weight_layers, name, errors)] * (len(side[0].runs) == 1)
    if len(alone) > 1:
        yield from harder_to_train(alone)
