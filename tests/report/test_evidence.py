"""The committed evidence: its report follows from the ranks that stand beside it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from repro.report.write import write
from repro.store.archive import ARCHIVE, opened

REPORTS = Path(__file__).parents[2] / "reports"
EVIDENCE = REPORTS / "tiny_imagenet"


@pytest.mark.parametrize(
    "name", ["tiny_imagenet", "tiny_imagenet_12_epochs", "tiny_imagenet_wider"]
)
def test_committed_numbers_follow_from_what_is_committed(name: str, tmp_path: Path) -> None:
    write([REPORTS / name], tmp_path / "report")
    here, committed = (folder / "results.csv" for folder in (tmp_path / "report", REPORTS / name))
    assert here.read_bytes() == committed.read_bytes()


def test_errors_of_the_depth_comparison_follow_from_the_ranks() -> None:
    results = pd.read_csv(EVIDENCE / "results.csv", dtype={"run": str, "Q": str})
    chosen = results[(results.protocol == "single_scale") & (results.metric == "top1_error")]
    assert {"A", "B", "C", "D", "E"} <= set(chosen.arch)
    for row in chosen.to_dict("records"):
        with np.load(opened(EVIDENCE / ARCHIVE) / "ranks" / f"{row['run']}.npz") as ranks:
            error = 100 * np.mean(ranks[f"single_scale@{row['Q']}"] > 0)
        assert abs(error - row["value"]) < 1e-3
