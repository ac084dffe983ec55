"""Live curves, read back by their viewers' own readers and compared with the log."""

from __future__ import annotations

import csv
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from repro.config.choices import CONF
from repro.config.command import command
from repro.run.interruption import Interrupted
from repro.store.folder import Folder
from repro.store.runs import CHECKPOINTS
from repro.track import trackers
from repro.track.curves import Curves
from tests.test_run import LIGHT, folders, run, same

Curve = list[tuple[int, float]]
WORDS = [*LIGHT, "recipe.epochs=3", "test=[single_scale,centre]"]
TESTED = ("test_error_single_scale", "test_error_centre")
LOG = "epoch,train_loss,seconds\n1,2.5,0.5\n2,1.25,0.5\n"


def log(folder: Path) -> dict[str, Curve]:
    """The columns of a run's log, each as the points of a curve."""
    with (folder / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    names = [name for name in rows[0] if name != "epoch"]
    return {name: [(int(row["epoch"]), float(row[name])) for row in rows] for name in names}


def tensorboard(folder: Path) -> dict[str, Curve]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder / "track" / "tensorboard"))
    found.Reload()
    names = found.Tags()["scalars"]
    return {name: [(point.step, point.value) for point in found.Scalars(name)] for name in names}


READERS: dict[str, Callable[[Path], dict[str, Curve]]]
READERS = {"tensorboard": tensorboard}


@pytest.fixture(params=READERS)
def tracker(request: pytest.FixtureRequest) -> str:
    pytest.importorskip(request.param)
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with one run and no curves."""
    store = tmp_path_factory.mktemp("bare")
    assert command([*WORDS, f"runs={store}"]) == 0
    return store


def agree(curves: dict[str, Curve], expected: dict[str, Curve]) -> None:
    """Every point of every column, once and in order (TensorBoard's are in float32)."""
    assert set(curves) - set(TESTED) == set(expected)
    for name, points in expected.items():
        assert [epoch for epoch, _ in curves[name]] == [epoch for epoch, _ in points]
        assert [y for _, y in curves[name]] == pytest.approx([y for _, y in points], rel=1e-6)


def test_the_curves_are_the_log_and_the_test_errors_and_the_run_is_the_same(
    tmp_path: Path, bare: Path, tracker: str, capsys: pytest.CaptureFixture[str]
) -> None:
    # A blank and a sign that an address writes otherwise.
    runs = tmp_path / "my runs #1"
    words = [*WORDS, f"runs='{runs}'", f"track={tracker}"]
    assert command(words) == 0
    said = capsys.readouterr().out
    (folder,) = folders(runs).values()
    curves = READERS[tracker](folder)
    agree(curves, log(folder))
    for name in TESTED:
        ((epoch, error),) = curves[name]
        assert epoch == 3
        assert f"{name.removeprefix('test_error_')} test error {error:.1f}%" in said

    (other,) = folders(bare).values()
    assert folder.name == other.name
    assert same(folder, other)
    files = [{path.name for path in place.iterdir()} for place in (folder, other)]
    assert files[0] - files[1] == {"track"}


def test_a_run_that_was_killed_has_each_epoch_once(
    tmp_path: Path, tracker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [*WORDS, "recipe.epochs=4", f"runs={tmp_path}", f"track={tracker}"]
    follow, calls = Curves.follow, []

    def then_end(curves: Curves) -> None:
        follow(curves)
        calls.append(1)
        if len(calls) == 3:
            raise Interrupted

    with monkeypatch.context() as patch:
        patch.setattr(Curves, "follow", then_end)
        # A process that is killed says nothing more to its tracker.
        patch.setattr(Curves, "__exit__", lambda *_: None)
        with pytest.raises(Interrupted):
            command(words)
    (folder,) = folders(tmp_path).values()
    agree(READERS[tracker](folder), log(folder))
    assert len(log(folder)["train_loss"]) == 3
    # Training goes on from before the last point.
    newest = max((folder / name for name in CHECKPOINTS), key=lambda path: path.stat().st_mtime_ns)
    newest.unlink()
    assert command(words) == 0
    curves = READERS[tracker](folder)
    assert [epoch for epoch, _ in curves["train_loss"]] == [1, 2, 3, 4]
    assert [len(curves[name]) for name in TESTED] == [1, 1]
    losses = [[loss for _, loss in table["train_loss"]] for table in (curves, log(folder))]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def test_what_cannot_be_written_is_said_once_and_the_run_goes_on(
    tmp_path: Path,
    tracker: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(trackers.TRACKERS[tracker], "add", full)
    assert run(tmp_path, f"track={tracker}", "test=[centre]") == 0
    said = capsys.readouterr().err
    assert said.count(f"no more curves for {tracker}: No space left on device") == 1
    assert "Traceback" not in said


def test_a_curve_has_no_gap_where_the_run_stood_still(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (tmp_path / "log.csv").write_text(LOG)
    with Curves("tensorboard", Folder(tmp_path, lambda: None), print) as curves:
        curves.follow()
    found = EventAccumulator(str(tmp_path / "track" / "tensorboard"))
    found.Reload()
    first, second = found.Scalars("train_loss")
    assert second.wall_time - first.wall_time == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize("name", trackers.TRACKERS)
def test_a_missing_package_is_refused_before_any_work(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, name, raising=False)
    # A folder of that name is no package.
    (tmp_path / name).mkdir()
    without = [path for path in sys.path if "-packages" not in path]
    monkeypatch.setattr(sys, "path", [str(tmp_path), *without])
    assert command([*LIGHT, f"runs={tmp_path / 'runs'}", "-m", f"track=none,{name}"]) == 2
    assert f"track={name} needs a package: pip install" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_each_tracker_has_its_choice_and_its_extra() -> None:
    assert {file.stem for file in (CONF / "track").glob("*.yaml")} == set(trackers.CHOICES)
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert set(trackers.TRACKERS) <= set(project["optional-dependencies"])
