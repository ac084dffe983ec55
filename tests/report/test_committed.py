"""Committed stores render to the committed reports; `make golden` writes the golden one anew."""

from pathlib import Path

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


@pytest.mark.parametrize(
    "name", ["tiny_imagenet", "tiny_imagenet_12_epochs", "tiny_imagenet_wider"]
)
def test_committed_numbers_follow_from_what_is_committed(name: str, tmp_path: Path) -> None:
    write([REPORTS / name], tmp_path / "report")
    for file in ("results.csv", "claims.csv"):
        here, committed = (folder / file for folder in (tmp_path / "report", REPORTS / name))
        assert here.read_bytes() == committed.read_bytes()
