"""From a command to finished runs, through the public door, with nets small enough for a test."""

import errno
import json
import os
import re
import shutil
import signal
import sys
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
from repro.data import sources
from repro.data.inputs import Inputs
from repro.data.loader import draws
from repro.errors import RunError
from repro.run import performing
from repro.run.interruption import Interrupted, Stop
from repro.run.loop import Training
from repro.run.request import Request
from repro.store import folder as run_folder
from repro.store import runs as stored
from tests.conftest import folders, run, same
from tests.data.conftest import fill, save

STILL = ["recipe.weight_decay=0", "recipe.learning_rate=1e-30", "test=[centre]"]
"""A learning rate too small to move a weight shows what training started from."""
TWO = ["-m", "arch=A,B-5x5", "test=[centre]"]


def result(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return found


def files(folder: Path) -> dict[str, int]:
    """When each file of a folder was written, by its name there."""
    paths = (path for path in folder.rglob("*.*") if path.name[0] != ".")
    return {path.relative_to(folder).as_posix(): path.stat().st_mtime_ns for path in paths}


def interrupt(*_: object) -> Any:
    raise Interrupted


# --- what a command leaves -----------------------------------------------------------------------


def test_a_sweep_leaves_what_the_contract_names(trained: Path) -> None:
    assert set(folders(trained)) == {"A-S256", "B-5x5-S256"}
    for folder in folders(trained).values():
        assert set(files(folder)) == {
            *("config.yaml", "crops.png", "log.csv", "result.json", "weights.safetensors"),
            *("views/dense-Q256.npz", "views/centre-Q256.npz"),
        }
        assert folder.name.endswith(result(folder)["identity"])
        assert result(folder)["epochs"] == len(pd.read_csv(folder / "log.csv")) == 2


def test_what_is_finished_is_not_done_again_and_what_is_missing_is_added(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, before = folders(store)["A-S256"], files(store)
    # What a process left that was killed after the result, before this could be removed.
    left = [folder / ".weights.safetensors.0123abcd", folder / "views" / ".a.npz.0123abcd"]
    left += [folder / "checkpoint-1.safetensors", store / ".cache" / ".old.json.0123abcd"]
    other = store / ".cache" / ".new.json.0123abcd"
    other.parent.mkdir(exist_ok=True)
    for path in (*left, other):
        path.write_bytes(b"half")
    os.utime(left[-1], times=(0, 0))
    assert run(store, "test=[single_scale]") == 0
    assert capsys.readouterr().out.count("single_scale test error") == 1
    assert files(store).items() >= before.items()
    assert run(store, "test=[multi_scale,centre]") == 0
    views = {f"{folder.name}/views/dense-Q{q}.npz" for q in (224, 288)}
    assert files(store).keys() - before.keys() == views
    assert files(store).items() >= before.items()
    assert not [path for path in left if path.exists()]
    assert other.exists(), "another process may be writing it"


def test_the_same_seed_gives_the_same_bits_and_another_does_not(
    trained: Path, tmp_path: Path
) -> None:
    assert run(tmp_path, "-m", "seed=0,1", "test=[single_scale,centre]") == 0
    again, other = (next(tmp_path.glob(f"A-*-s{seed}-*")) for seed in (0, 1))
    assert same(folders(trained)["A-S256"], again)
    assert not same(again, other)


def test_a_trained_net_is_tested_with_the_mean_that_it_was_trained_with(tmp_path: Path) -> None:
    random, root = np.random.default_rng(0), tmp_path / "photos"
    for place in ("train/cat", "train/dog", "val/cat", "val/dog"):
        (root / place).mkdir(parents=True)
        for n in range(12):
            pixels = random.integers(0, 200, (40, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / place / f"{n}.bmp")
    words = ["data=imagefolder", f"data.root={root}", "data.first_classes=null", "test=[centre]"]
    words += ["recipe.train_images=null"]
    assert run(tmp_path / "runs", *words) == 0
    (view,) = (tmp_path / "runs").glob("*/views/centre-Q256.npz")
    before = np.load(view)["posteriors"]
    view.unlink()
    # The fingerprint is of names and sizes: it does not tell these apart.
    for file in (root / "train").rglob("*.bmp"):
        Image.new("RGB", (40, 40), "white").save(file)
    assert run(tmp_path / "runs", *words) == 0
    assert (np.load(view)["posteriors"] == before).all()


def test_another_runs_statistics_are_not_taken_for_enlarged_images(tmp_path: Path) -> None:
    for place, *words in (("both", ""), ("both", "data.enlarge=64"), ("alone", "data.enlarge=64")):
        assert run(tmp_path / place, *filter(None, words), "test=[centre]") == 0
    (both,), (alone,) = ((tmp_path / name).glob("*enlarge=64*") for name in ("both", "alone"))
    assert same(both, alone)


def test_a_diverged_net_is_a_result_and_the_sweep_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["-m", "recipe.learning_rate=1e30,0.01", "test=[centre]"]
    assert run(tmp_path, *words) == 0
    capsys.readouterr()
    assert run(tmp_path, *words, "dry_run=true") == 0
    assert capsys.readouterr().out.count("views to compute: none") == 2
    outcomes = [result(path.parent)["outcome"] for path in tmp_path.glob("*/result.json")]
    assert (len(outcomes), outcomes.count("diverged")) == (2, 1)


# --- runs that start from others -----------------------------------------------------------------


def weights(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "weights.safetensors")


def test_parents_are_trained_first_and_children_start_from_them(tmp_path: Path) -> None:
    assert run(tmp_path, "scale=jitter", "recipe.later_epochs=1", *STILL) == 0
    found = folders(tmp_path)
    epochs = {net: len(pd.read_csv(folder / "log.csv")) for net, folder in found.items()}
    assert epochs == {"A-S256": 2, "A-S384": 1, "A-jitter": 1}
    for child in ("A-S384", "A-jitter"):
        torch.testing.assert_close(
            weights(found[child]), weights(found["A-S256"]), rtol=0, atol=1e-20
        )


def test_parents_that_were_deleted_are_not_trained_again_for_a_net_that_is_trained(
    tmp_path: Path,
) -> None:
    assert run(tmp_path, "scale=S384", "recipe.later_epochs=1", *STILL) == 0
    shutil.rmtree(folders(tmp_path)["A-S256"])
    words = ["-m", "scale=S384", "seed=0", "recipe.later_epochs=1", *STILL, "test=[single_scale]"]
    assert run(tmp_path, *words) == 0
    found = folders(tmp_path)
    assert set(found) == {"A-S384"}
    assert (found["A-S384"] / "views" / "dense-Q384.npz").is_file()


def test_layers_from_a_are_those_of_the_run_of_a(tmp_path: Path) -> None:
    assert run(tmp_path, "arch=B", "init=from_A", *STILL) == 0
    a, b = (weights(folders(tmp_path)[net]) for net in ("A-S256", "B-S256"))
    # Block 2's first convolution: after two layers in A's first block, four in B's.
    pairs = {"features.0": "features.0", "classifier.0": "classifier.0", "features.3": "features.5"}
    for here, there in pairs.items():
        assert torch.equal(a[f"{here}.weight"], b[f"{there}.weight"])


def test_a_stage_draws_as_its_parent_did_or_anew(tmp_path: Path) -> None:
    # Where no weight moves, the loss tells the crops and the masks.
    assert run(tmp_path, "-m", "scale=S256_on", "scale.draws=parent,new", *STILL) == 0
    logs = {name: pd.read_csv(folder / "log.csv") for name, folder in folders(tmp_path).items()}
    parent, on, new = (
        list(logs[f"A-S256{end}"].train_loss) for end in ("", "_on", "_on+draws=new")
    )
    assert parent == on
    assert len({*parent, *new}) == len([*parent, *new])


def test_what_a_run_starts_from_is_not_tested_by_crops(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def planned(*words: str) -> dict[str, str]:
        """The views that a dry run would compute, by the run's net and scale."""
        assert run(tmp_path, "dry_run=true", *words) == 0
        text = capsys.readouterr().out
        return dict(re.findall(r"^(\S+?)-tiny.*views to compute: (.*)$", text, re.MULTILINE))

    assert planned("net=D-jitter", "test=[centre,multi_crop]") == {
        **{"D-S256": "centre-Q256", "D-S384": "centre-Q384"},
        "D-jitter": "centre-Q384, grid-Q256, grid-Q384, grid-Q512",
    }
    # Unless it is asked for by itself, in whatever order.
    asked = planned("-m", "net=D-jitter,D-S256", "test=[multi_crop]")
    assert asked["D-S256"] == "dense-Q256, grid-Q224, grid-Q256, grid-Q288"
    assert asked["D-S384"] == "dense-Q384"


# --- what goes wrong -----------------------------------------------------------------------------


def test_a_failure_is_recorded_ends_only_its_own_run_and_is_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, reason = Training.run, "photo.jpg cannot be decoded: it ends early"

    def breaks(training: Training) -> object:
        if training.config.arch.name == "A":
            raise RunError(reason)
        return whole(training)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "run", breaks)
        assert run(tmp_path, *TWO) == 1
    said = capsys.readouterr().err
    assert reason in said
    again = "the same command goes on: python -m repro.run .* -m arch=A,B-5x5 'test=\\[centre\\]'\n"
    assert re.search(f"1 of 2 runs finished; {again}", said)
    assert "Traceback" not in said
    assert [why for _, why in stored.unfinished(tmp_path)] == [reason]
    with monkeypatch.context() as patch:
        patch.setattr(Training, "run", interrupt)
        assert run(tmp_path, *TWO) == 75
    assert re.search(f"interrupted; {again}$", capsys.readouterr().err)
    assert "interrupted" in stored.unfinished(tmp_path)[0][1]
    assert run(tmp_path, *TWO) == 0
    assert stored.unfinished(tmp_path) == []


def test_a_net_that_is_trained_anew_keeps_nothing_of_the_old_one(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = folders(store)["A-S256"]
    (folder / "result.json").unlink()
    (folder / stored.EVENTS.replace("*", "1")).touch()
    monkeypatch.setattr(Training, "run", interrupt)
    assert run(store, "test=[centre]") == 75
    assert set(files(folder)) == {"config.yaml", "crops.png"}


def test_a_full_disk_fails_its_run_and_what_was_finished_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_whole = run_folder.write_whole

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def writing(path: Path, *rest: Any) -> None:
        with pytest.MonkeyPatch.context() as patch:
            if path.parent.name.startswith("A-S256") and path.name == "weights.safetensors":
                patch.setattr(os, "fsync", full)
            write_whole(path, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(run_folder, "write_whole", writing)
        assert run(tmp_path, *TWO) == 1
    failed, other = (folders(tmp_path)[net] for net in ("A-S256", "B-5x5-S256"))
    said = f"{failed}/weights.safetensors: the disk is full"
    assert said in json.loads((failed / "failed.json").read_text())["reason"]
    assert said in capsys.readouterr().err
    assert (other / "result.json").is_file()
    assert not list(failed.glob(".*")), "nothing half written is left"
    # The two epochs are not trained again.
    monkeypatch.setattr(Training, "step", lambda *_: pytest.fail("trains"))
    assert run(tmp_path, *TWO) == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no such device here")
def test_a_full_disk_under_the_output_costs_its_lines_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch, open("/dev/full", "w") as full:
        patch.setattr(sys, "stdout", full)
        assert run(tmp_path, "-m", "seed=0,1", "test=[centre]") == 0
    assert all((one / "result.json").is_file() for one in tmp_path.glob("A-*"))
    assert not list(tmp_path.glob("A-*/failed.json"))


def test_a_folder_that_changes_amid_a_sweep_is_not_trained_on_under_its_old_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(tmp_path / "data", train={"a": 20, "b": 20, "c": 20})
    words = [*TWO, "data=imagefolder", f"data.root={tmp_path}/data", "recipe.train_images=null"]
    more, whole = tmp_path / "data" / "train" / "a" / "more.png", Training.run
    with monkeypatch.context() as patch:
        patch.setattr(Training, "run", lambda training: [save(more, 8, 9), whole(training)][1])
        assert run(tmp_path / "runs", *words) == 1
    said = capsys.readouterr().err
    assert "other images or classes than when the command was given: give it again" in said
    sources._checked.cache_clear()
    assert run(tmp_path / "runs", *words) == 0
    # Of the net that had been trained on the images as they were, and of both on those there now.
    assert len(list((tmp_path / "runs").glob("*/result.json"))) == 3


def test_an_image_that_breaks_amid_an_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(tmp_path / "data", **{part: dict.fromkeys("abc", 6) for part in ("train", "val", "test")})
    words = ["data=imagefolder", f"data.root={tmp_path / 'data'}", "test=[centre]"]
    words += ["recipe.batch=2", "recipe.epochs=1", "recipe.train_images=null"]
    runs, images = tmp_path / "runs", sorted((tmp_path / "data" / "train").glob("*/*"))
    # The last of the first epoch.
    victim = images[draws(0, 0, len(images), 3).order[-1]]
    whole = Training.step

    def damages(training: Training, *rest: Any) -> Any:
        victim.write_bytes(b"half")
        return whole(training, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "step", damages)
        assert run(runs, *words) == 1
    said = capsys.readouterr().err
    (folder,) = folders(runs).values()
    assert f"failed: {folder.name}: {victim} cannot be decoded: " in said
    assert "Traceback" not in said
    sources._checked.cache_clear()
    assert run(runs, *words) == 2
    assert capsys.readouterr().err.startswith(f"{victim} cannot be decoded: ")
    assert run(runs, *words, "data.on_bad_image=skip") == 0
    (done,) = (path.parent for path in runs.glob("*/result.json"))
    assert result(done)["data"]["left_out"] == 1
    assert done != folder, "other images are another run"


# --- signals -------------------------------------------------------------------------------------


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

    with monkeypatch.context() as patch:
        patch.setattr(Inputs, "__call__", prepares)
        assert run(tmp_path, "test=[single_scale,centre]", "test_batch=64") == 75
    assert len(looks) == 1
    assert run(tmp_path, "test=[single_scale,centre]") == 0
    assert same(folders(tmp_path)["A-S256"], folders(trained)["A-S256"])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_before_any_run_or_between_two_is_status_75(
    number: signal.Signals, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, perform, jobs = signal.getsignal(number), performing.perform, []

    def begins(request: Request, stop: Stop) -> None:
        jobs.append(request)
        if len(jobs) == 2:
            os.kill(os.getpid(), number)
        perform(request, stop)

    with monkeypatch.context() as patch:
        patch.setattr(performing, "perform", begins)
        patch.setattr(Request, "finished", lambda request: len(jobs) == 1)
        assert run(trained, *TWO) == 75
    assert len(jobs) == 2
    resolved = "repro.config.command.requests_by_job"
    monkeypatch.setattr(resolved, lambda *_: os.kill(os.getpid(), number))
    assert command([]) == 75
    assert signal.getsignal(number) == before
