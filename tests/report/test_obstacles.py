"""What is not testable here: each rule where it holds and where it does not."""

import re
from pathlib import Path
from typing import Any

import pytest

from tests.report.conftest import DIVERGED, LARGE, MakeRun, judged


@pytest.mark.parametrize(("size", "hangs"), [("tiny", True), ("eighth", False)])
def test_a_window_that_hangs_over_is_not_testable(
    tmp_path: Path, make_run: MakeRun, size: str, hangs: bool
) -> None:
    # Five poolings on a crop of 32: at Q=256, 37 pixels make 2 cells, two windows need 64.
    for net in ("D-jitter", "E-jitter"):
        make_run(f"net={net}", f"size={size}", data=LARGE)
    for net, wrong in (("B-S256", 10), ("B-5x5-S256", 60)):
        for seed in (0, 1):
            make_run(f"net={net}", f"size={size}", f"seed={seed}", wrong=wrong, data=LARGE)
    rows = judged(tmp_path, seeds=2)
    row = rows.loc["crops-and-dense-complement"]
    found = {row.verdict, row.verdict_nets, row.verdict_holm}
    assert (found == {"not testable here"}) == hangs
    assert ("hangs over the image by 27 of 32 pixels" in row.reason) == hangs
    # A centre crop cannot hang over.
    row = rows.loc["small-filters-help"]
    assert (row.verdict, row.difference) == ("reproduced", -25.0)
    assert (row.paper_relative, row.paper_relative_other) == (pytest.approx(-19.6078), -6.5)


@pytest.mark.parametrize("native", [28, 40])
def test_a_scale_that_is_the_file_itself(tmp_path: Path, make_run: MakeRun, native: int) -> None:
    # At an eighth Q of 224, 256, 288 are 28, 32, 36 pixels.
    for net in ("D-S256", "E-S256"):
        make_run(f"net={net}", data=LARGE | {"smallest_side": native})
    rows = judged(tmp_path)
    reason = rows.loc["several-scales-D-S256", "reason"]
    assert (f"Q={8 * native}" in reason) == bool(reason) == (native < 40)
    assert not rows.loc["depth-saturates", "reason"].startswith("at Q"), "one Q only"


def test_lengths_are_those_of_the_lineage(tmp_path: Path, make_run: MakeRun) -> None:
    make_run("net=A-S256")
    for net in ("B-S256", "D-S256", "D-S384", "D-S256_on", "E-S384"):
        make_run(f"net={net}", "init=from_A")
    rows = judged(tmp_path)
    words = r"unequal lengths: B-S256 (\d+) epochs, A-S256 (\d+)"
    first = re.fullmatch(words, rows.loc["depth-A-B", "reason"])
    assert first is not None
    assert int(first[1]) == 2 * int(first[2])
    assert rows.loc["larger-scale-D", "reason"].startswith("unequal lengths: D-S384")
    assert "lengths" not in rows.loc["larger-scale-controlled-D", "reason"]


@pytest.mark.parametrize(
    ("errors", "reason"),
    [
        ((50.0, 40.0, 30.0, 29.1), ""),
        ((50.0, 40.0, 30.0, 26.9), "D-S256 falls by 3.10 points in its last epoch"),
        ((50.0, 40.0, 35.0, 30.0, 27.0, 25.9), "falls by 1.10 points"),
        ((6.0, 6.0, 6.0), "3 epochs"),
        ((), "no log of D-S256"),
    ],
)
def test_nets_that_are_not_trained_out(
    tmp_path: Path, make_run: MakeRun, errors: tuple[float, ...], reason: str
) -> None:
    for seed in (0, 1):
        make_run("net=D-S256", f"seed={seed}", train_errors=errors)
        make_run("net=C-S256", f"seed={seed}")
    row = judged(tmp_path, seeds=2).loc["context-helps"]
    assert (row.verdict == "not testable here") == bool(reason)
    assert reason in row.reason
    assert row.reason.startswith("not trained out: ") == bool(reason)


@pytest.mark.parametrize("failure", [{"outcome": "did not learn"}, DIVERGED])
def test_a_net_that_did_not_learn_is_not_trained_out(
    tmp_path: Path, make_run: MakeRun, failure: dict[str, Any]
) -> None:
    for seed in (0, 1):
        make_run("net=D-S256", f"seed={seed}")
        make_run("net=C-S256", f"seed={seed}", **(failure if seed else {}))
    row = judged(tmp_path, seeds=2).loc["context-helps"]
    assert row.verdict == "not testable here"
    assert row.reason == "not trained out: C-S256 of seed 1 did not learn"


@pytest.mark.parametrize(("end", "testable"), [(8.0, True), (9.1, False)])
def test_a_deeper_net_must_not_be_harder_to_train(
    tmp_path: Path, make_run: MakeRun, end: float, testable: bool
) -> None:
    # Final errors of 5 and 7, and of 7 and 9 or 8.1 and 10.1: a standard error of 1.41.
    for seed, aside in ((0, -1.0), (1, 1.0)):
        make_run("net=A-S256", f"seed={seed}", train_errors=(6.0 + aside,) * 4)
        make_run("net=B-S256", f"seed={seed}", train_errors=(end + aside,) * 4)
    reason = judged(tmp_path, seeds=2).loc["depth-A-B"].reason
    assert ("B-S256 (13 layers) ends at 9.1%" in reason) != testable
    assert (reason == "") == testable


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("size.width=0.0625",), "covers all 4 channels of A-LRN"),
        (("size.width=0.125", "recipe.input_range=8"), "the input of A-LRN is in 0-8 here"),
        (("size.width=0.125", "recipe.input_range=255"), ""),
    ],
)
def test_lrn_needs_its_window_and_the_input_that_its_constants_are_for(
    tmp_path: Path, make_run: MakeRun, words: tuple[str, ...], reason: str
) -> None:
    for arch in ("A", "A-LRN", "B"):
        for seed in (0, 1):
            make_run(f"arch={arch}", f"seed={seed}", *words)
    rows = judged(tmp_path, seeds=2)
    row = rows.loc["lrn-does-not-help"]
    assert (row.verdict == "not testable here") == bool(reason)
    assert reason in row.reason
    assert rows.loc["depth-A-B", "reason"] == "", "nets without LRN"
