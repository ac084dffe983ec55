"""What goes wrong around a run: damage, full disks, folders that change or are in the way."""

from __future__ import annotations

import errno
import io
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from repro.data import sources
from repro.data.loader import draws
from repro.errors import RunError
from repro.report.write import write
from repro.run.interruption import Interrupted
from repro.run.loop import Outcome, Training
from repro.store import folder as run_folder
from repro.store import runs as stored
from tests.data.conftest import fill, save
from tests.test_run import folders, run, store, trained

__all__ = ["store", "trained"]  # fixtures
TWO = ["-m", "arch=A,B-5x5", "test=[centre]"]


def first(does: Callable[[], object]) -> Any:
    """`Training.run` that does something first."""
    whole = Training.run

    def training(training: Training) -> Outcome:
        does()
        return whole(training)

    return training


def raises(error: BaseException) -> Callable[[], object]:
    def end() -> None:
        raise error

    return end


def test_an_old_failure_is_none_of_the_attempt_that_follows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Training, "run", first(raises(RunError("the disk is full"))))
        assert run(tmp_path, "test=[centre]") == 1
    assert [reason for _, reason in stored.unfinished(tmp_path)] == ["the disk is full"]
    monkeypatch.setattr(Training, "run", first(raises(Interrupted())))
    with pytest.raises(Interrupted):
        run(tmp_path, *TWO)
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("interrupted; the same command goes on: python -m repro.run ")
    assert last.endswith("-m arch=A,B-5x5 'test=[centre]'")
    ((_, reason),) = stored.unfinished(tmp_path)
    assert reason == "interrupted: the same command goes on with it"


def test_a_folder_that_changes_amid_a_sweep_is_not_trained_on_under_its_old_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(tmp_path / "data", train={"a": 20, "b": 20, "c": 20})
    words = [*TWO, "data=imagefolder", f"data.root={tmp_path}/data"]
    more = tmp_path / "data" / "train" / "a" / "more.png"
    with monkeypatch.context() as patch:
        patch.setattr(Training, "run", first(lambda: save(more, 8, 9)))
        assert run(tmp_path / "runs", *words) == 1
    said = capsys.readouterr().err
    assert "has other images or classes than when the command was given: give it again" in said
    assert "1 of 2 runs finished" in said
    sources._checked.cache_clear()
    assert run(tmp_path / "runs", *words) == 0
    # Of the net that had been trained on the images as they were, and of both on those there now.
    assert len(list((tmp_path / "runs").glob("*/result.json"))) == 3


def test_what_a_killed_process_left_is_removed_when_its_run_goes_on(store: Path) -> None:
    folder = folders(store)["A-S256"]
    left = [folder / ".weights.safetensors.0123abcd", folder / "views" / ".a.npz.0123abcd"]
    # Killed after the result, before this could be removed.
    left += [folder / "checkpoint-1.safetensors", store / ".cache" / ".old.json.0123abcd"]
    other = store / ".cache" / ".new.json.0123abcd"
    other.parent.mkdir(exist_ok=True)
    for path in (*left, other):
        path.write_bytes(b"half")
    os.utime(left[-1], times=(0, 0))
    assert run(store, "test=[multi_scale]") == 0
    assert not [path for path in left if path.exists()]
    assert other.exists(), "another process may be writing it"


def test_a_net_that_is_trained_anew_keeps_nothing_of_the_old_one(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = folders(store)["A-S256"]
    (folder / "result.json").unlink()
    (folder / "track").mkdir()
    (folder / "track" / "events.out").touch()
    with monkeypatch.context() as patch:
        patch.setattr(Training, "run", first(raises(Interrupted())))
        with pytest.raises(Interrupted):
            run(store, "test=[centre]")
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*.*")}
    assert names == {"config.yaml", "crops.png"}


def test_a_damaged_view_is_computed_again_and_left_out_of_the_report_until_then(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    view = folders(store)["A-S256"] / "views" / "dense-Q256.npz"
    whole = view.read_bytes()
    view.write_bytes(whole[: len(whole) // 2])
    write([store], tmp_path / "report")
    said = capsys.readouterr().err
    assert re.fullmatch(f"left out: {re.escape(str(view))} is damaged: .*\n", said)
    numbers = pd.read_csv(tmp_path / "report" / "results.csv")
    found = set(zip(numbers.arch, numbers.protocol, strict=True))
    assert ("A", "single_scale") not in found
    assert {("A", "centre"), ("B-5x5", "single_scale"), ("B-5x5", "centre")} <= found
    # Another test of the run does not stumble over it.
    assert run(store, *TWO) == 0
    assert run(store, "test=[single_scale]") == 0
    assert f"{view} is damaged: " in capsys.readouterr().err
    assert np.array_equal(np.load(view)["posteriors"], np.load(io.BytesIO(whole))["posteriors"])


def test_a_full_disk_fails_its_run_and_what_was_finished_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_whole = run_folder.write_whole

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def writing(path: Path, *rest: Any) -> None:
        with pytest.MonkeyPatch.context() as patch:
            if path.parent.name.startswith("A-S256") and path.name == "weights.safetensors":
                patch.setattr(os, "fsync", full)
            write_whole(path, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(run_folder, "write_whole", writing)
        assert run(tmp_path, *TWO) == 1
    found = folders(tmp_path)
    failed = found["A-S256"]
    reason = json.loads((failed / "failed.json").read_text())["reason"]
    assert f"{failed}/weights.safetensors: the disk is full" in reason
    said = capsys.readouterr().err
    assert f"failed: {failed.name}: {reason}" in said
    assert "Traceback" not in said
    assert (found["B-5x5-S256"] / "result.json").is_file()
    assert not list(failed.glob(".*")), "nothing half written is left"
    # The two epochs are not trained again.
    monkeypatch.setattr(Training, "step", lambda *_: pytest.fail("trains"))
    assert run(tmp_path, *TWO) == 0
    assert not (failed / "failed.json").exists()


@pytest.mark.parametrize("choice", ["error", "skip"])
def test_an_image_that_breaks_amid_an_epoch(
    choice: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(tmp_path / "data", **{part: dict.fromkeys("abc", 6) for part in ("train", "val", "test")})
    words = ["data=imagefolder", f"data.root={tmp_path / 'data'}", f"data.on_bad_image={choice}"]
    words += ["recipe.batch=2", "recipe.epochs=1", "test=[centre]"]
    runs, images = tmp_path / "runs", sorted((tmp_path / "data" / "train").glob("*/*"))
    # The last of the first epoch.
    victim = images[draws(0, 0, len(images), 3).order[-1]]
    whole, content, steps = Training.step, victim.read_bytes(), []

    def damages(training: Training, *rest: Any) -> Any:
        steps.append(training)
        victim.write_bytes(content[: len(content) // 2])
        return whole(training, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "step", damages)
        assert run(runs, *words) == 1
    assert 0 < len(steps) < 9, "amid the epoch"
    said = capsys.readouterr().err
    (folder,) = folders(runs).values()
    assert f"failed: {folder.name}: {victim} cannot be decoded: " in said
    assert "Traceback" not in said
    sources._checked.cache_clear()
    if choice == "error":
        assert run(runs, *words) == 2
        assert capsys.readouterr().err.startswith(f"{victim} cannot be decoded: ")
        victim.write_bytes(content)
        sources._checked.cache_clear()
    assert run(runs, *words) == 0
    (done,) = runs.glob("*/result.json")
    assert json.loads(done.read_text())["data"]["left_out"] == (choice == "skip")
    assert (done.parent == folder) == (choice == "error"), "other images are another run"
