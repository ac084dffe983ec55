"""What is not testable here: each rule where it holds and where it does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.report.conftest import LARGE, MakeRun, judged


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


@pytest.mark.parametrize(("levels", "testable"), [("8", False), ("255", True)])
def test_lrn_needs_the_input_that_its_constants_are_for(
    tmp_path: Path, make_run: MakeRun, levels: str, testable: bool
) -> None:
    for arch in ("A", "A-LRN"):
        make_run(f"arch={arch}", "size.width=0.125", f"recipe.input_range={levels}")
    row = judged(tmp_path).loc["lrn-does-not-help"]
    assert (row.verdict != "not testable here") == testable
    assert ("that of A-LRN is in 0-8 here" in row.reason) != testable
