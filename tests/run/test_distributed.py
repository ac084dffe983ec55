"""Several processes train the net that one would, and end together."""

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
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor, distributed, multiprocessing

from repro.config.choices import CONF
from repro.config.command import command
from repro.data.inputs import normalise
from repro.errors import RequestError, RunError
from repro.run import distributed as distribution
from repro.run.device import pick
from repro.run.distributed import World
from repro.run.loop import Training
from tests.conftest import only
from tests.run.test_loop import COLOURS, Trial

LIGHT = ["size=tiny", "recipe=smoke", "recipe.train_images=97", "recipe.batch=16", "threads=1"]
LIGHT += ["device=cpu", "progress=false"]
UNEVEN = ["recipe.batch=7", "recipe.epochs=5", "recipe.learning_rate=2e-5"]
"""Of 22 images: batches of 7, 7, 7 and 1, so that one process has none of each epoch's last."""


@given(st.integers(0, 300), st.integers(1, 9))
def test_each_row_of_a_batch_belongs_to_one_process(total: int, size: int) -> None:
    rows = [range(total)[World(rank, size).rows(total)] for rank in range(size)]
    assert [row for own in rows for row in own] == list(range(total))
    assert max(map(len, rows)) - min(map(len, rows)) <= 1


def trial(path: Path, precision: str, *words: str, **kind: Any) -> Trial:
    words = (f"precision={precision}", *UNEVEN, *words)
    made = Trial(path, *words, **kind)
    if precision == "float32":
        made.net.float()
    return made


def training(trial: Trial, world: World) -> Training:
    """The loop of a trial, in one process of `world`."""
    kind = next(trial.net.parameters()).dtype
    trial.batches.own = world.rows
    made = trial.training(world=world)
    made.prepare = lambda images, shift: normalise(images, COLOURS.mean, 255, shift).to(kind)
    return made


def trained(world: World, path: Path, **kind: Any) -> dict[str, Any]:
    """20 steps in float64."""
    whole = trial(path, "float64", *kind.pop("words", ()), **kind)
    outcome = training(whole, world).run()
    return {
        "iterations": outcome.progress.iteration,
        "weights": whole.weights(),
        "losses": [row["train_loss"] for row in outcome.progress.rows],
        "errors": [row["train_error"] for row in outcome.progress.rows],
    }


def gradients(world: World, path: Path, device: str) -> dict[str, Tensor | None]:
    """The first step's in float32."""
    first = trial(path, "float32", device=device)
    step = training(first, world)
    step.step(*(part.to(device) for part in next(step.batches.epoch(0))))
    return {name: weight.grad for name, weight in first.net.named_parameters()}


KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "in parts": {"words": ["micro_batch=2"]},
    "normalised": {"batch_norm": True},
}


def process(rank: int, size: int, path: Path, device: str) -> None:
    torch.set_num_threads(1)
    torch.backends.cudnn.allow_tf32 = False
    # Several buckets, of which one holds a single weight.
    distribution.BUCKET = 3000
    meeting = f"file://{path / 'meeting'}"
    distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=size)
    world, own = World(rank, size), path / str(rank)
    own.mkdir()
    found: dict[str, Any] = {
        name: trained(world, own / name, device=device, **kind) for name, kind in KINDS.items()
    }
    found["gradients"] = gradients(world, own / "float32", device)
    torch.save(found, path / f"{rank}.pt")
    distributed.destroy_process_group()
    # As `repro.run.distributed` leaves: Gloo's threads may abort an interpreter that ends.
    os._exit(0)


def test_two_processes_take_the_steps_of_one(tmp_path: Path, device: str) -> None:
    multiprocessing.spawn(process, (2, tmp_path, device), nprocs=2)
    both = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    for name, batch_norm in (("plain", False), ("in parts", False), ("normalised", True)):
        # One process takes each batch at once, by torch's own batch normalisation.
        how: dict[str, Any] = {"batch_norm": batch_norm, "device": device}
        one = trained(World(), tmp_path / f"alone {name}", **how)
        new = trial(tmp_path / "new", "float64", **how).weights()
        assert one["iterations"] == 20
        stayed = {key for key, t in one["weights"].items() if torch.allclose(t, new[key])}
        # Batch normalisation takes away what a bias before it adds.
        assert stayed == ({"features.0.bias"} if batch_norm else set())
        for found in (rank[name] for rank in both):
            assert found["iterations"] == 20
            assert found["losses"] == pytest.approx(one["losses"], rel=1e-10)
            assert found["errors"] == one["errors"]
            for key, weight in one["weights"].items():
                torch.testing.assert_close(found["weights"][key], weight, rtol=0, atol=1e-10)
    for name, gradient in gradients(World(), tmp_path / "float32", device).items():
        assert gradient is not None
        scale = gradient.abs().max()
        for rank in both:
            torch.testing.assert_close(
                rank["gradients"][name] / scale, gradient / scale, rtol=0, atol=1e-5
            )


def survivor(rank: int, size: int, path: Path, device: str) -> None:
    """Train until the second process dies in its third step; write what the first one then says."""
    torch.set_num_threads(1)
    meeting = f"file://{path / 'meeting'}"
    distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=size)
    step = training(trial(path / str(rank), "float64", device=device), World(rank, size))
    whole = step.gradients

    def gradients(*batch: Any) -> Tensor:
        if rank == 1 and step.progress.iteration == 2:
            os._exit(0)
        return whole(*batch)

    step.gradients = gradients  # type: ignore[method-assign]
    try:
        step.run()
    except RunError as error:
        (path / "said").write_text(str(error))
    os._exit(0)


def test_where_one_process_dies_in_a_step_the_other_ends_with_a_line(
    tmp_path: Path, device: str
) -> None:
    multiprocessing.spawn(survivor, (2, tmp_path, device), nprocs=2)
    assert (tmp_path / "said").read_text().startswith("another process of this run ended (")


def torchrun(*words: str, script: Path | None = None) -> subprocess.Popen[str]:
    program = [str(script)] if script else ["-m", "repro.run"]
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    return subprocess.Popen(
        [*start, *program, *LIGHT, *words],
        cwd=CONF.parent,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(CONF.parent)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


TWO = pytest.mark.skipif(torch.cuda.device_count() < 2, reason="it takes two CUDA devices")
DEVICES = [
    pytest.param("cpu", marks=pytest.mark.slow),
    pytest.param("cuda", marks=[pytest.mark.gpu, TWO]),
]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", [["arch=A"], ["arch=A-BN"], ["arch=A", "micro_batch=3"]])
def test_a_run_of_two_processes_is_that_of_one(
    kind: list[str], device: str, tmp_path: Path
) -> None:
    words = ["precision=float64", "test=[single_scale,centre]", f"device={device}", kind[0]]
    assert command([*LIGHT, *words, f"runs={tmp_path / 'one'}"]) == 0
    two = torchrun(*words, *kind, f"runs={tmp_path / 'two'}")
    said, errors = two.communicate(timeout=300)
    assert two.returncode == 0, errors
    assert said.count("1 of 1 runs finished") == errors.count(" trains\n") == 1
    folders = [only(tmp_path / place) for place in ("one", "two")]
    first, second = (load_file(folder / "weights.safetensors") for folder in folders)
    for name, weight in first.items():
        # Running variances are those of grey levels: thousands.
        torch.testing.assert_close(second[name], weight, rtol=1e-12, atol=1e-10)
    results = [json.loads((folder / "result.json").read_text()) for folder in folders]
    assert [result["environment"]["world_size"] for result in results] == [1, 2]
    assert results[0]["identity"] == results[1]["identity"]
    assert results[0]["validation_error"] == results[1]["validation_error"]
    for view in (folders[0] / "views").iterdir():
        rows = np.load(view)["posteriors"], np.load(folders[1] / "views" / view.name)["posteriors"]
        np.testing.assert_allclose(*rows, rtol=0, atol=1e-6)


BREAKS = """
import os
from repro.run.__main__ import main
from repro.run.loop import Training

whole = Training.gradients

def breaks(training, *rest):
    if os.environ["RANK"] == "1" and training.config.arch.name == "A":
        raise ValueError("photo.jpg ends early")
    return whole(training, *rest)

Training.gradients = breaks
main()
"""


@pytest.mark.parametrize("device", DEVICES)
def test_what_fails_in_one_process_ends_all_with_a_line(device: str, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(BREAKS)
    words = ["-m", "arch=A,B", "test=[centre]", f"runs={tmp_path / 'runs'}", f"device={device}"]
    started = torchrun(*words, script=script)
    _, errors = started.communicate(timeout=300)
    assert started.returncode == 1
    if device == "cpu":
        # NCCL or torchrun may end a process before it knows why.
        failed = json.loads((only(tmp_path / "runs", "A-") / "failed.json").read_text())
        assert failed["reason"].startswith("another process of this run ended (")
    assert "ValueError: photo.jpg ends early" in errors
    # Not into the next run, nor twice into this one.
    assert not (only(tmp_path / "runs") / "result.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("whom", ["first", "second", "torchrun"])
def test_a_signal_to_any_process_saves_and_ends_all(whom: str, tmp_path: Path) -> None:
    words = ["recipe.epochs=12", "precision=float64", "test=[centre]", "checkpoint_seconds=0.1"]
    whole = torchrun(*words, f"runs={tmp_path / 'whole'}")
    whole.communicate(timeout=300)
    cut = torchrun(*words, f"runs={tmp_path / 'cut'}")
    while not list((tmp_path / "cut").glob("*/checkpoint-*")):
        assert cut.poll() is None
        time.sleep(0.05)
    listed = subprocess.run(["pgrep", "-P", str(cut.pid)], capture_output=True, text=True)
    ranks = dict(zip(["first", "second"], map(int, listed.stdout.split()), strict=True))
    os.kill(ranks.get(whom, cut.pid), signal.SIGTERM)
    errors = cut.communicate(timeout=300)[1]
    assert cut.returncode == 1, "torchrun's own"
    assert errors.count("stops, saved; the same command goes on") == 1
    if whom != "torchrun":
        assert set(re.findall(r"exitcode *: (-?\d+)", errors)) == {"75"}
    assert not (only(tmp_path / "cut") / "result.json").exists()
    again = torchrun(*words, f"runs={tmp_path / 'cut'}")
    errors = again.communicate(timeout=300)[1]
    assert again.returncode == 0, errors
    assert errors.count("goes on at epoch") == 1
    weights = [only(tmp_path / place) / "weights.safetensors" for place in ("whole", "cut")]
    assert weights[0].read_bytes() == weights[1].read_bytes()


SIGNALLED = """
import os, signal
from repro.data.inputs import Inputs
from repro.run.__main__ import main

whole = Inputs.__call__

def prepares(inputs, images, shift=None):
    if shift is None and os.environ["RANK"] == "1":
        os.kill(os.getpid(), signal.SIGTERM)
        Inputs.__call__ = whole
    return whole(inputs, images, shift)

Inputs.__call__ = prepares
main()
"""


@pytest.mark.slow
def test_a_signal_to_one_process_amid_a_validation_ends_all(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SIGNALLED)
    # Of four batches the signalled process judges one, and then tells the other.
    words = ["test=[centre]", f"runs={tmp_path / 'runs'}"]
    errors = torchrun(*words, script=script).communicate(timeout=300)[1]
    assert errors.count("stops, saved; the same command goes on") == 1
    assert set(re.findall(r"exitcode *: (-?\d+)", errors)) == {"75"}
    again = torchrun(*words)
    errors = again.communicate(timeout=300)[1]
    assert again.returncode == 0, errors
    assert "goes on at epoch 1, after its last step" in errors


def test_each_process_has_a_device_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(rank=3, size=4, local_rank=1, local_size=2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    good = {("auto", 4): "cuda:1", ("cuda", 2): "cuda:1", ("auto", 0): "cpu", ("cpu", 4): "cpu"}
    for (name, devices), expected in good.items():
        monkeypatch.setattr(torch.cuda, "device_count", lambda devices=devices: devices)
        assert str(pick(name, world)) == expected
    for name, devices in [("auto", 1), ("cuda", 0), ("cuda:1", 4), ("mps", 0)]:
        monkeypatch.setattr(torch.cuda, "device_count", lambda devices=devices: devices)
        with pytest.raises(RequestError):
            pick(name, world)
