"""The claims on descriptors: differences with the intervals of `repro.report.transfer`."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from repro.protocol.measures import TEST
from repro.report.claims import COLUMNS, TRANSFER, framed, registered
from repro.report.intervals import UNDECIDED, UNTESTABLE, Interval, decide
from repro.report.net import built, worded
from repro.report.obstacles import harder_to_train, untrained, weak_lrn
from repro.report.transfer import Tested, Transfers, interval_of, training
from repro.store.identity import PUBLISHED

Both = tuple[Tested, Tested]
"""The two sides of a claim, of one seed."""


def claims() -> tuple[Mapping[str, Any], ...]:
    """The claims on descriptors, rows of `repro/paper/claims.yaml`."""
    return tuple(row for row in registered() if row["family"] == TRANSFER)


def judge(groups: Sequence[Transfers]) -> pd.DataFrame:
    """Rows of `claims.csv`: each claim on each setting and training that has both of its sides."""
    every = ((group, one) for group in groups for one in group.trainings)
    return framed([row_of(claim, *one) for one in every for claim in claims()])


def row_of(claim: Mapping[str, Any], group: Transfers, training: str = "") -> dict[str, Any] | None:
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
    row = _difference(claim, list(itertools.chain(*used.values())))
    if reason := next((why for pairs in used.values() for why in _obstacles(pairs)), ""):
        row |= {"verdict": UNTESTABLE, "verdict_holm": UNTESTABLE, "reason": reason}
    row["pooled"] = "; ".join([*measured, row["pooled"]])
    row |= {"left": f"{row['left']}/{left_test}", "right": f"{row['right']}/{right_test}"}
    return row | asdict(group.setting)


def _difference(claim: Mapping[str, Any], pairs: Sequence[Both]) -> dict[str, Any]:
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
        **{key: claim[key] for key in COLUMNS if key in claim},
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
            arch = runs[0].config.arch
            known = [one for run in runs if (one := training(run)) and one["run"]]
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
