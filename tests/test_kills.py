"""Nothing is lost: a sweep that is killed again and again ends as one that never was."""

import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from repro.report.write import write
from tests.conftest import LIGHT, folders, run, same

SWEEP = [
    *("-m", "arch=A,B", "scale=S256,S384", "size=tiny", "recipe=smoke", "recipe.epochs=3"),
    *("recipe.train_images=3200", "recipe.batch=16", "checkpoint_seconds=0.3", "threads=1"),
    *("progress=false", "test=[single_scale,centre]"),
]


def sweep(folder: Path, device: str) -> subprocess.Popen[bytes]:
    folder.mkdir(exist_ok=True)
    # A GPU needs more work, or nearly all kills fall into its start.
    longer = ["recipe.epochs=12"] if device == "cuda" else []
    words = [sys.executable, "-m", "repro.run", *SWEEP, *longer, f"device={device}"]
    return subprocess.Popen(words, cwd=folder, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)


def results(folder: Path) -> str:
    write([folder / "runs"], folder / "report")
    return (folder / "report" / "results.csv").read_text()


@pytest.mark.parametrize(
    ("device", "kills"),
    [
        pytest.param("cpu", 20, marks=pytest.mark.slow),
        pytest.param("cuda", 5, marks=pytest.mark.gpu),
    ],
)
def test_kills_change_nothing(device: str, kills: int, tmp_path: Path) -> None:
    began = time.monotonic()
    straight = sweep(tmp_path / "straight", device)
    assert straight.stderr is not None
    # A library may have warned before.
    assert any(b"trains" in line for line in straight.stderr)
    start = time.monotonic() - began
    straight.communicate()
    assert straight.returncode == 0
    work = time.monotonic() - began - start
    instants, went_on = random.Random(0), 0
    for left in reversed(range(kills + 1)):
        program = sweep(tmp_path / "killed", device)
        if left:
            # Anywhere from the imports to a good part of the work.
            time.sleep(instants.uniform(0.5 * start, start + 0.4 * work))
            program.send_signal(signal.SIGKILL)
        went_on += b"goes on at epoch" in program.communicate()[1]
    assert program.returncode == 0
    assert went_on, "no kill fell into training"
    assert results(tmp_path / "killed") == results(tmp_path / "straight")
    runs = [path for path in (tmp_path / "killed" / "runs").iterdir() if path.name[0] != "."]
    files = [path.name for run in runs for path in run.rglob("*")]
    assert len(runs) == 4
    assert not [name for name in files if name.startswith((".", "checkpoint-"))], "leftovers"


def test_a_killed_run_goes_on_bit_for_bit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words, cut = ["recipe.epochs=4", "checkpoint_seconds=0.05", "test=[centre]"], tmp_path / "cut"
    program = [sys.executable, "-m", "repro.run", *LIGHT, f"runs={cut}", *words]
    process = subprocess.Popen(program, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and not list(cut.glob("*/checkpoint-*")):
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert not list(cut.glob("*/result.json"))
    assert run(cut, *words) == 0
    assert re.search(r"goes on at epoch \d, ", capsys.readouterr().err)
    assert run(tmp_path / "whole", *words) == 0
    assert same(folders(tmp_path / "whole")["A-S256"], folders(cut)["A-S256"])
    assert not list(cut.glob("*/checkpoint-*"))
