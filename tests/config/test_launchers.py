"""Sweeps through Hydra's launchers: once each, saved when stopped, refused in a line."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import AbstractContextManager
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml

from repro.config import launchers
from repro.config.choices import CONF
from repro.config.command import command
from repro.errors import RequestError
from repro.run.device import reserved
from repro.run.interruption import Interrupted, Stop
from tests.test_run import LIGHT, folders, run, same

PRESETS = sorted(path.stem for path in (CONF / "hydra" / "launcher").iterdir())


def sweep(runs: Path, *words: str) -> subprocess.Popen[str]:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    words = ("-m", *LIGHT, "hydra/launcher=joblib", f"runs={runs}", "test=[centre]", *words)
    return subprocess.Popen(
        [sys.executable, "-m", "repro.run", *words],
        cwd=CONF.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.slow
def test_jobs_with_one_parent_train_it_once_and_nothing_differs(tmp_path: Path) -> None:
    process = sweep(tmp_path / "joblib", "scale=S256,S384")
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert run(tmp_path / "basic", "-m", "scale=S256,S384", "test=[centre]") == 0
    many, one = folders(tmp_path / "joblib"), folders(tmp_path / "basic")
    assert set(many) == set(one) == {"A-S256", "A-S384"}
    for name, folder in many.items():
        assert errors.count(f"{folder.name} trains\n") == 1
        assert same(folder, one[name])
    assert "Warning" not in errors


def under_way(runs: Path, process: subprocess.Popen[str]) -> list[int]:
    """The processes of joblib, once two of them have saved a checkpoint."""
    while len({path.parent for path in runs.glob("*/checkpoint-*")}) < 2:
        assert process.poll() is None
        time.sleep(0.02)
    command = ["pgrep", "-P", str(process.pid), "-f", "LokyProcess"]
    return [int(line) for line in subprocess.check_output(command).split()]


LONG = ["arch=A,B", "recipe.epochs=40", "checkpoint_seconds=0.05", "progress=true"]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_saves_all_jobs(number: signal.Signals, tmp_path: Path) -> None:
    process = sweep(tmp_path, *LONG)
    under_way(tmp_path, process)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 75, errors
    assert errors.count("stops, saved; the same command goes on") == 2
    assert "Traceback" not in errors


@pytest.mark.slow
def test_a_signal_to_the_whole_process_group_saves_all_jobs(tmp_path: Path) -> None:
    # The jobs have it twice: they are in the group, and the command passes it on.
    process = sweep(tmp_path, *LONG)
    under_way(tmp_path, process)
    os.killpg(process.pid, signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 75, errors
    assert errors.count("stops, saved; the same command goes on") == 2
    assert "Traceback" not in errors


@pytest.mark.slow
def test_a_job_that_is_killed_ends_the_sweep_and_the_same_command_goes_on(tmp_path: Path) -> None:
    process = sweep(tmp_path, *LONG)
    os.kill(under_way(tmp_path, process)[0], signal.SIGKILL)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "hydra/launcher=joblib ended before its time, and the sweep with it: " in errors
    assert "the same command goes on: python -m repro.run -m " in errors
    assert "Traceback" not in errors
    again = sweep(tmp_path, *LONG)
    _, errors = again.communicate(timeout=120)
    assert again.returncode == 0, errors
    assert "goes on at epoch" in errors


@pytest.mark.slow
def test_jobs_notice_that_the_command_was_killed(tmp_path: Path) -> None:
    process = sweep(tmp_path, *LONG)
    jobs = under_way(tmp_path, process)
    process.kill()
    _, errors = process.communicate(timeout=60)
    assert errors.count("stops, saved; the same command goes on") == 2
    for _ in range(100):
        if not any(Path(f"/proc/{job}").exists() for job in jobs):
            return
        time.sleep(0.1)
    pytest.fail("a job is left")


@pytest.mark.slow
def test_a_job_that_slurm_would_end_is_saved_and_queued_again(tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    # One long epoch: there is nothing to go on from but what is saved at the signal.
    words = [*LIGHT, "recipe.epochs=1", "recipe.train_images=3200", "test=[centre]"]
    assert run(tmp_path / "whole", *words) == 0
    words += ["-m", "hydra/launcher=submitit_local", f"runs={tmp_path / 'cut'}"]
    process = subprocess.Popen(
        [sys.executable, "-m", "repro.run", *words],
        cwd=CONF.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    logs = tmp_path / "cut" / ".hydra" / "submitit"
    while not list((tmp_path / "cut").glob("A-*/crops.png")):
        assert process.poll() is None
        time.sleep(0.02)
    time.sleep(1)
    command = ["pgrep", "-f", f"submitit.core._submit {logs}"]
    (job,) = (int(line) for line in subprocess.check_output(command).split())
    os.kill(job, signal.SIGUSR2)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    said = "".join(path.read_text() for path in logs.rglob("*.err"))
    assert said.count("stops, saved; the same command goes on") == 1
    assert re.search(r"goes on at epoch 1, step \d+", said)
    (cut,), (whole,) = (folders(tmp_path / place).values() for place in ("cut", "whole"))
    assert same(cut, whole)


def test_whose_parent_has_died_is_asked_to_stop() -> None:
    assert not Stop().asked
    assert not Stop(os.getppid()).asked
    assert Stop(os.getpid()).asked


@pytest.mark.parametrize("name", PRESETS)
def test_a_launcher_that_is_not_installed_is_refused_in_a_line(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(launchers, "_installed", lambda module: False)
    words = [*LIGHT, "-m", "arch=A,B", f"hydra/launcher={name}", f"runs={tmp_path / 'runs'}"]
    assert command(words) == 2
    extra = name.partition("_")[0]
    said = capsys.readouterr().err
    assert said == f"hydra/launcher={name} needs a plugin: pip install 'vgg-repro[{extra}]'\n"
    assert not (tmp_path / "runs").exists()


def test_a_launcher_beside_torchrun_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.setattr(launchers, "_installed", lambda module: True)
    launchers.check("basic")
    with pytest.raises(RequestError, match="torchrun trains one net in several processes"):
        launchers.check("joblib")


def test_a_launcher_named_in_a_file_is_known_before_the_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "experiments" / "mine.yaml"
    mine.parent.mkdir()
    mine.write_text(
        "# @package _global_\ndefaults: [override /recipe: smoke, override /hydra/launcher: ray]\n"
    )
    monkeypatch.setattr(launchers, "_installed", lambda module: False)
    words = ["--config-dir", str(tmp_path), "dry_run=true", "-m", "arch=A"]
    assert command(words) == 0
    for said, name in (([], "ray"), (["hydra/launcher=joblib"], "joblib")):
        capsys.readouterr()
        assert command([*words, "experiments=mine", *said]) == 2
        assert capsys.readouterr().err.startswith(f"hydra/launcher={name} needs a plugin: ")


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_its_plugins(name: str) -> None:
    assert name in launchers.PLUGINS
    preset = yaml.safe_load((CONF / "hydra" / "launcher" / f"{name}.yaml").read_text())
    assert preset["_target_"].startswith(f"hydra_plugins.{launchers.PLUGINS[name][1]}.")


def test_a_job_takes_the_first_free_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda n: SimpleNamespace(uuid=f"uuid-{n}")
    )
    said: list[str] = []

    def stop() -> None:
        raise Interrupted

    def take(name: str) -> AbstractContextManager[torch.device]:
        return reserved(torch.device(name), tmp_path, said.append, stop)

    with take("cuda") as first:
        with take("cuda") as second:
            assert (str(first), str(second)) == ("cuda:0", "cuda:1")
            with pytest.raises(Interrupted), take("cuda"):
                pytest.fail("a third job has a device")
            assert said == ["all 2 CUDA devices are taken; waiting (device=cuda:0 would share one)"]
            with take("cuda:0") as shared, take("cpu") as other:
                assert (str(shared), str(other)) == ("cuda:0", "cpu")
        with take("cuda") as second:
            assert str(second) == "cuda:1"
    assert taken[:2] == [0, 1]
