"""Claims that are no differences of errors: how many runs learn, and what testing costs."""

import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest
from scipy.stats import binomtest, fisher_exact

from tests.report.conftest import MakeRun, judged


@pytest.mark.parametrize(
    ("normal", "others", "verdict"),
    [
        ((0, 5), (5, 5), "reproduced"),  # Fisher: 1 in 126
        ((1, 3), (3, 3), "not decided"),
        ((6, 6), (6, 6), "contradicted"),  # Clopper and Pearson: at least 54%
    ],
)
def test_counts_of_runs_that_learn(
    tmp_path: Path,
    make_run: MakeRun,
    normal: tuple[int, int],
    others: tuple[int, int],
    verdict: str,
) -> None:
    for net, (count, of) in (("E-S256-normal", normal), ("E-S256-glorot", others)):
        for seed in range(of):
            outcome = "trained" if seed < count else ("did not learn", "diverged")[seed % 2]
            make_run(f"net={net}", f"seed={seed}", images=10, outcome=outcome)
    row = judged(tmp_path, seeds=normal[1]).loc["start-from-glorot"]
    assert row.verdict == row.verdict_configuration == verdict
    assert row.difference == pytest.approx(100 * (normal[0] / normal[1] - others[0] / others[1]))
    assert row.ci_low <= row.difference <= row.ci_high
    fisher = fisher_exact([[count, of - count] for count, of in (normal, others)]).pvalue
    more = binomtest(*normal, alternative="greater").pvalue
    assert row.p == pytest.approx(2 * more if verdict == "contradicted" else fisher, rel=1e-9)
    assert (row.metric, row.about, row.n_seeds) == ("share_learning", "configuration", normal[1])
    assert pd.isna(row[["n_images", "relative"]]).all()
    assert f"{normal[0]} of {normal[1]} against {others[0]} of {others[1]} runs learn" in row.pooled


def timed(ratios: Sequence[float]) -> dict[str, float]:
    """Seconds of dense and grid views of a jittered net: 2 and 2 over the ratio, by Q."""
    found = {}
    for q, ratio in zip((256, 384, 512), ratios, strict=True):
        for mark in ("", "-mirrored"):
            found |= {f"dense-Q{q}{mark}": 2.0, f"grid-Q{q}{mark}": 2.0 / ratio}
    return found


@pytest.mark.parametrize(
    ("ratios", "verdict"),
    [
        ((0.1, 0.15, 0.2), "reproduced"),
        ((0.1, 0.5, 0.9), "not decided"),
        ((0.8, 0.9, 1.0), "contradicted"),
    ],
)
def test_the_cost_of_testing_over_the_views_of_one_run(
    tmp_path: Path, make_run: MakeRun, ratios: tuple[float, ...], verdict: str
) -> None:
    make_run("net=E-jitter")
    assert "dense-costs-less" not in judged(tmp_path).index
    make_run("net=D-jitter", seconds_of=timed(ratios))
    row = judged(tmp_path).loc["dense-costs-less"]
    assert row.difference == pytest.approx(100 * (math.prod(ratios) ** (1 / 3) - 1), abs=1e-3)
    assert row.verdict == verdict
