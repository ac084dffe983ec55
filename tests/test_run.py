"""From a command to finished runs, through the public door, with nets small enough for a test."""

from __future__ import annotations

import json
import os
import re
import shutil
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
from torch import Tensor

from repro.config.command import command
from repro.data.inputs import Inputs
from repro.errors import RunError
from repro.run import job
from repro.run.interruption import Interrupted, Stop
from repro.run.loop import Training
from repro.run.request import Request
from repro.store.folder import hold

# Few layers, few images, one thread: a run in about a second.
LIGHT = ["size=tiny", "recipe=smoke", "recipe.train_images=96", "recipe.batch=16", "threads=1"]
LIGHT += ["data.first_classes=3", "progress=false"]
STILL = ["recipe.weight_decay=0", "recipe.learning_rate=1e-30", "test=[centre]"]
"""A learning rate too small to move a weight shows what training started from."""
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


def times(folder: Path) -> dict[Path, int]:
    """When each file of a folder was written."""
    return {path: path.stat().st_mtime_ns for path in folder.glob("[A-Z]*/**/*.*")}


def start(runs: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "repro.run", *LIGHT, f"runs={runs}", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with A and B-5x5, trained and tested; not to be changed."""
    runs = tmp_path_factory.mktemp("trained")
    assert run(runs, "-m", "arch=A,B-5x5", "test=[single_scale,centre]") == 0
    return runs


@pytest.fixture
def store(trained: Path, tmp_path: Path) -> Path:
    """A copy of that store."""
    return shutil.copytree(trained, tmp_path / "runs")


def test_a_sweep_leaves_what_the_contract_names(trained: Path) -> None:
    assert set(folders(trained)) == {"A-S256", "B-5x5-S256"}
    for folder in folders(trained).values():
        names = {path.relative_to(folder).as_posix() for path in folder.rglob("*.*")}
        assert names == {
            *("config.yaml", "crops.png", "log.csv", "result.json", "weights.safetensors"),
            *("views/dense-Q256.npz", "views/centre-Q256.npz"),
        }
        result = json.loads((folder / "result.json").read_text())
        assert folder.name.endswith(result["identity"])
        assert result["epochs"] == len(pd.read_csv(folder / "log.csv")) == 2


def test_what_is_finished_is_not_done_again_and_what_is_missing_is_added(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, folder = times(store), folders(store)["A-S256"]
    assert run(store, "test=[single_scale]") == 0
    assert capsys.readouterr().out.count("single_scale test error") == 1
    assert times(store) == before
    assert run(store, "test=[multi_scale,centre]") == 0
    new = {path.relative_to(folder).as_posix() for path in times(store).keys() - before.keys()}
    assert new == {"views/dense-Q224.npz", "views/dense-Q288.npz"}
    assert times(store).items() >= before.items()


def test_the_same_seed_gives_the_same_bits_and_another_does_not(
    trained: Path, tmp_path: Path
) -> None:
    for seed in (0, 1):
        words = (f"seed={seed}", "test=[single_scale,centre]")
        assert run(tmp_path / str(seed), *words) == 0
        again = folders(tmp_path / str(seed))["A-S256"]
        assert same(folders(trained)["A-S256"], again) == (seed == 0)


def test_a_diverged_net_is_a_result_and_the_sweep_goes_on(tmp_path: Path) -> None:
    assert run(tmp_path, "-m", "recipe.learning_rate=1e30,0.01", "test=[centre]") == 0
    found = [json.loads(path.read_text())["outcome"] for path in tmp_path.glob("*/result.json")]
    assert len(set(found)) == 2
    assert "diverged" in found


def test_parents_are_trained_first_and_children_start_from_them(tmp_path: Path) -> None:
    assert run(tmp_path, "scale=jitter", "recipe.later_epochs=1", *STILL) == 0
    found = folders(tmp_path)
    epochs = {net: len(pd.read_csv(folder / "log.csv")) for net, folder in found.items()}
    assert epochs == {"A-S256": 2, "A-S384": 1, "A-jitter": 1}
    weights = [load_file(folder / "weights.safetensors") for folder in found.values()]
    for name, tensor in weights[0].items():
        assert torch.allclose(tensor, weights[1][name], rtol=0, atol=1e-20)
        assert torch.allclose(tensor, weights[2][name], rtol=0, atol=1e-20)


def test_only_fc_layers_are_tuned(store: Path) -> None:
    assert run(store, "scale=S384", "finetune=fc", "scale.lr_factor=1", "test=[centre]") == 0
    parent, child = (
        load_file(path / "weights.safetensors")
        for net, path in folders(store).items()
        if net.startswith("A-")
    )
    convolutions = [name for name in parent if name.startswith("features")]
    assert all(torch.equal(parent[name], child[name]) for name in convolutions)
    assert not torch.equal(parent["classifier.0.weight"], child["classifier.0.weight"])


def test_layers_from_a_are_those_of_the_run_of_a(tmp_path: Path) -> None:
    assert run(tmp_path, "arch=B", "init=from_A", *STILL) == 0
    found = folders(tmp_path)
    assert set(found) == {"A-S256", "B-S256"}
    a, b = (load_file(folder / "weights.safetensors") for folder in found.values())
    assert torch.equal(a["features.0.weight"], b["features.0.weight"])
    assert torch.equal(a["classifier.0.weight"], b["classifier.0.weight"])
    # Block 2's first convolution: after two layers in A's first block, four in B's.
    assert torch.equal(a["features.3.weight"], b["features.5.weight"])


def test_a_stage_draws_as_its_parent_did_or_anew(tmp_path: Path) -> None:
    # Where no weight moves, the loss tells the crops and the masks.
    assert run(tmp_path, "-m", "scale=S256_on", "scale.draws=parent,new", *STILL) == 0
    found = folders(tmp_path)
    assert set(found) == {"A-S256", "A-S256_on", "A-S256_on+draws=new"}
    losses = {name: pd.read_csv(folder / "log.csv").train_loss for name, folder in found.items()}
    assert losses["A-S256"].tolist() == losses["A-S256_on"].tolist()
    every = [*losses["A-S256"], *losses["A-S256_on+draws=new"]]
    assert len(set(every)) == len(every)


def test_what_a_run_starts_from_is_not_tested_by_crops(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def planned(*words: str) -> dict[str, str]:
        """The views that a dry run would compute, by the run's net and scale."""
        runs = tmp_path / "runs"
        assert run(runs, "dry_run=true", "data.mirror=false", *words) == 0
        assert not runs.exists()
        text = capsys.readouterr().out
        return dict(re.findall(r"^(\S+?)-tiny.*views to compute: (.*)$", text, re.MULTILINE))

    crops = "grid-Q256, grid-Q384, grid-Q512"
    assert planned("net=D-jitter", "test=[centre,multi_crop]") == {
        **{"D-S256": "centre-Q256", "D-S384": "centre-Q384"},
        "D-jitter": f"centre-Q384, {crops}",
    }
    parents = {"D-S256": "dense-Q256", "D-S384": "dense-Q384"}
    assert planned("net=D-jitter", "test=[multi_crop]") == {**parents, "D-jitter": crops}
    # Unless it is asked for by itself, in whatever order.
    asked = planned("-m", "net=D-jitter,D-S256", "test=[multi_crop]")
    assert asked["D-S256"] == "dense-Q256, grid-Q224, grid-Q256, grid-Q288"


def test_a_failure_is_recorded_and_ends_only_its_own_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, reason = Training.run, "photo.jpg cannot be decoded: it ends early"

    def breaks(training: Training) -> object:
        if training.config.arch.name == "A":
            raise RunError(reason)
        return whole(training)

    words = ["-m", "arch=A,A-LRN", "test=[centre]"]
    with monkeypatch.context() as patch:
        patch.setattr(Training, "run", breaks)
        assert run(tmp_path, *words) == 1
    said = capsys.readouterr().err
    assert reason in said
    again = "the same command goes on: python -m repro.run .* -m arch=A,A-LRN 'test=\\[centre\\]'"
    assert re.search(f"1 of 2 runs finished; {again}\n", said)
    assert "Traceback" not in said
    found = folders(tmp_path)
    assert json.loads((found["A-S256"] / "failed.json").read_text()) == {"reason": reason}
    assert (found["A-LRN-S256"] / "result.json").is_file()
    assert run(tmp_path, *words) == 0
    assert not (found["A-S256"] / "failed.json").exists()


@pytest.mark.parametrize("amid", ["validation", "view"])
def test_a_signal_is_heeded_before_the_next_batch_of_a_test(
    amid: str, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare, looks = Inputs.__call__, []

    def prepares(inputs: Inputs, images: Tensor, shift: Tensor | None = None) -> Tensor:
        weights = list(tmp_path.glob("A-*/weights.safetensors"))
        if shift is None and bool(weights) == (amid == "view"):
            looks.append(len(images))
            if len(looks) == 1:
                os.kill(os.getpid(), signal.SIGTERM)
        return prepare(inputs, images, shift)

    words = ["test=[single_scale,centre]", "test_batch=64"]
    with monkeypatch.context() as patch:
        patch.setattr(Inputs, "__call__", prepares)
        with pytest.raises(SystemExit) as ended:
            run(tmp_path, *words)
    assert ended.value.code == 75
    assert len(looks) == 1
    assert run(tmp_path, "test=[single_scale,centre]") == 0
    assert same(folders(tmp_path)["A-S256"], folders(trained)["A-S256"])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_before_any_run_or_between_two_is_status_75(
    number: signal.Signals, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, perform, jobs = signal.getsignal(number), job.perform, []

    def signalled(*_: object) -> None:
        os.kill(os.getpid(), number)

    def begins(request: Request, stop: Stop) -> None:
        jobs.append(request)
        if len(jobs) == 2:
            signalled()
        perform(request, stop)

    with monkeypatch.context() as patch:
        patch.setattr(job, "perform", begins)
        patch.setattr(Request, "finished", lambda request: len(jobs) == 1)
        with pytest.raises(SystemExit) as ended:
            run(trained, "-m", "arch=A,B-5x5", "test=[centre]")
    assert ended.value.code == 75
    assert len(jobs) == 2
    monkeypatch.setattr("repro.config.command.resolved", signalled)
    with pytest.raises(SystemExit) as ended:
        command([])
    assert ended.value.code == 75
    assert signal.getsignal(number) == before


def test_a_process_that_waits_for_a_run_can_be_stopped(tmp_path: Path) -> None:
    stop, said = Stop(), [""]

    def say(line: str) -> None:
        said.append(line)
        stop._asked.add(signal.SIGTERM)

    with (
        hold(tmp_path, "run", said.append),
        pytest.raises(Interrupted),
        hold(tmp_path, "run", say, stop.check),
    ):
        pytest.fail("held twice")
    assert said[-1] == "run: another process works on it; waiting"


LONG = ["recipe.epochs=6", "checkpoint_seconds=0.05", "test=[centre]"]


@pytest.mark.parametrize("number", [signal.SIGKILL, pytest.param(15, marks=pytest.mark.slow)])
def test_an_interrupted_run_goes_on_bit_for_bit(
    number: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    process = start(tmp_path / "cut", *LONG)
    _wait_for_progress(process, tmp_path / "cut")
    process.send_signal(number)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == (75 if number == signal.SIGTERM else -number), said
    cut = folders(tmp_path / "cut")["A-S256"]
    assert not (cut / "result.json").exists()
    assert run(tmp_path / "cut", *LONG) == 0
    assert re.search(r"goes on at epoch \d, ", capsys.readouterr().err)
    assert run(tmp_path / "whole", *LONG) == 0
    assert same(folders(tmp_path / "whole")["A-S256"], cut)
    assert not list(cut.glob("checkpoint-*"))


def _wait_for_progress(process: subprocess.Popen[str], runs: Path) -> None:
    for _ in range(12000):
        if process.poll() is not None or list(runs.glob("*/checkpoint-*")):
            return
        time.sleep(0.01)
    pytest.fail("no checkpoint within two minutes")
