"""From a command to finished runs, through the public door, with nets small enough for a test."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from repro.config.command import command
from repro.data.inputs import Inputs
from repro.errors import RunError
from repro.run import job
from repro.run.interruption import Interrupted, Stop
from repro.run.loop import Training
from repro.run.request import Request
from repro.store import folder as run_folder
from repro.store.folder import hold

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


def test_what_is_finished_is_not_done_again_and_new_views_are_added(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, "test=[single_scale]") == 0
    shown = capsys.readouterr().out
    folder = folders(tmp_path)["A-S256"]
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.*")}
    assert run(tmp_path, "test=[single_scale]") == 0
    assert capsys.readouterr().out == shown
    assert shown.count("single_scale test error") == 1
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.*")} == before
    assert run(tmp_path, "test=[multi_scale,centre]") == 0
    assert {path.name for path in (folder / "views").iterdir()} == {
        *("dense-Q224.npz", "dense-Q256.npz", "dense-Q288.npz", "centre-Q256.npz")
    }
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())


def test_the_same_seed_gives_the_same_bits_and_another_does_not(tmp_path: Path) -> None:
    for place, seed in (("first", 3), ("second", 3), ("third", 4)):
        assert run(tmp_path / place, f"seed={seed}", "arch=A-LRN", "test=[single_scale]") == 0
    first, second, third = (
        folders(tmp_path / s)["A-LRN-S256"] for s in ("first", "second", "third")
    )
    assert same(first, second)
    assert not same(first, third)


def test_a_diverged_net_is_a_result_and_the_sweep_goes_on(tmp_path: Path) -> None:
    assert run(tmp_path, "-m", "recipe.learning_rate=1e30,0.01", "test=[centre]") == 0
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
    assert run(tmp_path, "scale=jitter", "recipe.later_epochs=1", *still) == 0
    found = folders(tmp_path)
    assert set(found) == {"A-S256", "A-S384", "A-jitter"}
    epochs = {net: len(pd.read_csv(folder / "log.csv")) for net, folder in found.items()}
    assert epochs == {"A-S256": 2, "A-S384": 1, "A-jitter": 1}
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
    assert run(tmp_path, "arch=B", "init=from_A", "test=[centre]", *still) == 0
    found = folders(tmp_path)
    assert set(found) == {"A-S256", "B-S256"}
    a, b = (load_file(folder / "weights.safetensors") for folder in found.values())
    assert torch.equal(a["features.0.weight"], b["features.0.weight"])
    assert torch.equal(a["classifier.0.weight"], b["classifier.0.weight"])
    # Block 2's first convolution: after two layers in A's first block, four in B's.
    assert torch.equal(a["features.3.weight"], b["features.5.weight"])


def test_only_fc_layers_are_tuned(tmp_path: Path) -> None:
    assert run(tmp_path, "scale=S384", "finetune=fc", "scale.lr_factor=1", "test=[centre]") == 0
    weights = [load_file(path / "weights.safetensors") for path in folders(tmp_path).values()]
    convolutions = [name for name in weights[0] if name.startswith("features")]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in convolutions)
    assert not torch.equal(weights[0]["classifier.0.weight"], weights[1]["classifier.0.weight"])


def test_a_sweep_over_stores_fills_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stores = [str(tmp_path / name) for name in ("one", "two and")]
    words = [*LIGHT, "-m", f"runs={stores[0]},{stores[1]}", "test=[centre]"]
    assert command([*words, "dry_run=true"]) == 0
    assert f"2 runs in {','.join(stores)}; nothing was done" in capsys.readouterr().out
    assert command(words) == 0
    assert all(len(folders(Path(store))) == 1 for store in stores)
    # In quotes, as a shell wants it.
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.endswith(f"next: python -m repro.report 'runs={','.join(stores)}'")


def test_a_stage_draws_as_its_parent_did_or_anew(tmp_path: Path) -> None:
    # Where no weight moves, the loss tells the crops and the masks.
    still = ["recipe.weight_decay=0", "recipe.learning_rate=1e-30", "test=[centre]"]
    draws = ["-m", "scale=S256_on", "scale.draws=parent,new"]
    assert run(tmp_path, *draws, *still) == 0
    found = folders(tmp_path)
    assert set(found) == {"A-S256", "A-S256_on", "A-S256_on+draws=new"}
    losses = {name: pd.read_csv(folder / "log.csv").train_loss for name, folder in found.items()}
    assert losses["A-S256"].tolist() == losses["A-S256_on"].tolist()
    every = [*losses["A-S256"], *losses["A-S256_on+draws=new"]]
    assert len(set(every)) == len(every)


def test_the_blogs_recipe_logs_the_error_on_test_images(tmp_path: Path) -> None:
    blog = ["net=blog-vgg16-S224", "recipe=blog", "recipe.train_images=96", "recipe.epochs=2"]
    assert command([*blog, "size=tiny", "test=[centre]", f"runs={tmp_path}", "progress=false"]) == 0
    (folder,) = folders(tmp_path).values()
    log = pd.read_csv(folder / "log.csv")
    view = np.load(folder / "views" / "centre-Q224.npz")
    own = view["posteriors"][np.arange(500), view["labels"]][:, None]
    wrong = 100 * np.mean((view["posteriors"] >= own).sum(axis=1) > 1)
    assert log.test_error.iloc[-1] == pytest.approx(wrong, abs=0.21), "ties aside"
    assert len(log.test_error) == 2


def test_activations_are_added_to_a_finished_run(tmp_path: Path) -> None:
    assert run(tmp_path, "test=[centre]") == 0
    (folder,) = folders(tmp_path).values()
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.*")}
    assert not (folder / "activations.csv").exists()
    assert run(tmp_path, "test=[centre]", "activations=true") == 0
    rows = pd.read_csv(folder / "activations.csv")
    assert set(rows.net) == {"as run", "full width"}
    assert (rows.groupby("net").size() == 11).all()
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())


def planned(text: str) -> dict[str, str]:
    """The views that a dry run would compute, by the run's net and scale."""
    lines = re.findall(r"^(\S+?)-tiny.*views to compute: (.*)$", text, re.MULTILINE)
    return dict(lines)


def test_what_a_run_starts_from_is_not_tested_by_crops(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["dry_run=true", "test=[centre,multi_crop]", "data.mirror=false"]
    assert run(tmp_path, "net=D-jitter", *words) == 0
    crops = "centre-Q384, grid-Q256, grid-Q384, grid-Q512"
    parents = {"D-S256": "centre-Q256", "D-S384": "centre-Q384"}
    assert planned(capsys.readouterr().out) == {**parents, "D-jitter": crops}
    words[1] = "test=[multi_crop]"
    assert run(tmp_path, "net=D-jitter", *words) == 0
    parents = {"D-S256": "dense-Q256", "D-S384": "dense-Q384"}
    crops = crops.removeprefix("centre-Q384, ")
    assert planned(capsys.readouterr().out) == {**parents, "D-jitter": crops}
    # Unless it is asked for by itself, in whatever order.
    words[1] = "test=[centre,multi_crop]"
    assert run(tmp_path, "-m", "net=D-jitter,D-S256", *words) == 0
    found = planned(capsys.readouterr().out)
    assert found["D-S256"] == "centre-Q256, grid-Q224, grid-Q256, grid-Q288"


def test_a_failure_is_recorded_and_ends_only_its_own_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = Training.run

    def breaks(training: Training) -> object:
        if training.config.arch.name == "A":
            raise RunError("photo.jpg cannot be decoded: it ends early")
        return whole(training)

    monkeypatch.setattr(Training, "run", breaks)
    assert run(tmp_path, "-m", "arch=A,A-LRN", "test=[centre]") == 1
    text = capsys.readouterr().err
    assert "photo.jpg cannot be decoded: it ends early" in text
    again = "python -m repro.run size=tiny .* -m arch=A,A-LRN 'test=\\[centre\\]'"
    assert re.search(f"1 of 2 runs finished; the same command goes on: {again}\n", text)
    assert "Traceback" not in text
    found = folders(tmp_path)
    assert (found["A-S256"] / "failed.json").is_file()
    assert (found["A-LRN-S256"] / "result.json").is_file()
    monkeypatch.setattr(Training, "run", whole)
    assert run(tmp_path, "-m", "arch=A,A-LRN", "test=[centre]") == 0
    assert not (found["A-S256"] / "failed.json").exists()


def test_an_image_that_breaks_fails_its_run_until_it_is_repaired(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    random = np.random.default_rng(0)
    for folder in (tmp_path / "photos" / part / c for part in ("train", "val") for c in "ab"):
        folder.mkdir(parents=True)
        for n in range(8):
            noise = random.integers(0, 256, (12, 12, 3), np.uint8)
            Image.fromarray(noise).save(folder / f"{n}.png")
    # Not looked at before, so that it is found while the run is under way; of the same size.
    broken = tmp_path / "photos" / "val" / "b" / "1.png"
    whole = broken.read_bytes()
    broken.write_bytes(b"?" * len(whole))
    words = ["data=imagefolder", f"data.root={tmp_path / 'photos'}", "test=[centre]"]
    runs = tmp_path / "runs"
    assert run(runs, *words, "data.verify=false") == 1
    (failed,) = (path.parent for path in runs.glob("*/failed.json"))
    assert str(broken) in json.loads((failed / "failed.json").read_text())["reason"]
    assert not (failed / "result.json").exists()
    assert run(runs, *words, "data.on_bad_image=skip") == 0
    assert "1 image files cannot be decoded and are left out" in capsys.readouterr().err
    broken.write_bytes(whole)
    assert run(runs, *words) == 0
    assert len(list(runs.glob("*/result.json"))) == 2
    assert not (failed / "failed.json").exists()


def test_a_full_disk_fails_its_run_and_what_was_finished_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write = run_folder.write_whole

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def writing(path: Path, *rest: Any) -> None:
        with pytest.MonkeyPatch.context() as patch:
            if path.parent.name.startswith("A-S256") and path.name == "weights.safetensors":
                patch.setattr(os, "fsync", full)
            write(path, *rest)

    words = ["-m", "arch=A,B-5x5", "test=[centre]"]
    with monkeypatch.context() as patch:
        patch.setattr(run_folder, "write_whole", writing)
        assert run(tmp_path, *words) == 1
    found = folders(tmp_path)
    failed = found["A-S256"]
    reason = f"cannot write {failed}/weights.safetensors: the disk is full; what was finished stays"
    assert json.loads((failed / "failed.json").read_text()) == {"reason": reason}
    said = capsys.readouterr().err
    assert f"failed: {failed.name}: {reason}" in said
    assert "Traceback" not in said
    assert (found["B-5x5-S256"] / "result.json").is_file()
    assert not list(failed.glob(".*")), "nothing half written is left"
    # The two epochs are not trained again.
    monkeypatch.setattr(Training, "step", lambda *_: pytest.fail("trains"))
    assert run(tmp_path, *words) == 0
    assert "goes on at epoch 3, step 1" in capsys.readouterr().err
    assert not (failed / "failed.json").exists()


def test_a_signal_after_the_last_step_still_ends_the_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(job, "summary", lambda _: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(SystemExit) as ended:
            run(tmp_path, "-m", "arch=A,B", "test=[centre]")
    assert ended.value.code == 75
    assert set(folders(tmp_path)) == {"A-S256"}
    assert (folders(tmp_path)["A-S256"] / "result.json").is_file()


@pytest.mark.parametrize("amid", ["validation", "view"])
def test_a_signal_is_heeded_before_the_next_batch_of_a_test(
    amid: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare, looks = Inputs.__call__, []

    def prepares(inputs: Inputs, images: Tensor, shift: Tensor | None = None) -> Tensor:
        trained = bool(list((tmp_path / "cut").glob("A-*/weights.safetensors")))
        if shift is None and trained == (amid == "view"):
            looks.append(len(images))
            if len(looks) == 1:
                os.kill(os.getpid(), signal.SIGTERM)
        return prepare(inputs, images, shift)

    words = ["test=[single_scale]", "test_batch=64"]
    with monkeypatch.context() as patch:
        patch.setattr(Inputs, "__call__", prepares)
        with pytest.raises(SystemExit) as ended:
            run(tmp_path / "cut", *words)
    assert ended.value.code == 75
    assert len(looks) == 1
    assert run(tmp_path / "cut", *words) == run(tmp_path / "whole", *words) == 0
    assert same(folders(tmp_path / "cut")["A-S256"], folders(tmp_path / "whole")["A-S256"])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2])
def test_a_signal_before_any_run_or_between_two_is_status_75(
    number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, perform, jobs = signal.getsignal(number), job.perform, []

    def signalled(*_: object) -> None:
        os.kill(os.getpid(), number)

    def begins(request: Request, stop: Stop) -> None:
        jobs.append(request)
        if len(jobs) == 2:
            signalled()
        perform(request, stop)

    monkeypatch.setattr(job, "perform", begins)
    with pytest.raises(SystemExit) as ended:
        run(tmp_path, "-m", "arch=A,B", "test=[centre]")
    assert ended.value.code == 75
    assert set(folders(tmp_path)) == {"A-S256"}
    assert (folders(tmp_path)["A-S256"] / "result.json").is_file()
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


def test_an_interrupted_run_goes_on_bit_for_bit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
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
    capsys.readouterr()
    assert run(tmp_path / "cut", *words) == 0
    assert re.search(r"goes on at epoch \d, ", capsys.readouterr().err)
    assert same(whole, cut)
    assert not list(cut.glob("checkpoint-*"))


def _wait_for_progress(process: subprocess.Popen[str], runs: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in runs.glob("*/checkpoint-*")}
    for _ in range(12000):
        now = {path: path.stat().st_mtime_ns for path in runs.glob("*/checkpoint-*")}
        if process.poll() is not None or (now and now != before):
            return
        time.sleep(0.01)
    pytest.fail("no checkpoint within two minutes")


def test_two_processes_on_one_run_train_it_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["test=[centre]", "checkpoint_seconds=0.05", "recipe.epochs=25"]
    other = start(tmp_path, *words)
    _wait_for_progress(other, tmp_path)
    other.send_signal(signal.SIGSTOP)
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        other.send_signal(signal.SIGCONT)

    monkeypatch.setattr("repro.run.job.say", say)
    assert run(tmp_path, *words) == 0
    text = other.communicate(timeout=120)[1]
    assert other.returncode == 0, text
    assert text.count(" trains\n") == 1
    assert [line.partition(": ")[2] for line in said] == ["another process works on it; waiting"]


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
