"""From a command to finished runs, through the public door, with nets small enough for a test."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from repro.command import command

# Few layers, few images, one thread: a run in about a second.
LIGHT = ["size=tiny", "recipe=smoke", "recipe.train_images=96", "recipe.batch=16", "threads=1"]
LIGHT += ["progress=false"]
TIMES = ["images_per_second", "seconds"]


def run(runs: Path, *words: str) -> int:
    return command([*LIGHT, f"runs={runs}", *words])


def folders(runs: Path) -> dict[str, Path]:
    """Runs by the first word of their names and their scale, as in `A-S256`."""
    found = sorted(path for path in runs.iterdir() if path.name[0] != ".")
    return {path.name.split("-tiny")[0]: path for path in found}


def same(first: Path, second: Path) -> bool:
    """Whether two folders hold the same run bit for bit, times aside."""
    logs = [pd.read_csv(folder / "log.csv").drop(columns=TIMES) for folder in (first, second)]
    weights = [(folder / "weights.safetensors").read_bytes() for folder in (first, second)]
    views = [sorted((folder / "views").iterdir()) for folder in (first, second)]
    if [view.name for view in views[0]] != [view.name for view in views[1]]:
        return False
    arrays = all(
        np.array_equal(np.load(one)["posteriors"], np.load(other)["posteriors"])
        for one, other in zip(*views, strict=True)
    )
    return logs[0].equals(logs[1]) and weights[0] == weights[1] and arrays


def start(runs: Path, *words: str) -> subprocess.Popen[str]:
    arguments = [*LIGHT, "progress=true", f"runs={runs}", *words]
    arguments.remove("progress=false")
    return subprocess.Popen(
        [sys.executable, "-m", "repro.run", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_WAIT_POLICY": "PASSIVE"},
    )


def test_a_sweep_leaves_what_the_contract_names(tmp_path: Path) -> None:
    assert run(tmp_path, "-m", "arch=A,B-5x5") == 0
    found = folders(tmp_path)
    assert set(found) == {"A-S256", "B-5x5-S256"}
    for folder in found.values():
        names = {path.relative_to(folder).as_posix() for path in folder.rglob("*.*")}
        assert names == {
            *("config.yaml", "crops.png", "log.csv", "result.json", "weights.safetensors"),
            *(f"views/dense-Q{q}.npz" for q in (224, 256, 288)),
            "views/centre-Q256.npz",
        }
        result = json.loads((folder / "result.json").read_text())
        assert folder.name.endswith(result["identity"])
        assert result["epochs"] == len(pd.read_csv(folder / "log.csv")) == 2


def test_what_is_finished_is_not_done_again_and_new_views_are_added(tmp_path: Path) -> None:
    assert run(tmp_path, "test=[single_scale]") == 0
    folder = folders(tmp_path)["A-S256"]
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.*")}
    assert run(tmp_path, "test=[single_scale]") == 0
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.*")} == before
    assert run(tmp_path, "test=[multi_scale,centre]") == 0
    assert {path.name for path in (folder / "views").iterdir()} == {
        *("dense-Q224.npz", "dense-Q256.npz", "dense-Q288.npz", "centre-Q256.npz")
    }
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())


def test_the_same_seed_gives_the_same_bits_and_another_does_not(tmp_path: Path) -> None:
    for store, seed in (("first", 3), ("second", 3), ("third", 4)):
        assert run(tmp_path / store, f"seed={seed}", "arch=A-LRN") == 0
    first, second, third = (
        folders(tmp_path / s)["A-LRN-S256"] for s in ("first", "second", "third")
    )
    assert same(first, second)
    assert not same(first, third)


def test_a_diverged_net_is_a_result_and_the_sweep_goes_on(tmp_path: Path) -> None:
    assert run(tmp_path, "-m", "recipe.learning_rate=1e30,0.01") == 0
    outcomes = {
        json.loads((path / "result.json").read_text())["outcome"]
        for path in tmp_path.iterdir()
        if path.name[0] != "."
    }
    assert "diverged" in outcomes
    assert len(outcomes) == 2


def test_parents_are_trained_first_and_children_start_from_them(tmp_path: Path) -> None:
    # A learning rate too small to move a weight shows what training started from.
    still = ["recipe.weight_decay=0", "recipe.learning_rate=1e-30"]
    assert run(tmp_path, "scale=jitter", *still) == 0
    found = folders(tmp_path)
    assert set(found) == {"A-S256", "A-S384", "A-jitter"}
    weights = [load_file(folder / "weights.safetensors") for folder in found.values()]
    for name, tensor in weights[0].items():
        assert torch.allclose(tensor, weights[1][name], rtol=0, atol=1e-20)
        assert torch.allclose(tensor, weights[2][name], rtol=0, atol=1e-20)
    assert {view.name for view in (found["A-jitter"] / "views").iterdir()} == {
        *(f"dense-Q{q}.npz" for q in (256, 384, 512)),
        "centre-Q384.npz",
    }


def test_layers_from_a_are_those_of_the_run_of_a(tmp_path: Path) -> None:
    still = ["recipe.weight_decay=0", "recipe.learning_rate=1e-30"]
    assert run(tmp_path, "arch=B", "init=from_A", *still) == 0
    found = folders(tmp_path)
    assert set(found) == {"A-S256", "B-S256"}
    a, b = (load_file(folder / "weights.safetensors") for folder in found.values())
    assert torch.equal(a["features.0.weight"], b["features.0.weight"])
    assert torch.equal(a["classifier.0.weight"], b["classifier.0.weight"])
    # Block 2's first convolution: after two layers in A's first block, four in B's.
    assert torch.equal(a["features.3.weight"], b["features.5.weight"])


def test_only_fc_layers_are_tuned(tmp_path: Path) -> None:
    assert run(tmp_path, "scale=S384", "finetune=fc", "scale.lr_factor=1") == 0
    weights = [load_file(path / "weights.safetensors") for path in folders(tmp_path).values()]
    convolutions = [name for name in weights[0] if name.startswith("features")]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in convolutions)
    assert not torch.equal(weights[0]["classifier.0.weight"], weights[1]["classifier.0.weight"])


def test_a_failure_is_recorded_and_ends_only_its_own_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from repro.errors import RunError
    from repro.train.loop import Training

    whole = Training.run

    def breaks(training: Training) -> object:
        if training.config.arch.name == "A":
            raise RunError("photo.jpg cannot be decoded: it ends early")
        return whole(training)

    monkeypatch.setattr(Training, "run", breaks)
    assert run(tmp_path, "-m", "arch=A,A-LRN") == 1
    text = capsys.readouterr().err
    assert "photo.jpg cannot be decoded: it ends early" in text
    assert "1 of 2 runs finished; the same command goes on" in text
    assert "Traceback" not in text
    found = folders(tmp_path)
    assert (found["A-S256"] / "failed.json").is_file()
    assert (found["A-LRN-S256"] / "result.json").is_file()
    monkeypatch.setattr(Training, "run", whole)
    assert run(tmp_path, "-m", "arch=A,A-LRN") == 0
    assert not (found["A-S256"] / "failed.json").exists()


def test_an_interrupted_run_goes_on_bit_for_bit(tmp_path: Path) -> None:
    words = ["recipe.epochs=6", "checkpoint_seconds=0.05", "test=[centre]"]
    assert run(tmp_path / "whole", *words) == 0
    whole = folders(tmp_path / "whole")["A-S256"]
    said = []
    for number in (signal.SIGKILL, signal.SIGTERM):
        process = start(tmp_path / "cut", *words)
        # Some way into training, past what the interruption before it had reached.
        _wait_for_progress(process, tmp_path / "cut")
        process.send_signal(number)
        said.append(process.communicate(timeout=60)[1])
        expected = -signal.SIGKILL if number == signal.SIGKILL else 75
        assert process.returncode == expected, said
    cut = folders(tmp_path / "cut")["A-S256"]
    assert not (cut / "result.json").exists()
    last = start(tmp_path / "cut", *words)
    text = last.communicate(timeout=120)[1]
    assert last.returncode == 0, text
    assert "goes on at epoch" in text
    assert same(whole, cut)
    assert not list(cut.glob("checkpoint-*"))


def _wait_for_progress(process: subprocess.Popen[str], runs: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in runs.glob("*/checkpoint-*")}
    for _ in range(2000):
        now = {path: path.stat().st_mtime_ns for path in runs.glob("*/checkpoint-*")}
        if process.poll() is not None or (now and now != before):
            return
        time.sleep(0.01)
    pytest.fail("no checkpoint within 20 s")


def test_two_processes_on_one_run_train_it_once(tmp_path: Path) -> None:
    both = [start(tmp_path, "test=[centre]") for _ in range(2)]
    said = [process.communicate(timeout=120)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert sum(text.count("epoch 1 of 2") for text in said) == 1


def test_help_and_configuration_need_no_torch() -> None:
    script = (
        "import runpy, sys\n"
        "sys.argv = ['repro.run', *sys.argv[1:]]\n"
        "try:\n    runpy.run_module('repro.run', run_name='__main__')\n"
        "except SystemExit as end:\n    print('status', end.code, 'torch' in sys.modules)\n"
    )
    for words in (["--help"], ["--cfg", "job"]):
        done = subprocess.run(
            [sys.executable, "-c", script, *words], capture_output=True, text=True, check=True
        )
        assert done.stdout.splitlines()[-1] == "status 0 False"


def test_a_dry_run_does_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path / "runs", "-m", "arch=D,E", "scale=S384", "dry_run=true") == 0
    text = capsys.readouterr().out
    assert "4 runs in" in text
    assert "D-S384" in text
    assert not (tmp_path / "runs").exists()
