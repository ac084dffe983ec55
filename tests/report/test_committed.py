"""Committed stores render to the committed reports; `make golden` writes the golden one anew."""

from pathlib import Path

import pandas as pd
import pytest

from repro.report.write import write
from tests.golden_store import GOLDEN, golden_runs, texts

REPORTS = Path(__file__).parents[2] / "reports"


def test_the_golden_store_renders_to_its_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Commands in the report name the store where it is not `runs`.
    monkeypatch.chdir(golden_runs().parent)
    write([Path("runs")], tmp_path / "report")
    here, committed = texts(tmp_path / "report"), texts(GOLDEN / "report")
    for name, text in committed.items():
        assert here[name] == text, f"{name} differs; `make golden` where that is meant"


@pytest.mark.parametrize("name", [file.parent.name for file in REPORTS.glob("*/runs.zip")])
def test_committed_numbers_follow_from_what_is_committed(name: str, tmp_path: Path) -> None:
    write([REPORTS / name], tmp_path / "report")
    both = tmp_path / "report", REPORTS / name
    results = {(folder / "results.csv").read_bytes() for folder in both}
    assert len(results) == 1
    # Versions of scipy differ in the last digit of a p.
    pd.testing.assert_frame_equal(
        *(pd.read_csv(folder / "claims.csv") for folder in both), rtol=1e-9
    )
