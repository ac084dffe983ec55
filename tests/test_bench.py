from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import torch

from repro.bench import read
from repro.benchmark import measure, page, training
from repro.errors import RequestError


def test_contestants_take_turns_and_ratios_are_rounds_own(monkeypatch: pytest.MonkeyPatch) -> None:
    # A machine that slows down from round to round: ratios must not notice.
    clock = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    order: list[str] = []

    def contestant(name: str, seconds: float) -> measure.Work:
        def work() -> float:
            order.append(name)
            clock[0] += seconds * (1 + len(order) // 2)
            return 10.0

        return work

    works = {"ours": contestant("ours", 1.0), "theirs": contestant("theirs", 2.0)}
    rounds = measure.run(measure.Contest("c", "images/s", works), rounds=4, progress=False)
    assert order == ["theirs", "ours", "ours", "theirs"] * 2 + ["theirs", "ours"]
    assert len(rounds) == 8, "the first round is not counted"
    table = measure.summary(rounds).set_index("contestant")
    assert table.loc["ours", "ratio"] == 1.0
    assert 1.5 < table.loc["theirs", "ratio"] < 2.5
    assert table.loc["theirs", "lowest"] < table.loc["theirs", "rate"]


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_every_contestant_trains_on_as_many_images(tmp_path: Path) -> None:
    contest = training.contest("A", "tiny", "cifar10", 128, torch.device("cpu"))
    assert {name: work() for name, work in contest.contestants.items()} == dict.fromkeys(
        contest.contestants, 128
    )
    rounds = pd.DataFrame(
        [(contest.name, name, 1, 5.0, "images/s") for name in contest.contestants],
        columns=["contest", "contestant", "round", "rate", "unit"],
    )
    said = page.write(rounds, tmp_path / "bench", "cpu", "2")
    assert "this suite" in said
    written = {file.name for file in (tmp_path / "bench").iterdir()}
    assert written == {"rates.csv", "summary.csv", "summary.md", "ratios.png", "ratios.svg"}


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("rounds=0", "rounds=0: expected a whole number above zero"),
        ("only=jazz", "only=jazz is not known: choose from training,"),
        ("fast", "fast: expected KEY=VALUE with one of only=,"),
    ],
)
def test_refused_in_one_line(word: str, says: str) -> None:
    with pytest.raises(RequestError) as refusal:
        read([word])
    assert says in str(refusal.value)


def test_help_needs_no_torch() -> None:
    script = (
        "import sys; sys.argv[1:] = ['--help']; from repro import bench\n"
        "try: bench.main()\nexcept SystemExit: print('torch' in sys.modules)"
    )
    words = [sys.executable, "-c", script]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"
