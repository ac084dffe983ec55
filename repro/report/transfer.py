"""Appendix B in the report: what linear SVMs on descriptors scored, and the claims on it.

A test has a value for each split. Its interval comes of draws of the images, with replacement, the
same for every run; over nets of several seeds their spread is added, as Student's.
"""

import math
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
from repro.report.net import built, worded
from repro.report.obstacles import harder_to_train, untrained, weak_lrn
from repro.report.settings import setting
from repro.store import scores
from repro.store.identity import PUBLISHED, base
from repro.store.runs import Run
from repro.store.scores import Scores

DRAWS = 500
Draws = NDArray[np.float64]
Key = tuple[str, int]
"""What a net was trained on, and its seed."""


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
    def seed(self) -> int | None:
        """The seed of the net; 0 where it is not known, or no matter; None: two nets' differ."""
        known = [_trained(run) for run in self.runs if self.net != "pixels"]
        seeds = {int(one["seed"]) for one in known if one is not None} or {0}
        return seeds.pop() if len(seeds) == 1 else None

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


class Transfers:
    """The runs of one setting whose descriptors were tested."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self.runs, self.setting = runs, setting(runs[0].config)
        self.data = base(self.setting.data)
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

    def cells(self, net: str, test: str) -> dict[Key, Tested]:
        """One net, or two of one seed, in one test, by what it was trained on and its seed."""
        every = (one for one in self.tested if (one.net, one.found.protocol) == (net, test))
        return {(one.trained_on, seed): one for one in every if (seed := one.seed) is not None}


def results(groups: Sequence[Transfers]) -> pd.DataFrame:
    """Rows of `results.csv`: the mean over the splits of each test and measure."""
    rows = []
    for group in groups:
        for one in group.tested:
            configs = [run.config for run in one.runs]
            names = [[getattr(c, key).name for c in configs] for key in ("arch", "scale", "init")]
            (arch, scale, init), here = map("+".join, names), group.setting
            where = [here.data, here.size, arch, scale, here.recipe, init, "all", here.precision]
            for metric, values in one.found.errors.items():
                paper = _paper(one, group.data, metric)
                number = [one.found.protocol, one.q, metric, f"{values.mean():.4f}"]
                number += ["" if paper is None else f"{paper:.1f}"]
                runs = "+".join(run.identity for run in one.runs)
                rows.append([*where, str(one.seed), *number, runs])
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


def interval_of(drawn: Sequence[Draws], values: NDArray[np.float64]) -> dict[str, Any]:
    """Mean, deviations, interval of `values` (seeds, splits); `drawn`: (draws,) of each seed."""
    seeds, mean = len(values), float(values.mean())
    half = 1.96 * float(np.mean(drawn, axis=0).std())
    deviation = float(values.mean(axis=1).std(ddof=1)) if seeds > 1 else None
    if deviation is not None:
        half = math.hypot(half, student(deviation, seeds))
    splits = float(values.std(axis=1, ddof=1).mean()) if values.shape[1] > 1 else None
    found = {"mean": mean, "splits_sd": splits, "seeds_sd": deviation, "n": seeds}
    found |= {"low": mean - half, "high": mean + half}
    return {key: value and round(value, 4) for key, value in found.items()}


def claims() -> tuple[Mapping[str, Any], ...]:
    """The claims on descriptors, rows of `repro/paper/claims.yaml`."""
    return tuple(row for row in registered() if row["family"] == TRANSFER)


def judge(groups: Sequence[Transfers]) -> pd.DataFrame:
    """Rows of `claims.csv`: each claim on each setting that has both of its sides."""
    return framed([judged(claim, group) for group in groups for claim in claims()])


def judged(claim: Mapping[str, Any], group: Transfers) -> dict[str, Any] | None:
    """The row of one claim on one setting; None: one of its sides is not there."""
    if group.data not in claim["data"]:
        return None
    tests, metric = claim["tests"], claim["metric"]
    left_test, right_test = (tests, tests) if isinstance(tests, str) else tests
    every = set[int]()
    used: dict[str, list[tuple[Tested, Tested]]] = {}
    for left, right in claim["pairs"]:
        ours, theirs = group.cells(left, left_test), group.cells(right, right_test)
        every |= {seed for _, seed in ours}
        pairs = [(one, other) for k, one in ours.items() if (other := _beside(theirs, k))]
        used |= {f"{left} - {right}": pairs} if pairs else {}
    # The first seeds, in which all pairs are there: else their mean would be of other nets.
    seeds = set(sorted(every)[: claim["seeds"]])
    seeds = seeds.intersection(*({a.seed for a, _ in pairs} for pairs in used.values()))
    both = [(a, b) for pairs in used.values() for a, b in pairs if a.seed in seeds]
    if not both:
        return None
    gaps = [(a.seed, a.found.errors[metric] - b.found.errors[metric]) for a, b in both]
    draws = [(a.drawn[metric] - b.drawn[metric]).mean(axis=0) for a, b in both]
    # The mean over pairs of each seed: its spread is that of the nets.
    by_seed = [np.mean([gap for s, gap in gaps if s == seed], axis=0) for seed in sorted(seeds)]
    found = interval_of([np.mean(draws, axis=0)] * len(by_seed), np.array(by_seed))
    given = all(one.given and other.given for one, other in both)
    edge = float(claim.get("margin", 0))
    edges = (-edge, edge) if claim["kind"] == "equal_within" else (-math.inf, -edge)
    interval = Interval(found["low"], found["high"])
    verdict, _, _ = decide(interval, found["mean"], edges, lambda to: math.nan)
    reason = next((why for o in used.values() for why in _obstacles(o, seeds)), "")
    if reason:
        verdict = UNTESTABLE
    elif not given and len(by_seed) < claim["seeds"]:
        verdict, reason = UNDECIDED, f"{len(by_seed)} of {claim['seeds']} seeds"
    each = ", ".join(f"{value:+.1f}" for value in np.mean(by_seed, axis=0))
    row = {key: claim[key] for key in CLAIM_COLUMNS if key in claim}
    row |= {"left": f"{'; '.join(dict.fromkeys(a.net for a, _ in both))}/{left_test}"}
    row |= {"right": f"{'; '.join(dict.fromkeys(b.net for _, b in both))}/{right_test}"}
    row |= {"difference": found["mean"], "ci_low": found["low"], "ci_high": found["high"]}
    row |= {"n_images": len(both[0][0].found.ids), "n_seeds": len(by_seed), "reason": reason}
    row |= {"verdict": verdict, "verdict_holm": verdict, "primary": False, "margin": edge}
    row |= {"pooled": f"{', '.join(used)}; splits: {each}"}
    return row | {"about": "nets" if given else "configuration"} | asdict(group.setting)


def _obstacles(pairs: Sequence[tuple[Tested, Tested]], seeds: set[int]) -> Iterator[str]:
    """Why two nets, of some seeds each, cannot show what the paper's do: they are not trained out.

    The rules are those of errors, asked of nets that were trained here.
    """
    alone = []
    for side in zip(*(both for both in pairs if both[0].seed in seeds), strict=True):
        for runs in zip(*(one.runs for one in side if one.net != "pixels"), strict=True):
            arch, trained = runs[0].config.arch, [_trained(run) for run in runs]
            known = [one for one in trained if one and one["run"]]
            if len(known) < len(runs):
                continue
            net, name = built(runs[0].config, runs[0].result["data"]["classes"]), worded(arch.name)
            yield from weak_lrn(arch, net, runs[0].result[PUBLISHED]["input"]["input_range"])
            errors = [one.get("train_errors", []) for one in known]
            failed = [one["seed"] for one in known if not one.get("learnt", True)]
            yield from untrained(name, errors, failed)
            alone += [(net.weight_layers, name, errors)] * (len(side[0].runs) == 1)
    if len(alone) > 1:
        yield from harder_to_train(alone)


def _beside(theirs: Mapping[Key, Tested], key: Key) -> Tested | None:
    """The other side of a pair: trained in the same way from the same seed, or not trained."""
    others = [one for one in theirs.values() if one.given or one.seed == key[1]]
    untrained = [one for one in others if one.net == "pixels" or one.net.endswith(":random")]
    return theirs.get(key) or next(iter([*untrained, *(o for o in others if o.given)]), None)
