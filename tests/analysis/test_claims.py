from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from repro.analysis.claims import _holm, _interval, judge
from repro.analysis.measured import measure
from repro.store.runs import finished
from tests.analysis.conftest import MakeRun


def test_one_seed_decides_nothing_about_configurations(tmp_path: Path, make_run: MakeRun) -> None:
    make_run("arch=A", wrong=60)
    make_run("arch=B", wrong=20)
    rows = judge(measure(finished(tmp_path / "runs"))).set_index("claim")
    row = rows.loc["depth-A-B"]
    assert (row.left, row.right) == ("B-S256/centre", "A-S256/centre")
    assert row.difference == -20.0
    assert row.paper_difference == pytest.approx(28.7 - 29.6)
    assert (row.n_images, row.n_seeds, row.verdict) == (200, 1, "not decided")
    # 40 of 200 pairs differ, all one way; with one more either way 41 and 1 of 202.
    half = 100 * 1.959964 * math.sqrt((42 / 202 - (40 / 202) ** 2) / 202)
    assert (row.ci_low, row.ci_high) == pytest.approx((-20 - half, -20 + half), abs=1e-3)


def test_seeds_decide(tmp_path: Path, make_run: MakeRun) -> None:
    for seed in range(4):
        make_run("arch=A", f"seed={seed}", wrong=60 + seed)
        make_run("arch=B", f"seed={seed}", wrong=20)
        make_run("arch=D", f"seed={seed}", wrong=80)
    rows = judge(measure(finished(tmp_path / "runs"))).set_index("claim")
    assert rows.loc["depth-A-B", ["verdict", "verdict_holm", "n_seeds"]].tolist() == [
        "reproduced",
        "reproduced",
        4,
    ]
    assert rows.loc["depth-B-D", "verdict"] == "contradicted"
    assert "depth-saturates-D-E" not in rows.index, "E was not run"


def test_the_interval_over_seeds_is_students_where_images_hardly_matter() -> None:
    # Every image differs by the seed's own amount, and there are many: all variance is the seeds'.
    gaps = np.repeat([[0.1], [0.2], [0.4]], 10_000, axis=1)
    _, low, high = _interval(gaps)
    expected = stats.ttest_1samp(100 * gaps.mean(axis=1), 0).confidence_interval(0.95)
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-3)


def test_nets_that_err_on_the_same_images_are_not_equal_with_certainty(
    tmp_path: Path, make_run: MakeRun
) -> None:
    for seed in range(3):
        make_run("arch=D", f"seed={seed}", wrong=10)
        make_run("arch=E", f"seed={seed}", wrong=10)
    row = judge(measure(finished(tmp_path / "runs"))).set_index("claim").loc["depth-saturates-D-E"]
    assert row.difference == 0
    assert row.ci_low < -1 < 1 < row.ci_high, "200 images cannot tell half a point"
    assert row.verdict == "not decided"


def test_holm_by_hand() -> None:
    # Sorted: .01 * 4, .012 * 3, .03 * 2 = .06 fails, so the rest fails too.
    assert _holm([0.03, 0.01, 0.04, 0.012]) == [False, True, False, True]
    assert _holm([]) == []
