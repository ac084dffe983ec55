"""What goes wrong around a run: kills, damaged files, full disks, folders that are not writable."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from repro.data import sources
from repro.data.loader import draws
from repro.errors import RunError
from repro.report.write import write
from repro.run.interruption import Interrupted
from repro.run.loop import Outcome, Training
from repro.store import runs as store
from tests.data.conftest import fill, save
from tests.test_run import folders, run


def test_an_old_failure_is_none_of_the_attempt_that_follows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ends(error: BaseException) -> None:
        def end(_: Training) -> None:
            raise error

        monkeypatch.setattr(Training, "run", end)

    ends(RunError("the disk is full"))
    assert run(tmp_path, "test=[centre]") == 1
    assert [reason for _, reason in store.unfinished(tmp_path)] == ["the disk is full"]
    ends(Interrupted())
    with pytest.raises(Interrupted):
        run(tmp_path, "test=[centre]")
    ((_, reason),) = store.unfinished(tmp_path)
    assert reason == "interrupted: the same command goes on with it"


def test_a_folder_that_changes_amid_a_sweep_is_not_trained_on_under_its_old_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(tmp_path / "data", train={"a": 20, "b": 20})
    trains, more = Training.run, tmp_path / "data" / "train" / "a" / "more.png"

    def meanwhile(training: Training) -> Outcome:
        save(more, 8, 9)
        return trains(training)

    words = ["-m", "arch=A,B", "data=imagefolder", f"data.root={tmp_path}/data", "test=[centre]"]
    with monkeypatch.context() as patch:
        patch.setattr(Training, "run", meanwhile)
        assert run(tmp_path / "runs", *words) == 1
    said = capsys.readouterr().err
    assert "has other images or classes than when the command was given: give it again" in said
    assert "1 of 2 runs finished" in said
    assert "Traceback" not in said
    sources._checked.cache_clear()
    assert run(tmp_path / "runs", *words) == 0
    # Of the net that had been trained on the images as they were, and of both on those there now.
    assert len(list((tmp_path / "runs").glob("*/result.json"))) == 3


def test_a_dry_run_decodes_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(tmp_path / "data", train={"a": 10, "b": 10})
    words = ["data=imagefolder", f"data.root={tmp_path}/data", "data.verify=true", "test=[centre]"]
    with monkeypatch.context() as patch:
        patch.setattr("repro.data.images.decode", lambda *_: pytest.fail("decoded"))
        assert run(tmp_path / "runs", *words, "dry_run=true") == 0
    said = capsys.readouterr().out
    assert "1 run in" in said
    assert not (tmp_path / "runs").exists()
    assert run(tmp_path / "runs", *words) == 0
    (folder,) = folders(tmp_path / "runs").values()
    assert f"{folder.name}: new" in said


def test_an_interrupted_command_says_what_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_: Training) -> None:
        raise Interrupted

    monkeypatch.setattr(Training, "run", interrupted)
    with pytest.raises(Interrupted):
        run(tmp_path, "-m", "arch=A,B", "test=[centre]")
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("interrupted; the same command goes on: python -m repro.run size=tiny ")
    assert last.endswith(" arch=A,B 'test=[centre]'")


def test_what_a_killed_process_left_is_removed_when_its_run_goes_on(tmp_path: Path) -> None:
    assert run(tmp_path, "recipe.learning_rate=1e30", "test=[centre]") == 0
    assert run(tmp_path, "test=[centre]") == 0
    trained, diverged = sorted(
        (path.parent for path in tmp_path.glob("*/result.json")),
        key=lambda folder: "learning_rate" in folder.name,
    )
    left = [trained / ".weights.safetensors.0123abcd", trained / "views" / ".a.npz.0123abcd"]
    # Killed after the result, before this could be removed.
    left += [diverged / "checkpoint-1.safetensors", tmp_path / ".cache" / ".old.json.0123abcd"]
    other = tmp_path / ".cache" / ".new.json.0123abcd"
    for path in (*left, other):
        path.write_bytes(b"half")
    os.utime(left[-1], times=(0, 0))
    for words in (["recipe.learning_rate=1e30"], ["recipe.learning_rate=0.01"]):
        assert run(tmp_path, *words, "test=[single_scale]") == 0
    assert not [path for path in left if path.exists()]
    assert other.exists(), "another process may be writing it"


@pytest.mark.slow
def test_a_net_that_is_trained_anew_keeps_nothing_of_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(tmp_path, "test=[centre,single_scale]", "activations=true") == 0
    (folder,) = folders(tmp_path).values()
    (folder / "result.json").unlink()
    (folder / "track").mkdir()
    (folder / "track" / "events.out").touch()

    def interrupted(_: Training) -> None:
        raise Interrupted

    with monkeypatch.context() as patch:
        patch.setattr(Training, "run", interrupted)
        with pytest.raises(Interrupted):
            run(tmp_path, "test=[centre]")
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*.*")}
    assert names == {"config.yaml", "crops.png"}
    assert run(tmp_path, "test=[centre]") == 0
    assert [path.name for path in (folder / "views").iterdir()] == ["centre-Q256.npz"]


def test_a_damaged_view_is_computed_again_and_left_out_of_the_report_until_then(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs, words = tmp_path / "runs", ["-m", "arch=A,B-5x5", "test=[centre,single_scale]"]
    assert run(runs, *words) == 0
    view = folders(runs)["A-S256"] / "views" / "dense-Q256.npz"
    whole = view.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    view.write_bytes(flipped)
    capsys.readouterr()
    write([runs], tmp_path / "report")
    said = capsys.readouterr().err
    assert re.fullmatch(f"left out: {re.escape(str(view))} is damaged: .*\n", said)
    numbers = pd.read_csv(tmp_path / "report" / "results.csv")
    found = set(zip(numbers.arch, numbers.protocol, strict=True))
    assert ("A", "single_scale") not in found
    assert {("A", "centre"), ("B-5x5", "single_scale"), ("B-5x5", "centre")} <= found
    # Another test of the run does not stumble over it.
    assert run(runs, "test=[centre]") == 0
    assert run(runs, *words, "dry_run=true") == 0
    assert "views to compute: dense-Q256" in capsys.readouterr().out
    assert run(runs, *words) == 0
    assert f"{view} is damaged: " in capsys.readouterr().err
    assert np.array_equal(np.load(view)["posteriors"], np.load(io.BytesIO(whole))["posteriors"])


@pytest.mark.slow
def test_what_is_damaged_amid_a_sweep_fails_its_own_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["-m", "arch=A,A-LRN,B-5x5", "test=[centre]"]
    assert run(tmp_path, "-m", "arch=A-LRN,B-5x5", "test=[centre]") == 0
    found, whole = folders(tmp_path), Training.run
    view = found["B-5x5-S256"] / "views" / "centre-Q256.npz"
    before = np.load(view)["posteriors"]

    def damages(training: Training) -> object:
        (found["A-LRN-S256"] / "result.json").write_text("{")
        view.write_bytes(b"")
        return whole(training)

    capsys.readouterr()
    with monkeypatch.context() as patch:
        patch.setattr(Training, "run", damages)
        assert run(tmp_path, *words) == 1
    said = capsys.readouterr().err
    assert "Traceback" not in said
    result = f"{found['A-LRN-S256']}/result.json is damaged: "
    assert f"failed: {found['A-LRN-S256'].name}: {result}" in said
    assert f"{view} is damaged: " in said
    assert "2 of 3 runs finished; the same command goes on" in said
    assert np.array_equal(np.load(view)["posteriors"], before)
    write([tmp_path], tmp_path.parent / f"{tmp_path.name}-report")
    assert f"left out: {result}" in capsys.readouterr().err
    assert run(tmp_path, *words) == 2
    assert capsys.readouterr().err.startswith(result)
    (found["A-LRN-S256"] / "result.json").unlink()
    assert run(tmp_path, *words) == 0


def test_what_gets_in_the_way_amid_a_sweep_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, "arch=A-LRN", "dry_run=true") == 0
    place, whole = tmp_path / capsys.readouterr().out.partition(": new")[0], Training.run

    def obstructs(training: Training) -> object:
        place.mkdir()
        (place / "holiday.txt").write_text("mine")
        return whole(training)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "run", obstructs)
        assert run(tmp_path, "-m", "arch=A,A-LRN", "test=[centre]") == 1
    said = capsys.readouterr().err
    assert f"failed: {place.name}: {place} holds files but no config.yaml: move the folder" in said
    assert "Traceback" not in said
    assert {path.name for path in place.iterdir()} == {"holiday.txt", "failed.json"}


def photographs(root: Path, count: int = 8) -> list[str]:
    """JPEGs of noise for two classes; the words that name the folder."""
    random = np.random.default_rng(0)
    for folder in (root / part / label for part in ("train", "val", "test") for label in "ab"):
        folder.mkdir(parents=True)
        for n in range(count):
            noise = random.integers(0, 256, (40, 48, 3), np.uint8)
            Image.fromarray(noise).save(folder / f"{n}.jpg")
    return ["data=imagefolder", f"data.root={root}", "test=[centre]"]


@pytest.mark.parametrize("choice", ["error", "skip"])
def test_a_photograph_that_ends_early_is_hit_amid_an_epoch(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    choice: str,
) -> None:
    words = [*photographs(tmp_path / "photos"), f"data.on_bad_image={choice}", "recipe.batch=2"]
    runs, photos = tmp_path / "runs", sorted((tmp_path / "photos" / "train").glob("*/*"))
    # The last of the first epoch.
    victim = photos[draws(0, 0, len(photos), 3).order[-1]]
    whole, content, steps = Training.step, victim.read_bytes(), []

    def damages(training: Training, *rest: Any) -> Any:
        steps.append(training)
        victim.write_bytes(content[: len(content) // 2])
        return whole(training, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "step", damages)
        assert run(runs, *words, "recipe.epochs=1") == 1
    assert 0 < len(steps) < 8, "amid the epoch"
    said = capsys.readouterr().err
    (folder,) = folders(runs).values()
    assert f"failed: {folder.name}: {victim} cannot be decoded: " in said
    assert "Traceback" not in said
    assert not (folder / "result.json").exists()
    sources._checked.cache_clear()
    if choice == "error":
        assert run(runs, *words, "recipe.epochs=1") == 2
        assert capsys.readouterr().err.startswith(f"{victim} cannot be decoded: ")
        victim.write_bytes(content)
        sources._checked.cache_clear()
    assert run(runs, *words, "recipe.epochs=1") == 0
    (done,) = runs.glob("*/result.json")
    data = json.loads(done.read_text())["data"]
    assert data["left_out"] == (choice == "skip")
    assert (done.parent == folder) == (choice == "error"), "other images are another run"


@contextmanager
def disk(place: Path, size: str) -> Iterator[None]:
    """A file system of its own at `place`; skips the test where none can be mounted."""
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(place)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.slow
def test_a_disk_that_is_really_full(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = tmp_path / "runs"
    with disk(runs, "64m"):
        assert run(runs, "arch=B-5x5", "test=[centre]") == 0
        (finished,) = folders(runs).values()
        before = {path: path.read_bytes() for path in finished.rglob("*.*")}
        ballast = runs / ".ballast"
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass
        words = ["-m", "arch=A,B-5x5,A-LRN", "test=[centre]"]
        for free, reason in ((0, "it did not finish"), (100_000, "the disk is full")):
            os.truncate(ballast, ballast.stat().st_size - free)
            capsys.readouterr()
            assert run(runs, *words) == 1
            said = capsys.readouterr().err
            assert "Traceback" not in said
            lines = [line for line in said.splitlines() if line.startswith("failed: ")]
            assert [line.split()[1].split("-tiny")[0] for line in lines] == ["A-S256", "A-LRN-S256"]
            assert all(reason in line for line in lines)
            assert "1 of 3 runs finished" in said
            assert all(path.read_bytes() == content for path, content in before.items())
            assert not [path for path in runs.rglob(".*.????????") if path.is_file()]
        ballast.unlink()
        assert run(runs, *words) == 0
        assert all(path.read_bytes() == content for path, content in before.items())


def test_a_store_that_is_really_read_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs, photos = tmp_path / "runs", photographs(tmp_path / "photos", count=2)
    with disk(runs, "64m"):
        assert run(runs, "test=[centre]") == 0
        subprocess.run(["mount", "-o", "remount,ro", str(runs)], check=True)
        capsys.readouterr()
        assert run(runs, "test=[centre]") == 0, "all is there"
        write([runs], tmp_path / "report")
        for words in (["test=[single_scale]"], ["-m", "arch=A,B"], photos):
            capsys.readouterr()
            assert run(runs, *words) == 2
            said = capsys.readouterr().err
            assert re.fullmatch(f"{runs}(/.cache)? cannot be written to: name a place .*\n", said)


def test_a_folder_in_place_of_a_view_or_a_lock_is_named_and_moved_away(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, "test=[centre]", "dry_run=true") == 0
    name = capsys.readouterr().out.partition(": new")[0]
    view = tmp_path / name / "views" / "centre-Q256.npz"
    for place, status in ((tmp_path / ".locks" / f"{name}.lock", 1), (view, 2)):
        place.unlink(missing_ok=True)
        place.mkdir(parents=True)
        assert run(tmp_path, "test=[centre]") == status
        said = capsys.readouterr().err
        assert str(place) in said
        assert "Traceback" not in said
        place.rmdir()
        assert run(tmp_path, "test=[centre]") == 0
