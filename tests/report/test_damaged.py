"""One damaged file costs the report what it holds, and a line on standard error; no more."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from repro.config.way_in import show
from repro.errors import RequestError
from repro.report import __main__ as report
from repro.report import write as writing
from repro.report.write import write
from repro.store import views
from repro.store.expected import ListedImages
from repro.store.ranks import Kept, Ranks, file_of
from repro.store.ranks import write as write_ranks
from repro.store.views import Posteriors
from tests.report.conftest import MakeRun, posteriors


def test_each_damaged_file_is_a_line_and_the_rest_is_reported(
    tmp_path: Path, make_run: MakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "runs"
    make_run("arch=A", wrong=10)
    make_run("arch=A", "seed=1", wrong=14)
    good = posteriors(10, 200)
    damages = {
        "labels are whole": Posteriors(good.posteriors, good.labels + 1, good.ids),
        "it is of 200 images of 11 classes": posteriors(10, 200, 11),
        "it is of 3 images of 10 classes": posteriors(0, 3),
        "not shares that sum": Posteriors(good.posteriors * np.nan, good.labels, good.ids),
        "each once": Posteriors(good.posteriors, good.labels, np.array(["same"] * 200)),
    }
    for seed, view in enumerate(damages.values(), start=2):
        folder = runs / make_run("arch=A", f"seed={seed}")
        (folder / "views" / "dense-Q256.npz").write_bytes(views.encode(view))
    nested = runs / make_run("arch=B")
    result = json.loads((nested / "result.json").read_text())
    (nested / "result.json").write_text(json.dumps(result | {"seconds": {"all": None}}))
    worded = runs / make_run("arch=C")
    rows = "epoch,train_error,validation_error\none,much,little\n"
    (worded / "log.csv").write_text(rows)
    # Of a setting one run may say that it was tested on other images than all others.
    make_run("arch=D", images=20)
    write([runs], tmp_path / "out")

    said = capsys.readouterr().err.splitlines()
    expected = [*damages, "seconds is not", f"{worded / 'log.csv'} is damaged", "most runs of its"]
    assert len(said) == len(expected)
    assert all(line.startswith("left out: ") for line in said)
    assert all(any(words in line for line in said) for words in expected)
    found = pd.read_csv(tmp_path / "out" / "results.csv")
    single = found[(found.protocol == "single_scale") & (found.metric == "top1_error")]
    a = single[single.arch == "A"].set_index("seed").value
    assert a.to_dict() == {0: 5.0, 1: 7.0}
    assert set(single.arch) == {"A", "C"}
    assert set(found[found.protocol == "centre"].seed) == set(range(7))


def kept(store: Path, identity: str, values: Any, classes: int = 10) -> None:
    images = ListedImages(np.array([f"{n:05d}" for n in range(200)]), np.arange(200) % 10)
    ranks = {"single_scale@256": Ranks(classes, np.array(values))}
    write_ranks(store, [identity], Kept(classes, images.short, ranks), images)


def test_damaged_ranks_leave_out_their_run(
    tmp_path: Path, make_run: MakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "runs"
    names = [make_run("arch=A", f"seed={seed}") for seed in range(4)]
    ids = [name.rsplit("-", 1)[1] for name in names]
    for name in names:
        for view in (store / name / "views").glob("*.npz"):
            view.unlink()
    right = np.zeros(200, np.uint8)
    kept(store, ids[0], right)
    kept(store, ids[1], right[:3])
    kept(store, ids[2], right + 10)
    kept(store, ids[3], right)
    for file in (file_of(store, [ids[3]]), file_of(store, [ids[0], ids[1]])):
        file.write_bytes(b"PK")
    write([store], tmp_path / "out")
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 4
    assert all(line.startswith("left out: ") and "is damaged: " in line for line in said)
    assert set(pd.read_csv(tmp_path / "out" / "results.csv").seed) == {0}


LONG = "x" * 5000


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([f"runs={LONG}"], "runs=xxx"),
        ([f"out={LONG}"], "out=/"),
        ([f"out={'x' * 250}"], "cannot be written to: "),
        (["out=file/report"], "file/report cannot be"),
        (["runs=file"], "runs=file is missing"),
        (["runs=nowhere"], "runs=nowhere is missing"),
        (["runs=runs,nowhere"], "runs=nowhere is missing"),
    ],
)
def test_what_cannot_be_is_said_before_the_work(
    words: list[str],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    (tmp_path / "runs").mkdir()
    monkeypatch.setattr(writing, "admitted", lambda stores: pytest.fail("the work began"))
    monkeypatch.setattr(sys, "argv", ["report", *words])
    with pytest.raises(SystemExit) as left:
        report.main()
    said = capsys.readouterr().err
    assert left.value.code == 2
    assert says in said
    assert len(said) < 1000
    assert len(said.splitlines()) == 1
    assert sorted(os.listdir(tmp_path)) == ["file", "runs"]


def test_a_refusal_leaves_no_folder(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    with pytest.raises(RequestError, match="holds no finished run"):
        write([tmp_path / "runs"], tmp_path / "a" / "b" / "out")
    assert os.listdir(tmp_path) == ["runs"]


def _ctrl_c() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("stops", [_ctrl_c, lambda: os.kill(os.getpid(), signal.SIGTERM)])
def test_who_stops_it_gets_a_line_and_nothing_is_left(
    stops: Callable[[], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "runs").mkdir()

    def admitted(stores: object) -> None:
        assert [path.name[:5] for path in tmp_path.glob(".*")] == [".out."], "as it works"
        stops()

    monkeypatch.setattr(writing, "admitted", admitted)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["report", "out=out"])
    with pytest.raises(SystemExit) as left:
        report.main()
    assert left.value.code == 75
    assert capsys.readouterr().err == "interrupted; the same command writes the report\n"
    assert os.listdir(tmp_path) == ["runs"]


@pytest.mark.parametrize("program", ["report", "run"])
def test_help_may_be_read_in_part(program: str) -> None:
    reads, writes = os.pipe()
    os.close(reads)
    command = [sys.executable, "-m", f"repro.{program}", "--help"]
    done = subprocess.run(command, stdout=writes, stderr=subprocess.PIPE, check=False)
    os.close(writes)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a disk that is always full")
@pytest.mark.parametrize("program", ["report", "plan"])
def test_what_cannot_be_printed_is_said(program: str) -> None:
    command = [sys.executable, "-m", f"repro.{program}", "--help"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, check=False, text=True)
    said = "standard output cannot be written to: No space left on device\n"
    assert (done.returncode, done.stderr) == (2, said)


def test_without_a_standard_output_nothing_is_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    # So Python has it where the shell closed it, with >&-.
    monkeypatch.setattr(sys, "stdout", None)
    show("all of it")


def test_what_is_shown_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    show("all of it")
    assert capsys.readouterr().out == "all of it\n"
