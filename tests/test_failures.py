"""What goes wrong around a run: kills, damaged files, full disks, folders that are not writable."""

from __future__ import annotations

import io
import os
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from repro.analysis.write import write
from repro.errors import RunError
from repro.store import runs as store
from repro.train.interruption import Interrupted
from repro.train.loop import Training
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


def test_an_interrupted_command_says_what_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_: Training) -> None:
        raise Interrupted

    monkeypatch.setattr(Training, "run", interrupted)
    with pytest.raises(Interrupted):
        run(tmp_path, "-m", "arch=A,B", "test=[centre]")
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(
        "interrupted; the same command goes on: python -m repro.run -m size=tiny "
    )
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


def test_a_net_that_is_trained_anew_keeps_nothing_of_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(tmp_path, "test=[centre,single_scale]", "activations=true") == 0
    (folder,) = folders(tmp_path).values()
    (folder / "result.json").unlink()

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
    write(runs, tmp_path / "report")
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
    write(tmp_path, tmp_path.parent / f"{tmp_path.name}-report")
    assert f"left out: {result}" in capsys.readouterr().err
    assert run(tmp_path, *words) == 2
    assert capsys.readouterr().err.startswith(result)
    (found["A-LRN-S256"] / "result.json").unlink()
    assert run(tmp_path, *words) == 0
