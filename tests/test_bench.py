"""Each contest of scripts/bench.py, held once on very little work."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parents[1]
LITTLE = ["rounds=1", "images=32", "size=tiny", "recipe.batch=16", "threads=1"]
LITTLE += ["workers=1", "device=cpu"]


def bench(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts" / "bench.py"), *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


@pytest.mark.slow
def test_contestants_do_the_work_and_are_compared(tmp_path: Path) -> None:
    done = bench("only=training,jpeg,dense", *LITTLE, f"out={tmp_path}")
    assert done.returncode == 0, done.stderr
    rates = pd.read_csv(tmp_path / "rates.csv")
    assert (rates.rate > 0).all()
    suite, one = rates[rates.contestant == "this suite"], rates[rates.contestant != "this suite"]
    assert set(suite.contest) == set(one.contest)
    table = (tmp_path / "summary.md").read_text()
    assert table.count("| this suite |") == table.count("| 1.00 (1.00 to 1.00) |") == 6
    assert table in done.stdout


@pytest.mark.slow
def test_a_net_that_does_not_train_ends_it(tmp_path: Path) -> None:
    # Nothing trains on a learning rate at which the first step overflows.
    done = bench("only=training", *LITTLE, f"out={tmp_path}", "recipe.learning_rate=1e30")
    assert done.returncode == 2
    assert "did not train" in done.stderr
    assert not (tmp_path / "rates.csv").exists()


@pytest.mark.parametrize("word", ["only=jazz", "rounds=0", "photos=scripts", "fast"])
def test_refused_before_anything_is_measured(word: str, tmp_path: Path) -> None:
    done = bench(word, f"out={tmp_path / 'out'}")
    assert done.returncode == 2
    assert word in done.stderr
    assert not (tmp_path / "out").exists()
