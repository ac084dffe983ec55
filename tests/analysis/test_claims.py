from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from repro.analysis.claims import COLUMNS, claims, judge
from repro.analysis.settings import by_setting
from repro.config import CONF
from repro.paper import published
from repro.store.runs import finished
from tests.analysis.conftest import MakeRun

Z = 1.959964
COUNTS = {"train": 9, "validation": 9, "test": 200, "classes": 10, "validation_is_test": False}
LARGE: dict[str, Any] = COUNTS | {"mean": [1.0], "smallest_side": 375}
"""Photographs with the detail that digits of 28 pixels lack."""


def judged(tmp_path: Path) -> pd.DataFrame:
    (comparison,) = by_setting(finished(tmp_path / "runs"))
    return judge(comparison).set_index("claim")


def cell(net: str, test: str) -> float | None:
    """The published error of a cell, from the tables as they are."""
    for number in (3, 4, 5, 6):
        for row in published.rows(number):
            label = row["members"] if number == 6 else f"{row['net']}-{row['scale']}"
            protocol = row.get("protocol") or {3: "single_scale", 4: "multi_scale"}[number]
            if (label, protocol) == (net, test):
                return float(row["top1_error"])
    return None


def test_the_claims_say_what_the_tables_say() -> None:
    assert len({claim.claim for claim in claims()}) == len(claims())
    for claim in claims():
        shows = set()
        for contrast in claim.contrasts:
            cells = [[cell(side.net, side.test) for side in pair.sides] for pair in contrast.pairs]
            if claim.claim == "small-filters-help":
                assert contrast.paper_difference == -7.0, "said in the text of Section 4.1"
                assert contrast.paper_right == pytest.approx(28.7 + 7)
                assert claim.paper_relative_other == pytest.approx(-700 / 107, abs=0.05)
                continue
            known = not any(None in both for both in cells) and claim.kind != "cheaper"
            if not known or contrast.pairs[0].left.q:
                assert contrast.paper_difference is None, claim.claim
                assert not claim.paper_shows
                continue
            left, right = np.array(cells, dtype=float).mean(axis=0)
            assert contrast.paper_difference == pytest.approx(left - right, abs=1e-4), claim.claim
            assert contrast.paper_relative == pytest.approx(100 * (left - right) / right, abs=1e-3)
            holds = {
                "better": left < right,
                "no_improvement": left - right >= -claim.margin / 100 * right,
                "equal_within": abs(left - right) <= claim.margin / 100 * right,
            }[claim.kind]
            shows.add("tie" if claim.kind == "better" and left == right else holds)
        if shows:
            assert claim.paper_shows == ("tie" if "tie" in shows else "yes" if all(shows) else "no")


def test_every_side_of_a_claim_is_one_word_away() -> None:
    for claim in claims():
        sides = [side for one in claim.contrasts for pair in one.pairs for side in pair.sides]
        for net in {net for side in sides for net in side.net.split("+")}:
            assert (CONF / "net" / f"{net}.yaml").is_file(), net
        assert (CONF / "experiments" / f"{claim.experiment}.yaml").is_file()


def test_the_primary_claims_open_the_list_and_are_about_what_they_are() -> None:
    primary = [claim for claim in claims() if claim.primary]
    assert primary == list(claims()[: len(primary)])
    assert len(primary) == 13
    assert {claim.claim for claim in primary if claim.about == "nets"} == {
        "several-scales-help",
        "crops-and-dense-complement",
        "two-nets-help",
        "dense-costs-less",
    }
    names = [re.match("mismatch|jitter-widens", claim.claim) is not None for claim in claims()]
    assert [claim.premise for claim in claims()] == names
    assert all(claim.family for claim in claims())


def test_the_columns_are_the_contract(tmp_path: Path, make_run: MakeRun) -> None:
    make_run("arch=A")
    (comparison,) = by_setting(finished(tmp_path / "runs"))
    empty = judge(comparison)
    assert list(empty.columns) == COLUMNS
    assert empty.empty, "one net has nothing to be compared with"
    contract = "claim,section,kind,margin,left,right,metric,paper_difference,difference,ci_low,"
    contract += "ci_high,n_images,n_seeds,verdict,verdict_holm"
    assert COLUMNS[:15] == contract.split(",")


def test_one_seed_answers_for_the_nets_only(tmp_path: Path, make_run: MakeRun) -> None:
    make_run("arch=A", wrong=60)
    make_run("arch=B", wrong=20)
    row = judged(tmp_path).loc["depth-A-B"]
    assert (row.left, row.right) == ("B-S256/single_scale", "A-S256/single_scale")
    assert row.difference == -20.0
    assert row.paper_difference == pytest.approx(28.7 - 29.6)
    assert (row.n_images, row.n_seeds, row.one_seed) == (200, 1, True)
    assert (row.about, row.verdict, row.verdict_holm) == ("configuration", "not decided", "")
    assert row.reason == "one seed says nothing about the configuration"
    # 40 of 200 pairs differ, all one way; with one more either way 41 and 1 of 202.
    half = 100 * Z * math.sqrt((42 / 202 - (40 / 202) ** 2) / 202)
    ends = pytest.approx((-4000 / 202 - half, -4000 / 202 + half), abs=1e-3)
    assert (row.nets_low, row.nets_high) == (row.ci_low, row.ci_high) == ends
    assert row.verdict_nets == "reproduced"
    assert pd.isna(row.configuration_low)
    assert row.verdict_configuration == ""
    # 20 points of 30%; the paper's 0.9 of 29.6% would be 0.91 points here.
    assert row.relative == pytest.approx(-100 * 20 / 30, abs=1e-3)
    assert row.relative_high == pytest.approx(100 * row.ci_high / 30, abs=1e-3)
    assert row.paper_relative == pytest.approx(-100 * 0.9 / 29.6, abs=1e-3)
    assert row.images_for_power > 200


def test_seeds_decide(tmp_path: Path, make_run: MakeRun) -> None:
    for seed in range(4):
        make_run("arch=A", f"seed={seed}", wrong=60 + seed)
        make_run("arch=B", f"seed={seed}", wrong=20)
        make_run("arch=D", f"seed={seed}", wrong=80)
    rows = judged(tmp_path)
    good = rows.loc["depth-A-B"]
    assert (good.verdict, good.verdict_configuration, good.n_seeds) == (*["reproduced"] * 2, 4)
    assert (good.ci_low, good.ci_high) == (good.configuration_low, good.configuration_high)
    assert rows.loc["depth-B-D", "verdict"] == "contradicted"
    # The mean of B and D, 50 of 200, against A with 61.5 on average.
    pooled = rows.loc["depth-lowers-error"]
    assert pooled.difference == pytest.approx(100 * (50 - 61.5) / 200)
    assert pooled.left == "B-S256,D-S256/single_scale"
    assert pooled.pooled == "B-S256 - A-S256, D-S256 - A-S256"
    assert pooled.paper_relative == pytest.approx(100 * -1.75 / 29.6, abs=1e-3)
    assert pooled.seen_before
    assert "depth-saturates" not in rows.index, "E was not run"


def test_a_complete_claim_needs_all_its_nets(tmp_path: Path, make_run: MakeRun) -> None:
    make_run("arch=A", wrong=60)
    make_run("arch=B", wrong=20)
    assert "depth-lowers-error" not in judged(tmp_path).index, "D is missing"


def test_seeds_are_paired_by_lineage(tmp_path: Path, make_run: MakeRun) -> None:
    for seed in (0, 1):
        make_run("arch=A", f"seed={seed}", wrong=60)
    make_run("arch=B", "seed=1", wrong=20)
    make_run("arch=B", "seed=2", wrong=20)
    assert judged(tmp_path).loc["depth-A-B", "n_seeds"] == 1, "seed 1 alone has both"


def test_pairs_are_pooled_by_hand(tmp_path: Path, make_run: MakeRun) -> None:
    """Two seeds; E has no net at S=384 and C none at all."""
    wrong = {"D-jitter": 20, "D-S256": 30, "D-S384": 26, "E-jitter": 10, "E-S256": 40}
    for seed in (0, 1):
        for net, count in wrong.items():
            words = (f"net={net}", f"seed={seed}")
            make_run(*words, wrong=count + 2 * seed * (net == "E-S256"), data=LARGE)
    row = judged(tmp_path).loc["jitter-helps"]
    # D: 10 and 6 fewer; E: 30 fewer, with seed 1 32; a third of each of 200 images.
    assert row.difference == pytest.approx(-100 * (10 + 6 + 31) / 3 / 200, abs=1e-3)
    assert row.relative == pytest.approx(-100 * (47 / 3) / ((30 + 26 + 41) / 3), abs=1e-3)
    used, missing = row.pooled.split("; not run: ")
    assert used == "D-jitter - D-S256, D-jitter - D-S384, E-jitter - E-S256"
    assert missing == "C-jitter - C-S256, C-jitter - C-S384, E-jitter - E-S384"
    assert row.left == "D-jitter,E-jitter/single_scale"
    # Images 10 to 39: E alone; 20 to 29: D against S=256 too; 20 to 25: and against S=384.
    gaps = np.zeros((2, 200))
    gaps[:, 10:40] -= 1 / 3
    gaps[1, 40:42] -= 1 / 3
    gaps[:, 20:30] -= 1 / 3
    gaps[:, 20:26] -= 1 / 3
    mean = np.append(gaps.mean(axis=0), [1, -1])
    half = Z * math.sqrt(mean.var() / 202)
    assert row.nets_low == pytest.approx(100 * (mean.mean() - half), abs=1e-3)
    assert (row.n_seeds, row.verdict, row.verdict_holm) == (2, row.verdict, row.verdict)


def test_pairs_without_a_common_seed_stay_apart(tmp_path: Path, make_run: MakeRun) -> None:
    for net, seed, wrong in (("B-S256", 0, 50), ("C-S256", 1, 10), ("D-S256", 1, 20)):
        shares = {f"dense-Q{q}": wrong for q in (224, 256, 288)}
        make_run(f"net={net}", f"seed={seed}", wrong=0, wrong_of=shares, data=LARGE)
    row = judged(tmp_path).loc["several-scales-help"]
    assert row.pooled.startswith("C-S256, D-S256; not run: C-S384, ")
    assert row.pooled.endswith("; no seed in common: B-S256"), "seed 1 has two of the nets"
    assert (row.n_seeds, row.difference) == (1, 0.0)


def test_the_least_favourable_of_two_is_reported(tmp_path: Path, make_run: MakeRun) -> None:
    """Together far better than dense evaluation (40 of 200), only a little than crops (22)."""
    both = {f"grid-Q{q}": 22 for q in (256, 384, 512)}
    dense = {f"dense-Q{q}": 40 for q in (256, 384, 512)}
    make_run("net=D-jitter", wrong_of=both | dense)
    rows = judged(tmp_path)
    row = rows.loc["crops-and-dense-complement"]
    # Where only dense evaluation errs, by 0.9 against 0.5, the grid's 0.5 against 0.01 mends it.
    single = [rows.loc[f"both-against-{name}-D"] for name in ("dense", "crops")]
    assert [one.verdict for one in single] == ["reproduced", "not decided"]
    assert (row.right, row.difference) == (single[1].right, single[1].difference)
    assert (row.ci_low, row.ci_high) == (single[1].ci_low, single[1].ci_high)
    assert row.verdict == "not decided"
    assert row.paper_difference == -0.2
    assert row.pooled == "D-jitter; not run: E-jitter; the least favourable of 2"


def test_each_alternative_must_be_there(tmp_path: Path, make_run: MakeRun) -> None:
    make_run("net=D-jitter", wrong=20)
    assert "two-nets-help" not in judged(tmp_path).index
    make_run("net=E-jitter", wrong=30)
    row = judged(tmp_path).loc["two-nets-help"]
    # Together they err where both do: on 20 images, as D alone; E alone errs on 30.
    assert (row.right, row.difference) == ("D-jitter/multi_scale", 0.0)
    assert (row.verdict, row.about) == ("not decided", "nets")


@pytest.mark.parametrize(
    ("normal", "others", "verdict"),
    [
        ((0, 5), (5, 5), "reproduced"),  # Fisher: 1 in 126
        ((1, 3), (6, 6), "not decided"),  # 3 of 84, once both ways: 0.083
        ((6, 6), (6, 6), "contradicted"),  # Clopper and Pearson: at least 54%
        ((5, 5), (0, 5), "contradicted"),
        ((0, 1), (0, 1), "not decided"),
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
    row = judged(tmp_path).loc["deep-nets-need-a-start"]
    assert row.verdict == row.verdict_configuration == verdict
    shares = [normal[0] / normal[1], others[0] / others[1]]
    assert row.difference == pytest.approx(100 * (shares[0] - shares[1]), abs=1e-3)
    assert (row.metric, row.about, row.n_seeds) == ("share_learning", "configuration", normal[1])
    assert pd.isna(row.n_images)
    assert pd.isna(row.relative)
    assert f"{normal[0]} of {normal[1]} against {others[0]} of {others[1]} runs learn" in row.pooled
    assert "not run: E-S256-normal - E-S256-from_A" in row.pooled
    low, high = newcombe(normal, others)
    assert (row.ci_low, row.ci_high) == pytest.approx((100 * low, 100 * high), abs=1e-3)
    table = [[count, of - count] for count, of in (normal, others)]
    decided = stats.fisher_exact(table).pvalue < 0.05 or normal == (6, 6)
    assert (verdict != "not decided") == decided


def newcombe(left: tuple[int, int], right: tuple[int, int]) -> tuple[float, float]:
    """His formula (1998, method 10) from two Wilson intervals."""
    p, q = left[0] / left[1], right[0] / right[1]
    a, b = (stats.binomtest(*one).proportion_ci(0.95, method="wilson") for one in (left, right))
    low = p - q - math.hypot(p - a.low, b.high - q)
    return low, p - q + math.hypot(a.high - p, q - b.low)


def timed(ratios: Sequence[float]) -> dict[str, float]:
    """Seconds of dense and grid views of a jittered net: 2 and 2 over the ratio, by Q."""
    found = {}
    for q, ratio in zip((256, 384, 512), ratios, strict=True):
        for mark in ("", "-mirrored"):
            found |= {f"dense-Q{q}{mark}": 2.0, f"grid-Q{q}{mark}": 2.0 / ratio}
    return found


def test_what_testing_costs_over_runs(tmp_path: Path, make_run: MakeRun) -> None:
    ratios = {0: (0.1, 0.2, 0.3), 1: (0.2, 0.2, 0.2), 2: (0.1, 0.1, 0.3)}
    for seed, of_views in ratios.items():
        shares = {f"dense-Q{q}": 9 for q in (256, 384, 512)}
        words = ("net=D-jitter", f"seed={seed}")
        make_run(*words, wrong=10, wrong_of=shares, seconds_of=timed(of_views))
    row = judged(tmp_path).loc["dense-costs-less"]
    units = [float(np.mean(np.log(of_views))) for of_views in ratios.values()]
    ends = stats.ttest_1samp(units, 0).confidence_interval(0.95)
    expected = [100 * math.expm1(value) for value in (np.mean(units), ends.low, ends.high)]
    assert [row.difference, row.ci_low, row.ci_high] == pytest.approx(expected, abs=1e-3)
    assert [row.relative, row.relative_low, row.relative_high] == pytest.approx(expected, abs=1e-3)
    assert (row.metric, row.about, row.n_seeds) == ("seconds_per_image", "nets", 3)
    assert (row.margin, row.verdict) == (50.0, "reproduced")
    assert row.pooled.startswith("D-jitter; not run: C-S256, ")
    assert row.pooled.endswith("; 3 runs; error -0.5 points")


@pytest.mark.parametrize(
    ("ratios", "verdict"),
    [
        ((0.1, 0.15, 0.2), "reproduced"),
        ((0.1, 0.5, 0.9), "not decided"),
        ((0.8, 0.9, 1.0), "contradicted"),
    ],
)
def test_what_testing_costs_over_the_views_of_one_run(
    tmp_path: Path, make_run: MakeRun, ratios: tuple[float, ...], verdict: str
) -> None:
    make_run("net=D-jitter", seconds_of=timed(ratios))
    row = judged(tmp_path).loc["dense-costs-less"]
    assert row.difference == pytest.approx(100 * (math.prod(ratios) ** (1 / 3) - 1), abs=1e-3)
    assert row.verdict == verdict
    assert "views of one run" in row.pooled


def test_without_seconds_there_is_no_cost(tmp_path: Path, make_run: MakeRun) -> None:
    make_run("net=D-jitter")
    assert "dense-costs-less" not in judged(tmp_path).index


def test_what_hangs_over_is_not_testable(tmp_path: Path, make_run: MakeRun) -> None:
    # Five poolings on a crop of 32: at Q=256, 37 pixels make 2 cells, two windows need 64.
    make_run("net=D-jitter", "size=tiny", data=LARGE)
    rows = judged(tmp_path)
    row = rows.loc["crops-and-dense-complement"]
    assert row.verdict == row.verdict_nets == row.verdict_holm == "not testable here"
    assert row.reason == (
        "D at Q=256: the last window hangs over the image by 27 of 32 pixels, at the paper's size "
        "by 0 of 224"
    )


def test_nothing_hangs_over_at_an_eighth(tmp_path: Path, make_run: MakeRun) -> None:
    make_run("net=D-jitter", "size=eighth")
    row = judged(tmp_path).loc["crops-and-dense-complement"]
    assert (row.verdict, row.reason) == ("not decided", "")


def test_centre_crops_cannot_hang_over(tmp_path: Path, make_run: MakeRun) -> None:
    for net, wrong in (("B-S256", 10), ("B-5x5-S256", 60)):
        for seed in (0, 1):
            make_run(f"net={net}", "size=tiny", f"seed={seed}", wrong=wrong)
    row = judged(tmp_path).loc["small-filters-help"]
    assert (row.verdict, row.difference) == ("reproduced", -25.0)
    assert (row.paper_relative, row.paper_relative_other) == (pytest.approx(-19.6078), -6.5)


@pytest.mark.parametrize("native", [28, 48, 375])
def test_native_size_counts_where_the_sides_differ(
    tmp_path: Path, make_run: MakeRun, native: int
) -> None:
    for net in ("D-S256", "D-S384", "D-S256_on"):
        make_run(f"net={net}", data=LARGE | {"smallest_side": native})
    rows = judged(tmp_path)
    # At an eighth S=384 is 48 pixels, Q=416 is 52, Q=288 is 36.
    scale = rows.loc["larger-scale-D"]
    assert (scale.verdict == "not testable here") == (native < 48)
    if native == 28:
        assert scale.reason == (
            "images of 28 pixels have no more detail to show at S or Q of 384, 48 pixels here"
        )
    wide = rows.loc["several-scales-D-S384"]
    assert (wide.verdict == "not testable here") == (native < 52)
    narrow = rows.loc["several-scales-D-S256"]
    assert (narrow.verdict == "not testable here") == (native < 36)


def test_native_size_leaves_sides_of_one_scale_alone(tmp_path: Path, make_run: MakeRun) -> None:
    for net in ("D-jitter", "E-jitter"):
        make_run(f"net={net}", data=LARGE | {"smallest_side": 28})
    rows = judged(tmp_path)
    for name in ("two-nets-help", "crops-and-dense-complement"):
        assert rows.loc[name, "verdict"] != "not testable here"


@pytest.mark.parametrize(("width", "testable"), [("0.0625", False), ("0.125", True)])
def test_lrn_needs_more_channels_than_its_window(
    tmp_path: Path, make_run: MakeRun, width: str, testable: bool
) -> None:
    for arch in ("A", "A-LRN", "B"):
        for seed in (0, 1):
            make_run(f"arch={arch}", f"size.width={width}", f"seed={seed}")
    rows = judged(tmp_path)
    row = rows.loc["lrn-does-not-help"]
    assert (row.verdict != "not testable here") == testable
    if not testable:
        expected = "LRN's window of 5 covers all 4 channels of A-LRN here, at the paper's size 5 of"
        assert row.reason == f"{expected} 64"
    assert rows.loc["depth-A-B", "reason"] == "", "nets without LRN"


@pytest.mark.parametrize(("single", "holds"), [(20, False), (21, True)])
def test_holm_is_over_the_primary_claims(
    tmp_path: Path, make_run: MakeRun, single: int, holds: bool
) -> None:
    """Six of 200 images are a level of 0.032, seven 0.018: alone or first of two, 0.05 or 0.025."""
    shares = {f"grid-Q{q}": 20 for q in (256, 384, 512)}
    shares |= {"dense-Q256": 14, "dense-Q384": single, "dense-Q512": 14}
    make_run("net=D-jitter", wrong_of=shares, data=LARGE)
    rows = judged(tmp_path)
    # Three scales err on 14 images; with the crops, where one more of six views decides, on 20.
    scales, both = rows.loc["several-scales-help"], rows.loc["crops-and-dense-complement"]
    assert (scales.difference, scales.verdict) == (-(single - 14) / 2, "reproduced")
    assert (both.difference, both.verdict) == (3.0, "contradicted")
    expected = ["reproduced", "contradicted"] if holds else ["not decided"] * 2
    assert [scales.verdict_holm, both.verdict_holm] == expected
    # Secondary claims of the same numbers are no tests more.
    assert rows.loc["several-scales-D-jitter", "verdict"] == "reproduced"
    assert set(rows[~rows.primary].verdict_holm) == {""}


def test_the_rise_of_the_error_by_hand(tmp_path: Path, make_run: MakeRun) -> None:
    # Jittered: 10 of 200 wrong at Q=384, 14 and 16 at the ends: a rise of 2.5 points.
    shares = {"dense-Q384": 10, "dense-Q256": 14, "dense-Q512": 16}
    make_run("net=D-jitter", wrong=0, wrong_of=shares, data=LARGE)
    shares = {"dense-Q384": 8, "dense-Q256": 28, "dense-Q512": 48}
    make_run("net=D-S384", wrong=0, wrong_of=shares, data=LARGE)
    rows = judged(tmp_path)
    row = rows.loc["jitter-widens-D"]
    assert (row.metric, row.premise) == ("top1_error_rise", True)
    assert row.difference == pytest.approx(2.5 - 15.0)
    assert pd.isna(row.relative)
    assert row.left == "D-jitter/each_scale@256,512 above @384"
    assert rows.loc["mismatch-D-S384", "difference"] == pytest.approx(4 - 14)


def test_an_ensemble_against_its_members(tmp_path: Path, make_run: MakeRun) -> None:
    make_run("net=D-jitter", wrong=20)
    make_run("net=E-jitter", wrong=30)
    row = judged(tmp_path).loc["two-nets-crops"]
    # Where only E errs, by 0.9 against 0.5, D's 0.01 against 0.5 mends it: 20 errors, not 30.
    assert row.difference == -5.0
    assert row.about == "nets"
