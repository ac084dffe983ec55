"""Sweeps through Hydra's launchers: once each, saved when stopped, refused in a line."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hydra.core.plugins import Plugins
from omegaconf import DictConfig

from repro.config import launchers
from repro.config.choices import CONF
from repro.config.composing import Composed, Sweep
from repro.errors import RequestError
from repro.run.device import reserved
from repro.run.interruption import Interrupted
from tests.conftest import LIGHT, folders, run, same, started


def sweep(runs: Path, *words: str) -> subprocess.Popen[str]:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    return started("-m", *LIGHT, "hydra/launcher=joblib", f"runs={runs}", "test=[centre]", *words)


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
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_all_jobs(number: signal.Signals, tmp_path: Path) -> None:
    # With the whole group the jobs have it twice: the command passes it on.
    process = sweep(tmp_path, *LONG)
    under_way(tmp_path, process)
    os.killpg(process.pid, number)
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
@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2])
def test_a_job_that_slurm_would_end_is_saved_and_queued_again(
    number: signal.Signals, tmp_path: Path
) -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    # One long epoch: there is nothing to go on from but what is saved at the signal.
    words = [*LIGHT, "recipe.epochs=1", "recipe.train_images=1200", "test=[centre]"]
    assert run(tmp_path / "whole", *words) == 0
    process = started("-m", "hydra/launcher=submitit_local", f"runs={tmp_path / 'cut'}", *words)
    logs = tmp_path / "cut" / ".hydra" / "submitit"
    while not list((tmp_path / "cut").glob("A-*/crops.png")):
        assert process.poll() is None
        time.sleep(0.02)
    time.sleep(1)
    command = ["pgrep", "-f", f"submitit.core._submit {logs}"]
    (job,) = (int(line) for line in subprocess.check_output(command).split())
    os.kill(job, number)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    said = "".join(path.read_text() for path in logs.rglob("*.err"))
    assert said.count("stops, saved; the same command goes on") == 1
    assert re.search(r"goes on at epoch 1, step \d+", said)
    (cut,), (whole,) = (folders(tmp_path / place).values() for place in ("cut", "whole"))
    assert same(cut, whole)


def test_a_launcher_that_cannot_be_used_is_refused_before_any_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refused(*words: str) -> str:
        with pytest.raises(RequestError) as error:
            launchers.check(Sweep([*LIGHT, "-m", "arch=A,B", *words]))
        return str(error.value)

    for preset in (CONF / "hydra" / "launcher").iterdir():
        name, extra = f"hydra/launcher={preset.stem}", preset.stem.partition("_")[0]
        with monkeypatch.context() as patch:
            patch.setattr(launchers, "_installed", lambda module: False)
            assert f"vgg-repro[{extra}]" in refused(name)
            patch.setattr(launchers, "_installed", lambda module: True)
            patch.setenv("LOCAL_RANK", "0")
            assert "torchrun" in refused(name)
    for word in ("hydra.launcher.n_jobs=0", "hydra.launcher.batch_size=-1"):
        assert word.partition("=")[0] in refused("hydra/launcher=joblib", word)


@pytest.mark.parametrize(("words", "asked"), [((), 1), (("device=cpu",), None)])
def test_slurm_is_asked_for_a_gpu_unless_the_device_is_a_cpu(
    words: tuple[str, ...], asked: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []

    def instantiated(context: object, task: object, config: DictConfig) -> SimpleNamespace:
        found.append(config.hydra.launcher.gpus_per_node)
        return SimpleNamespace(launch=lambda jobs, initial_job_idx: [])

    monkeypatch.setattr(Plugins.instance(), "instantiate_launcher", instantiated)
    sweep = Sweep(["-m", "seed=0,1", "hydra/launcher=submitit_slurm", *words])
    launchers.launch(sweep, [])
    assert found == [asked]


def test_a_job_takes_the_first_free_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
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


def test_on_a_cluster_no_job_waits_for_a_run_that_another_makes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    asked: list[set[str]] = []

    def launch(sweep: Sweep, jobs: Sequence[Composed]) -> None:
        asked.append({word for job in jobs for word in job.words if word.startswith("arch=")})

    monkeypatch.setattr(launchers, "launch", launch)
    for launcher in ("joblib", "submitit_local"):
        words = ["init=from_A", f"hydra/launcher={launcher}", "recipe.init=he"]
        assert run(tmp_path, "-m", "arch=B,C,A-LRN", *words) == 1
    together, *one_by_one = asked
    assert together == {"arch=B", "arch=C", "arch=A-LRN"}
    # Each of them needs the same A, which none has made: here nothing is trained.
    assert one_by_one == [{"arch=B"}, {"arch=C"}, {"arch=A-LRN"}]
