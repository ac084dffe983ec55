"""Nothing is lost: a sweep that is killed again and again ends as one that never was."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from repro.analysis.write import write

SWEEP = [
    *("-m", "arch=A,B", "scale=S256,S384", "size=tiny", "recipe=smoke", "recipe.epochs=3"),
    *("recipe.train_images=1600", "recipe.batch=16", "checkpoint_seconds=0.3", "threads=1"),
    *("progress=false", "test=[single_scale,centre]"),
]


def sweep(folder: Path) -> subprocess.Popen[bytes]:
    folder.mkdir(exist_ok=True)
    words = [sys.executable, "-m", "repro.run", *SWEEP]
    return subprocess.Popen(words, cwd=folder, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)


def results(folder: Path) -> str:
    write(folder / "runs", folder / "report")
    return (folder / "report" / "results.csv").read_text()


@pytest.mark.slow
def test_twenty_kills_change_nothing(tmp_path: Path) -> None:
    began = time.monotonic()
    straight = sweep(tmp_path / "straight")
    assert straight.wait() == 0
    whole = time.monotonic() - began
    instants, went_on, kills = random.Random(0), 0, 0
    while True:
        program = sweep(tmp_path / "killed")
        try:
            # Anywhere from the imports to a good part of the work.
            program.wait(instants.uniform(0.1, 1.0) * max(whole / 3, 6.0) if kills < 20 else None)
        except subprocess.TimeoutExpired:
            program.send_signal(signal.SIGKILL)
            program.wait()
            kills += 1
        assert program.stderr is not None
        went_on += b"goes on at epoch" in program.stderr.read()
        if program.returncode == 0:
            break
        assert program.returncode in (0, -signal.SIGKILL)
    while kills < 20:
        # It finished early: kill programs that have nothing left to do.
        program = sweep(tmp_path / "killed")
        time.sleep(instants.uniform(0.1, 3.0))
        program.send_signal(signal.SIGKILL)
        program.wait()
        kills += 1
    assert went_on >= 3, "kills fell into training"
    assert results(tmp_path / "killed") == results(tmp_path / "straight")
    left = [path.name for path in (tmp_path / "killed" / "runs").rglob("checkpoint-*")]
    assert not left
