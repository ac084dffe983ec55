"""Live curves, read back by their viewer's own reader and compared with the log."""

import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from repro.config.choices import CONF
from repro.config.command import command
from repro.config.composing import config_of
from repro.run.interruption import Interrupted
from repro.store.folder import Folder
from repro.track.curves import CHOICES, Curves, TensorBoard, tag
from tests.conftest import LIGHT, folders, run, same

TESTED = {"test/error_single_scale", "test/error_centre"}
TRACKED = ["test=[single_scale,centre]", "track=tensorboard"]


def curves(folder: Path) -> dict[str, Any]:
    """The points of each curve of a run."""
    reading = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = reading.EventAccumulator(str(folder))
    found.Reload()
    return {name: found.Scalars(name) for name in found.Tags()["scalars"]}


def parameters(folder: Path) -> dict[str, object]:
    """The hyperparameters of a run as the tab HPARAMS has them."""
    data = pytest.importorskip("tensorboard.plugins.hparams.plugin_data_pb2")
    reading = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = reading.EventAccumulator(str(folder))
    found.Reload()
    content = found.PluginTagToContent("hparams")["_hparams_/session_start_info"]
    start = data.HParamsPluginData.FromString(content).session_start_info
    kinds = ((key, one, one.WhichOneof("kind")) for key, one in start.hparams.items())
    return {key: getattr(one, str(kind)) for key, one, kind in kinds}


def agree(folder: Path) -> None:
    """Each number of the log stands on its curve, once and in order."""
    log, found = pd.read_csv(folder / "log.csv").set_index("epoch"), curves(folder)
    assert set(found) - TESTED == set(map(tag, log.columns))
    for name in log.columns:
        points = found[tag(name)]
        assert [point.step for point in points] == list(log.index)
        # TensorBoard's numbers are in float32.
        assert [point.value for point in points] == pytest.approx(list(log[name]), rel=1e-6)


def test_the_curves_are_the_log_and_the_test_errors_and_the_run_is_the_same(
    tmp_path: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # A blank and a sign that an address writes otherwise.
    assert run(tmp_path, f"runs='{tmp_path}/my runs #1'", *TRACKED) == 0
    said = capsys.readouterr().out
    folder, other = (folders(place)["A-S256"] for place in (tmp_path / "my runs #1", trained))
    agree(folder)
    for name in TESTED:
        (point,) = curves(folder)[name]
        assert point.step == 2
        assert f"{name.removeprefix('test/error_')} test error {point.value:.1f}%" in said
    assert {"train/loss", "validation/error"} <= set(curves(folder))
    found = parameters(folder)
    assert (found["arch"], found["seed"], found["recipe.epochs"]) == ("A", 0, 2)
    assert folder.name == other.name
    assert same(folder, other)
    names = [{path.name for path in place.iterdir()} for place in (folder, other)]
    (events,) = names[0] - names[1]
    assert events.startswith("events.out.tfevents."), "the viewer names a run by its folder"


def test_a_run_that_was_killed_has_each_epoch_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    follow = Curves.follow

    def then_end(self: Curves) -> None:
        follow(self)
        raise Interrupted

    with monkeypatch.context() as patch:
        patch.setattr(Curves, "follow", then_end)
        assert run(tmp_path, *TRACKED) == 75
    (folder,) = folders(tmp_path).values()
    agree(folder)
    # Training goes on from before the point that is written.
    for checkpoint in folder.glob("checkpoint-*"):
        checkpoint.unlink()
    assert run(tmp_path, *TRACKED) == 0
    agree(folder)
    assert all(len(curves(folder)[name]) == 1 for name in TESTED)


def test_a_curve_has_no_gap_where_the_run_stood_still(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("epoch,train_loss,seconds\n1,2.5,0.5\n2,1.25,0.5\n")
    Curves("tensorboard", Folder(tmp_path, lambda: None), config_of(LIGHT), print).follow()
    first, second = curves(tmp_path)["train/loss"]
    assert second.wall_time - first.wall_time == pytest.approx(0.5, abs=1e-3)


def test_what_cannot_be_written_is_said_once_and_the_run_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorboard")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(TensorBoard, "add", full)
    assert run(tmp_path, *TRACKED) == 0
    said = capsys.readouterr().err
    assert said.count("no more curves for tensorboard: No space left on device") == 1
    assert "Traceback" not in said


def test_a_missing_package_is_refused_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert {file.stem for file in (CONF / "track").glob("*.yaml")} == set(CHOICES)
    monkeypatch.delitem(sys.modules, "tensorboard", raising=False)
    # A folder of that name is no package.
    (tmp_path / "tensorboard").mkdir()
    without = [path for path in sys.path if "-packages" not in path]
    monkeypatch.setattr(sys, "path", [str(tmp_path), *without])
    assert command([*LIGHT, f"runs={tmp_path / 'runs'}", "-m", "track=none,tensorboard"]) == 2
    assert "track=tensorboard needs a package: pip install" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
