"""Each contest of scripts/bench.py, held once on very little work."""

from pathlib import Path
from types import SimpleNamespace

import bench
import pandas as pd
import pytest
import torch
import work

from repro.errors import RequestError, RunError

SCRIPTS = Path(__file__).parents[1] / "scripts"
LITTLE = ["rounds=1", "images=112", "size=tiny", "recipe.batch=16", "threads=1"]
LITTLE += ["workers=1", "device=cpu"]


@pytest.mark.slow
def test_contestants_do_the_work_and_are_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench.bench(["only=training,memory,jpeg,dense", *LITTLE, f"out={tmp_path}"]) == 0
    rates = pd.read_csv(tmp_path / "rates.csv")
    assert (rates.rate > 0).all()
    rates = rates[~rates.contest.str.contains("memory")]
    suite, one = rates[rates.contestant == "this suite"], rates[rates.contestant != "this suite"]
    assert set(suite.contest) == set(one.contest)
    table = (tmp_path / "summary.md").read_text()
    assert table.count("| this suite |") == 6
    assert table.count("| 1.00 (1.00 to 1.00) |") >= 7
    assert table in capsys.readouterr().out
    # Nothing trains on a learning rate at which the first step overflows.
    words = ["only=training", *LITTLE, "recipe.learning_rate=1e30"]
    with pytest.raises(RunError, match="training"):
        bench.bench([*words, f"out={tmp_path / 'diverged'}"])
    assert not (tmp_path / "diverged" / "rates.csv").exists()


def test_a_gpu_is_taken_by_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[object] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    large = SimpleNamespace(total_memory=80e9)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: large)
    for word in ("device=cuda", "device=auto", "device=cuda:1"):
        assert work.Task(bench.OWN, [word]).device.type == "cuda"
    assert taken == [0, 0, 1], "torch refuses a device without one"


def test_refused_before_anything_is_measured(tmp_path: Path) -> None:
    for word in ("only=jazz", "rounds=0", f"photos={SCRIPTS}", "fast"):
        with pytest.raises(RequestError, match=word):
            bench.bench([word, f"out={tmp_path / 'out'}"])
        assert not (tmp_path / "out").exists()
    (tmp_path / "file").touch()
    with pytest.raises(RequestError, match="out="):
        bench.bench([*LITTLE, f"out={tmp_path / 'file' / 'out'}"])
