"""The grid that opens README and report: primary claims against settings and others' nets."""

import math
from collections import defaultdict
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from repro.paper import numbers
from repro.report.claims import OPEN, Claim, claims
from repro.report.intervals import ALPHA, CONTRADICTED, UNDECIDED, UNTESTABLE, Interval, decide
from repro.report.obstacles import UNTRAINED

IMAGES = 50_000
"""Test images of all published errors: the validation set of ILSVRC-2012."""
FIXED = "S256"
"""The S of a claim's nets that others' nets stand for, whatever theirs is."""
OPPOSITE = f"{UNTESTABLE} (opposite)"
"""Of nets that are not trained out: their whole interval lies where the claim does not hold."""
OTHERS = "other people's nets, one training each"


def grid(judged: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The primary claims against settings, by their names for readers: a verdict in each cell."""
    every = [claim for claim in claims() if claim.primary]
    found = pd.DataFrame({"claim": [claim.text for claim in every]})
    for head, frame in judged.items():
        rows = {row["claim"]: row for row in frame.to_dict("records")}
        found[head] = [_said(claim, rows.get(claim.claim)) for claim in every]
    return found.assign(**{OTHERS: [verdict(claim) or "-" for claim in every]})


def _said(claim: Claim, row: dict[Hashable, Any] | None) -> str:
    if row is None:
        return OPEN
    verdict = str(row["verdict_holm"])
    if verdict != UNTESTABLE or not str(row["reason"]).startswith(UNTRAINED):
        return verdict
    interval = Interval(row["log_odds_low"], row["log_odds_high"])
    apart = decide(interval, row["log_odds"], claim.edges, lambda edge: math.nan)[0]
    return OPPOSITE if apart == CONTRADICTED else verdict


def verdict(claim: Claim) -> str | None:
    """What others' nets say of a claim at one S, one training each; None where they do not speak.

    The interval is as if on other images each: too wide. Groups of nets must agree.
    """
    groups: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
    for one in numbers.replications():
        groups[one["framework"], one["weights"]][one["net"]] = float(one["top1_error"]) / 100
    found = {said for errors in groups.values() if (said := _of_group(claim, errors))}
    return None if not found else found.pop() if len(found) == 1 else UNDECIDED


def _of_group(claim: Claim, errors: dict[str, float]) -> str | None:
    from scipy.special import ndtr, ndtri

    (contrast, *more) = claim.contrasts
    nets = [[str(side.net) for side in pair] for pair in contrast.pairs]
    pairs = [[net.removesuffix(f"-{FIXED}") for net in pair] for pair in nets]
    if more or claim.about == "nets" or not all(net in errors for pair in pairs for net in pair):
        return None
    table = np.array([[errors[net] for net in pair] for pair in pairs])
    left, right = np.log(table / (1 - table)).mean(axis=0)
    centre = float(left - right)
    # Pairs may share a net: the spread of their mean is at most the mean of theirs.
    spread = float(np.sqrt((1 / (IMAGES * table * (1 - table))).sum(axis=1)).mean())
    half = -float(ndtri(ALPHA / 2)) * spread

    def level(edge: float) -> float:
        return 2 * float(ndtr(-abs(centre - edge) / spread))

    return decide(Interval(centre - half, centre + half), centre, claim.edges, level)[0]
