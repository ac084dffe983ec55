"""The paper's conclusions as tests on measured errors, each with its interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray
from scipy import stats

from repro.analysis.measured import Measured
from repro.paper import published

COLUMNS = [
    *("claim", "section", "kind", "margin", "left", "right", "metric", "paper_difference"),
    *("difference", "ci_low", "ci_high", "n_images", "n_seeds", "verdict", "verdict_holm"),
]
METHOD = """The difference is the left side's top-1 error minus the right side's, in points, on the
same test images. With one seed the interval is Bonett and Price's (2012) 95% one over paired test
images and holds for these two nets only; about the configurations one seed decides nothing, and the
verdict says so. With several seeds it joins Student's interval over per-seed differences with that
of the images, and the verdict is about the configurations. Claims and margins stand in
`repro/paper/claims.yaml`. Nets are compared by single-scale dense evaluation as in Table 3 or, at
crops below 128 pixels, where dense windows hang over the image, by the centre crop."""
UNDECIDED = "not decided"
ALPHA = 0.05


@lru_cache
def claims() -> list[dict[str, Any]]:
    """The claims, in the paper's order, as `repro/paper/claims.yaml` words them."""
    path = Path(published.__file__).with_name("claims.yaml")
    rows: list[dict[str, Any]] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return rows


def judge(measured: Sequence[Measured]) -> pd.DataFrame:
    """`claims.csv` for the nets of one setting: a row for each claim with both sides measured."""
    depth = [c for c in claims() if c["left"]["test"] == c["right"]["test"] == "single_scale"]
    rows = [row for claim in depth if (row := _judge(claim, measured)) is not None]
    p_values = [row.pop("p") for row in rows]
    for row, holds in zip(rows, _holm(p_values), strict=True):
        row["verdict_holm"] = row["verdict"] if holds else UNDECIDED
    return pd.DataFrame(rows, columns=COLUMNS)


def _judge(claim: dict[str, Any], measured: Sequence[Measured]) -> dict[str, Any] | None:
    if not measured:
        return None
    crop = measured[0].run.config.size.crop
    protocol = "single_scale" if crop >= 128 else "centre"
    left, right = (_side(claim[side], protocol, measured) for side in ("left", "right"))
    seeds = sorted(set(left) & set(right))
    if not seeds:
        return None
    gaps = np.stack([left[seed].astype(float) - right[seed] for seed in seeds])
    difference, low, high = _interval(gaps)
    verdict, p = _verdict(claim["kind"], claim["margin"], difference, (low, high), len(seeds))
    sides = ("left", "right")
    return {
        "claim": claim["claim"],
        "section": claim["section"],
        "kind": claim["kind"],
        "margin": claim["margin"],
        **{side: f"{claim[side]['net']}/{protocol}" for side in sides},
        "metric": "top1_error",
        "paper_difference": claim.get("paper_difference"),
        "difference": round(difference, 4),
        "ci_low": round(low, 4),
        "ci_high": round(high, 4),
        "n_images": gaps.shape[1],
        "n_seeds": len(seeds),
        "verdict": verdict,
        "p": p,
    }


def _side(
    side: dict[str, str], protocol: str, measured: Sequence[Measured]
) -> dict[int, NDArray[np.bool_]]:
    return {
        one.run.config.seed: one.wrong
        for one in measured
        if (one.protocol, one.net) == (protocol, side["net"])
    }


def _interval(gaps: NDArray[np.float64]) -> tuple[float, float, float]:
    """Difference and the ends of its 95% interval, in points, from (seeds, images) differences."""
    seeds = len(gaps)
    # Two images more, one for either side: else nets that err on the same images would differ by
    # zero with certainty, however few the images (Bonett and Price, 2012).
    images = np.append(gaps.mean(axis=0), [1, -1])
    over_images = stats.norm.ppf(1 - ALPHA / 2) * images.std() / math.sqrt(len(images))
    over_seeds = 0.0
    if seeds > 1:
        deviation = gaps.mean(axis=1).std(ddof=1) / math.sqrt(seeds)
        over_seeds = stats.t.ppf(1 - ALPHA / 2, seeds - 1) * deviation
    middle, half = float(gaps.mean()), math.hypot(over_images, over_seeds)
    return 100 * middle, 100 * (middle - half), 100 * (middle + half)


def _verdict(
    kind: str, margin: float, difference: float, ends: tuple[float, float], seeds: int
) -> tuple[str, float]:
    """The verdict, and the probability of an interval that just decides (for Holm's method)."""
    if seeds < 2:
        return UNDECIDED, 1.0
    low, high = ends
    # Where the difference must lie for the claim to hold.
    below = {"better": -margin, "no_improvement": math.inf, "equal_within": margin}[kind]
    above = {"better": -math.inf, "no_improvement": -margin, "equal_within": -margin}[kind]
    inside = above < low and high < below
    outside = low > below or high < above
    nearest = min(abs(difference - edge) for edge in (below, above) if math.isfinite(edge))
    scale = max((high - low) / 2, 1e-12) / stats.norm.ppf(1 - ALPHA / 2)
    p = 2 * float(stats.norm.sf(nearest / scale))
    if inside or outside:
        return ("reproduced" if inside else "contradicted"), p
    return UNDECIDED, p


def _holm(p_values: Sequence[float]) -> list[bool]:
    """Which of several tests hold at 5% together (Holm, 1979)."""
    order = np.argsort(p_values, kind="stable")
    holds = [False] * len(p_values)
    for rank, index in enumerate(order):
        if p_values[index] * (len(p_values) - rank) > ALPHA:
            break
        holds[index] = True
    return holds
