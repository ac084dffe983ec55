"""Loading processes: they outlive a signal to all, and their end loses nothing."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch

from repro.data.images import ArrayImages, FileImages
from repro.data.workers import Loaded, processes
from repro.errors import RunError
from tests.conftest import LIGHT, folders, run, same, started
from tests.data.conftest import fill

WORDS = ["data=imagefolder", "workers=2", "recipe.epochs=2", "recipe.batch=4", "test=[centre]"]
WORDS += ["recipe.train_images=null", "data.first_classes=null", "checkpoint_seconds=0.05"]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of image files."""
    root = tmp_path_factory.mktemp("images")
    return fill(root, train={"a": 300, "b": 300}, val={"a": 8, "b": 8}, test={"a": 3, "b": 3})


@pytest.fixture(scope="module")
def undisturbed(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run's folder, in a store where nothing happened to it."""
    runs = tmp_path_factory.mktemp("undisturbed")
    assert run(runs, *WORDS, f"data.root={images}") == 0
    return folders(runs)["A-S256"]


def start(runs: Path, images: Path, *words: str) -> tuple[subprocess.Popen[str], list[int]]:
    """The run in a process group of its own, with its loading processes, early in an epoch."""
    words = (*LIGHT, *WORDS, f"data.root={images}", f"runs={runs}", *words)
    process = started(*words)
    while not list(runs.glob("*/checkpoint-*")) or len(children(process)) < 2:
        assert process.poll() is None
        time.sleep(0.01)
    return process, children(process)


def children(process: subprocess.Popen[str]) -> list[int]:
    listed = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True)
    return [int(line) for line in listed.stdout.split()]


def signalled(number: signal.Signals, index: int) -> int:
    """The second batch sends the process that makes it a signal."""
    if index == 1:
        os.kill(os.getpid(), number)
    return index


def test_auto_leaves_a_core_to_the_process_that_trains_where_there_are_many_files(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    many, few = FileImages(["x"] * 2000, 3), FileImages(["x"] * 20, 3)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(32))
    assert [processes(many, "auto"), processes(few, "auto"), processes(few, "3")] == [16, 0, 3]
    found = []
    for local in (4, 8, 16, 32):
        monkeypatch.setenv("LOCAL_WORLD_SIZE", str(local))
        found.append(processes(many, "auto"))
    assert found == [7, 3, 2, 1]
    assert processes(ArrayImages(torch.empty(2000, 1, 2, 2)), "3") == 0


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_worker_loads_on_where_a_run_is_asked_to_stop(name: str) -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    made = iter(Loaded(partial(signalled, signal.Signals[name]), 2, range(6), 6))
    assert list(made) == list(range(6))
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before


@pytest.mark.slow
def test_a_program_that_ends_amid_loading_ends_its_workers() -> None:
    load = "made = iter(workers.Loaded(abs, 2, range(99), 99)); next(made)"
    script = f"from repro.data import workers; {load}"
    assert subprocess.run([sys.executable, "-c", script], timeout=60).returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_whole_process_group_saves_the_run(
    number: signal.Signals, tmp_path: Path, images: Path, undisturbed: Path
) -> None:
    process, _ = start(tmp_path, images)
    # As if it were amid a long step, and heeded the signal after its workers had.
    process.send_signal(signal.SIGSTOP)
    os.killpg(process.pid, number)
    time.sleep(0.5)
    process.send_signal(signal.SIGCONT)
    errors = process.communicate(timeout=60)[1]
    assert process.returncode == 75, errors
    assert errors.count("stops, saved; the same command goes on") == 1
    assert "Traceback" not in errors
    assert "loader worker" not in errors
    assert run(tmp_path, *WORDS, f"data.root={images}") == 0
    assert same(folders(tmp_path)["A-S256"], undisturbed)


@pytest.mark.slow
def test_a_worker_that_is_killed_fails_its_run_in_a_line_and_the_same_command_goes_on(
    tmp_path: Path, images: Path, undisturbed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    process, workers = start(tmp_path, images)
    os.kill(workers[0], signal.SIGKILL)
    errors = process.communicate(timeout=60)[1]
    assert process.returncode == 1, errors
    assert "failed: " in errors
    assert "Traceback" not in errors
    folder = folders(tmp_path)["A-S256"]
    assert "worker" in json.loads((folder / "failed.json").read_text())["reason"]
    assert run(tmp_path, *WORDS, f"data.root={images}") == 0
    assert "goes on at epoch" in capsys.readouterr().err
    assert same(folder, undisturbed)


def alive() -> list[BaseProcess]:
    return [one for one in multiprocessing.active_children() if one.is_alive()]


def test_batches_that_come_again_are_made_by_the_same_workers_which_then_end() -> None:
    kept = Loaded(pid_and, 2, range(6), 6, again=True)
    first, second = list(kept), list(kept)
    assert [number for number, _ in first] == [number for number, _ in second] == [*range(6)]
    assert {process for _, process in first} == {process for _, process in second}
    assert len({process for _, process in first} - {os.getpid()}) == 2
    del kept
    assert not alive()


def test_what_ends_loading_that_would_come_again_is_a_line_and_leaves_no_worker() -> None:
    kept = Loaded(pid_and, 2, range(6), 6, again=True)
    list(kept)
    os.kill(alive()[0].pid or 0, signal.SIGKILL)
    with pytest.raises(RunError, match="a loader worker was killed"):
        list(kept)
    assert not alive()
    kept = Loaded(refused, 2, range(6), 6, again=True)
    with pytest.raises(RunError, match="3 is not whole"):
        list(kept)
    assert not alive()


def pid_and(number: int) -> tuple[int, int]:
    return number, os.getpid()


def refused(number: int) -> int:
    if number == 3:
        raise RunError("3 is not whole")
    return number
