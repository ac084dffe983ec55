"""A small real store renders to a committed report: a change of layout is a difference to review.

`make golden` writes the committed report anew.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from repro.report.write import write
from tests.golden_store import GOLDEN, golden_runs, texts


def test_the_store_renders_to_the_committed_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Commands in the report name the store where it is not `runs`.
    monkeypatch.chdir(golden_runs().parent)
    write([Path("runs")], tmp_path / "report")
    here, committed = texts(tmp_path / "report"), texts(GOLDEN / "report")
    for name, text in committed.items():
        assert here[name] == text, f"{name} differs; `make golden` where that is meant"
