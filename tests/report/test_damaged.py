"""One damaged file costs the report what it holds, and a line on standard error; no more."""

import json
import os
import shutil
import signal
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from repro.report import __main__ as report
from repro.report import write as writing
from repro.report.write import write
from repro.store import views
from repro.store.archive import ARCHIVE, opened, pack
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
    wrong = Posteriors(good.posteriors, good.labels + 1, good.ids)
    shifted = runs / make_run("arch=A", "seed=2")
    (shifted / "views" / "dense-Q256.npz").write_bytes(views.encode(wrong))
    nested = runs / make_run("arch=B")
    result = json.loads((nested / "result.json").read_text())
    (nested / "result.json").write_text(json.dumps(result | {"seconds": {"all": None}}))
    worded = runs / make_run("arch=C")
    rows = "epoch,train_error,validation_error\none,much,little\n"
    (worded / "log.csv").write_text(rows)
    # Of a setting one run may say that it was tested on other images than all others.
    make_run("arch=D", images=20)
    make_run("arch=E", digests={"test_images": "a" * 64})
    for arch in ("A-LRN", "B-5x5"):
        make_run(f"arch={arch}", digests={"test_images": "b" * 64})
    write([runs], tmp_path / "out")

    said = capsys.readouterr().err.splitlines()
    expected = ["labels are whole", "seconds is not", f"{worded / 'log.csv'} is damaged"]
    assert all(any(words in line for line in said) for words in expected)
    assert sum("most runs of its setting" in line for line in said) == 2
    assert all(line.startswith("left out: ") for line in said)
    page = (tmp_path / "out" / "comparison.md").read_text(encoding="utf-8")
    named = page.partition("\n## Left out\n")[2].partition("\n# Details\n")[0]
    assert named.count("\n- ") == len(set(said))
    found = pd.read_csv(tmp_path / "out" / "results.csv")
    single = found[(found.protocol == "single_scale") & (found.metric == "top1_error")]
    a = single[single.arch == "A"].set_index("seed").value
    assert a.to_dict() == {0: 5.0, 1: 7.0}
    assert "C" in set(single.arch)
    assert not {"B", "D", "E"} & set(found.arch)
    assert set(found[(found.protocol == "centre") & (found.arch == "A")].seed) == set(range(3))


def test_what_is_damaged_in_an_archive_is_named_by_the_archive(
    tmp_path: Path, make_run: MakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run("arch=A")
    write([tmp_path / "runs"], tmp_path / "mine", archive=True)
    runs = shutil.copytree(opened(tmp_path / "mine" / ARCHIVE), tmp_path / "unpacked")
    (log,) = runs.glob("*/log.csv")
    log.write_text("epoch\n")
    pack(runs, tmp_path / "mine" / ARCHIVE)
    write([tmp_path / "mine"], tmp_path / "again")
    said = capsys.readouterr().err
    assert f"{tmp_path / 'mine' / ARCHIVE}/{log.parent.name}/log.csv is damaged" in said


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
    images = ListedImages(np.array([f"{n:05d}" for n in range(200)]), np.arange(200) % 10)
    for identity, values in zip(ids, (right, right[:3], right + 10, right), strict=True):
        kept = Kept(10, images.short, identity, "", {"single_scale@256": Ranks(10, values)})
        write_ranks(store, kept, images)
    for file in (file_of(store, [ids[3]]), file_of(store, [ids[0], ids[1]])):
        file.write_bytes(b"PK")
    write([store], tmp_path / "out")
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 4
    assert all(line.startswith("left out: ") and "is damaged: " in line for line in said)
    assert set(pd.read_csv(tmp_path / "out" / "results.csv").seed) == {0}


def refused(monkeypatch: pytest.MonkeyPatch, *words: str) -> int | str | None:
    """The exit status of the program."""
    monkeypatch.setattr(sys, "argv", ["report", *words])
    with pytest.raises(SystemExit) as left:
        report.main()
    return left.value.code


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([f"out={'x' * 250}"], "cannot be written to: "),
        (["out=file/report"], "file/report cannot be"),
        (["runs=runs,nowhere"], "runs=nowhere is missing"),
        (["runs=runs/A-0"], "runs=runs/A-0 is one run"),
        (["out=runs/A-0/report"], "is the folder of a run, or in it"),
    ],
)
def test_an_impossible_place_is_said_before_the_work(
    words: list[str],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    (tmp_path / "runs" / "A-0").mkdir(parents=True)
    for name in ("config.yaml", "log.csv"):
        (tmp_path / "runs" / "A-0" / name).touch()
    monkeypatch.setattr(writing, "admitted", lambda stores: pytest.fail("the work began"))
    assert refused(monkeypatch, *words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert says in line
    assert len(line) < 1000
    assert sorted(os.listdir(tmp_path)) == ["file", "runs"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_who_stops_it_gets_a_line_and_nothing_is_left(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "runs").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(writing, "admitted", lambda stores: os.kill(os.getpid(), number))
    assert refused(monkeypatch, "out=out") == 75
    assert capsys.readouterr().err.startswith("interrupted; ")
    assert os.listdir(tmp_path) == ["runs"]
