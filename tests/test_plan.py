"""What a sweep would cost, through the public door, against the paper and counts by hand."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import repro.plan
from repro.config.choices import choice
from repro.config.command import command
from repro.config.schema import Data
from repro.data import sources
from repro.data.sizes import Assumed
from tests.conftest import plan

PAPER = ["size=paper", "data=imagenet", "data.root=/nowhere", "recipe=paper", "tflops=6"]
LIGHT = ["size=tiny", "recipe=smoke", "recipe.batch=16", "recipe.train_images=64"]
LIGHT += ["threads=1", "progress=false"]
D_FLOPS = 2 * 15_470_264_320


def planned(folder: Path, *words: str) -> pd.DataFrame:
    """The rows that a plan writes."""
    out = folder / "plan.csv"
    assert plan([f"runs={folder / 'runs'}", f"out={out}", *words]) == 0
    return pd.read_csv(out, keep_default_na=False).set_index("run", drop=False)


def test_the_papers_nets_before_anyone_has_the_images(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = planned(tmp_path, "arch=A,D,E", "test=[centre]", *PAPER)
    said = capsys.readouterr().out
    assert dict(rows.parameters) == {
        "A-S256": 132_863_336,
        "D-S256": 138_357_544,
        "E-S256": 143_667_240,
    }
    # 74 epochs are the paper's 370K iterations.
    assert set(rows.iterations) == {74 * 5005}
    d = rows.loc["D-S256"]
    assert d.training_flops == 74 * (1_281_167 * 3 + 50_000) * D_FLOPS
    assert d.testing_flops == 50_000 * 2 * D_FLOPS, "the mirror images too"
    # The help's tflops of the paper: the training steps in two weeks and in three.
    paper = [74 * 1_281_167 * 3 * D_FLOPS / (weeks * 7 * 86_400) / 1e12 for weeks in (2, 3)]
    assert "tflops={:.1f} to tflops={:.1f}".format(*paper) in str(repro.plan.__doc__)
    assert d.training_hours == pytest.approx(d.training_flops / 6e12 / 3600)
    for words in ("138,357,544", "370,370", "30,940,528,640", "two to three weeks (336 to 504"):
        assert words in said
    total = sum(rows.training_hours) + sum(rows.testing_hours)
    assert f"3 runs to be done: {total:,.0f} hours ({total / 24:.0f} days)" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["plan.csv"]


def test_what_of_a_batch_fits_into_usual_cards(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    planned(tmp_path, "arch=A,D,D-BN", "test=[centre]", *PAPER)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "micro_batch" in line]
    # Of D, 0.9 times 8 GB less 12 bytes a parameter, by 73 MB an image: see tests/arch.
    assert line.startswith(
        "of D-S256's batch of 256 images these fit at once: 8 GB: micro_batch=75,"
    )
    assert line.endswith("24 GB: all")
    planned(tmp_path, "arch=D", "test=[centre]", *PAPER, "recipe.batch=64")
    planned(tmp_path, "arch=D-BN", "test=[centre]", *PAPER)
    assert "micro_batch" not in capsys.readouterr().out


def test_parents_come_first_and_once(tmp_path: Path) -> None:
    words = ["arch=D", "scale=S384,jitter", "finetune=all,fc", "test=[single_scale]"]
    rows = planned(tmp_path, *words, *PAPER)
    assert list(rows.run) == ["D-S256", "D-S384", "D-S384-fc", "D-jitter", "D-jitter-fc"]
    assert list(rows.starts_from) == ["", "D-S256", "D-S256", "D-S384", "D-S384"]
    # D's convolutions and FC layers at Q = 256 and 384 cover (8/7)^2 and (12/7)^2 times the crop.
    fc = 2 * (25_088 * 4096 + 4096 * 4096 + 4096 * 1000)
    convs = D_FLOPS - fc
    assert rows.testing_flops["D-S256"] == 100_000 * (convs * 64 // 49 + 4 * fc)
    assert rows.testing_flops["D-S384"] == 100_000 * (convs * 144 // 49 + 36 * fc)
    assert rows.activations_bytes["D-jitter-fc"] < rows.activations_bytes["D-jitter"] / 100


def test_what_tells_runs_apart_is_said(tmp_path: Path) -> None:
    words = ["seed=0,1", "recipe=smoke,quick", "init=from_A", "arch=B", "tflops=1"]
    rows = planned(tmp_path, *words)
    assert set(rows.run) == {
        f"{net}-{recipe}-{init}-s{seed}"
        for recipe in ("smoke", "quick")
        for net, init in (("A-S256", "glorot"), ("B-S256", "from_A"))
        for seed in (0, 1)
    }
    assert list(rows.starts_from)[::2] == [""] * 4


@pytest.mark.slow
def test_what_is_done_costs_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = f"runs={tmp_path / 'runs'}"
    assert command([*LIGHT, runs, "test=[centre]"]) == 0
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("*")}
    rows = planned(tmp_path, *LIGHT, "test=[centre]", "scale=S256,S384")
    assert list(rows.state) == ["finished", "new"]
    done, todo = rows.loc["A-S256"], rows.loc["A-S384"]
    assert done[["iterations", "training_hours", "testing_hours"]].tolist() == [0, 0, 0]
    assert "1 run to be done, 1 finished" in capsys.readouterr().out
    # The rate is the finished run's: images a second by the operations of their three passes.
    (folder,) = (path for path in (tmp_path / "runs").iterdir() if path.name[0] != ".")
    speed = json.loads((folder / "result.json").read_text())["images_per_second"]
    assert float(todo.flops_per_second) == pytest.approx(speed * 3 * todo.forward_flops)
    assert todo.rate == "by a finished run of A at size=tiny here"
    assert plan([*LIGHT, runs, "test=[centre]"]) == 0
    assert "nothing is to be done: 1 finished" in capsys.readouterr().out
    missing = planned(tmp_path, *LIGHT, "test=[single_scale]", "tflops=1").iloc[0]
    assert (missing.state, missing.iterations) == ("trained, views missing", 0)
    assert missing.testing_hours > missing.training_hours == 0
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("*")} == before
    # One of two epochs is done, and a checkpoint of it kept.
    (folder / "result.json").unlink()
    (folder / "checkpoint-0.safetensors").touch()
    log = (folder / "log.csv").read_text().splitlines(keepends=True)
    (folder / "log.csv").write_text("".join(log[:-1]))
    rows = planned(tmp_path, *LIGHT, "test=[centre]", "seed=0,1", "tflops=1")
    assert list(rows.state) == ["goes on", "new"]
    assert list(rows.iterations) == [4, 8]


def test_a_folder_that_an_earlier_run_looked_at(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    for part, count in (("train", 20), ("val", 6)):
        for name in ("cat", "dog"):
            (root / part / name).mkdir(parents=True)
            for n in range(count):
                image = Image.fromarray(np.full((40, 40, 3), n, dtype=np.uint8))
                image.save(root / part / name / f"{n}.png")
    words = [*LIGHT, "data=imagefolder", f"data.root={root}", "test=[centre]"]
    new = planned(tmp_path, *words, "images=36,4,12", "classes=2", "tflops=1").iloc[0]
    assert command([f"runs={tmp_path / 'runs'}", *words]) == 0
    root.rename(tmp_path / "elsewhere")
    rows = planned(tmp_path, *words, "arch=A,B", "tflops=1")
    assert list(rows.state) == ["finished", "new"]
    assert rows.parameters["A-S256"] == new.parameters
    assert rows.iterations["B-S256"] == new.iterations == 2 * 3
    assert rows.testing_flops["B-S256"] == 2 * 12 * rows.forward_flops["B-S256"]


def test_the_rate_of_this_machine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = planned(tmp_path, *LIGHT, "progress=true", "arch=A", "precision=float32,bf16")
    assert (rows.flops_per_second > 1e6).all()
    assert rows.rate["A-S256-float32"].startswith("timed on steps of A at size=tiny, 16 images")
    said = capsys.readouterr()
    assert "timing training steps of A at size=tiny (cpu, float32, 1 threads)" in said.err
    assert "Rate: " in said.out


def test_the_digits_are_as_many_as_there_are() -> None:
    data = Data(**choice("data", "mnist5k"))
    images, source = Assumed(None, None, []).images(data), sources.load(data, Path())
    found = [len(part.ids) for part in (source.train, source.validation, source.test)]
    assert [images.train, images.validation, images.test] == found


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("tflops=0", "tflops=0: expected a number above zero, as in tflops=6"),
        ("tflops=fast", "tflops=fast: expected a number above zero"),
        ("images=9000", "images=9000: expected TRAINING,VALIDATION,TEST"),
        ("images=9,0,1", "images=9,0,1: expected TRAINING,VALIDATION,TEST"),
        ("images=9,\u00b2,1", "images=9,\u00b2,1: expected TRAINING,VALIDATION,TEST"),
        (f"images={'9' * 5000},1,1", "expected TRAINING,VALIDATION,TEST"),
        ("classes=1", "classes=1: expected a whole number from 2 to 1000000; a classifier needs"),
        ("classes=\u00b2", "classes=\u00b2: expected a whole number from 2 to 1000000"),
        ("classes=100000000000", "classes=100000000000: expected a whole number from 2 to 1000000"),
        ("out=plan", "out=plan: expected a file, as in out=plan.csv"),
        (f"out={'x' * 5000}.csv", "cannot be written: File name too long; expected a file"),
        ("out=/dev/null/plan.csv", "out=/dev/null/plan.csv cannot be written: /dev/null is a file"),
        ("data=imagefolder", "data=imagefolder: how many images and classes it has is not known"),
        ("data=imagenet data.classes=9", "data=imagenet: how many images and classes it has"),
        ("data=mnist data.classes=7", "data.classes=7, but data=mnist has 10: leave it out"),
        ("data.holdout=0.9", "data.holdout=0.9: expected a share between 0 and 0.5"),
        ("recipe.batch=32,0", "recipe.batch=0: expected a number above zero"),
        ("device=cuda:99", "device=cuda:99 is not on this machine: it has cpu"),
        ("arch", "arch cannot be read: expected KEY=VALUE"),
    ],
)
def test_refused_in_one_line(
    words: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert plan([f"runs={tmp_path / 'runs'}", *words.split()]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.strip().splitlines()) == 1
    assert len(said.err) < 500
    assert says in said.err
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_written_is_said_and_no_empty_file_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "plan.csv").write_text("earlier")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    words = [f"runs={tmp_path / 'runs'}", "tflops=1"]
    for out in (tmp_path / "plan.csv", tmp_path / "other.csv"):
        assert plan([*words, f"out={out}"]) == 2
        assert capsys.readouterr().err.startswith(
            f"out={out}: cannot write {out}: the disk is full"
        )
    assert [path.name for path in tmp_path.iterdir()] == ["plan.csv"]
    assert (tmp_path / "plan.csv").read_text() == "earlier"


def test_another_machine_need_not_be_here(tmp_path: Path) -> None:
    rows = planned(tmp_path, "device=cuda:99", "tflops=100")
    assert rows.flops_per_second.tolist() == [1e14]


def test_help_without_torch_or_hydra() -> None:
    program = (
        "import sys; sys.argv = ['plan', '--help']; import repro.plan\n"
        "try: repro.plan.main()\n"
        "finally: assert not {'torch', 'hydra', 'pandas'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "python -m repro.plan experiments=paper data=imagenet size=paper" in done.stdout
