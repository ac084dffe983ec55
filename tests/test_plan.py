"""What a sweep would cost, through the public door, against the paper and counts by hand."""

from pathlib import Path

import pandas as pd
import pytest
import torch

import repro.plan
from repro.config.command import command
from repro.model import reading
from repro.model.vgg import VGG
from repro.run import timing
from tests.conftest import LIGHT, composed, plan
from tests.data.conftest import fill

PAPER = ["size=paper", "data=imagenet", "data.root=/nowhere", "recipe=paper", "tflops=6"]
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
    assert rows.parameters.tolist() == [132_863_336, 138_357_544, 143_667_240]
    # 74 epochs are the paper's 370K iterations.
    assert set(rows.iterations) == {74 * 5005}
    d = rows.loc["D-S256"]
    assert d.training_flops == 74 * (1_281_167 * 3 + 50_000) * D_FLOPS
    assert d.testing_flops == 50_000 * 2 * D_FLOPS, "the mirror images too"
    # The help's tflops of the paper: the training steps in two weeks and in three.
    paper = [74 * 1_281_167 * 3 * D_FLOPS / (weeks * 7 * 86_400) / 1e12 for weeks in (2, 3)]
    assert "tflops={:.1f} to tflops={:.1f}".format(*paper) in str(repro.plan.__doc__)
    assert d.training_hours == pytest.approx(d.training_flops / 6e12 / 3600)
    for words in ("138,357,544", "370,370", "30,940,528,640", "336 to 504"):
        assert words in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["plan.csv"]


def test_a_rate_is_compiled_for_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[str] = []

    def compiles(net: torch.nn.Module, *, mode: str, dynamic: bool) -> torch.nn.Module:
        modes.append(mode)
        return net

    monkeypatch.setattr(torch, "compile", compiles)
    planned(tmp_path, *LIGHT, "compile=max-autotune", "test=[centre]")
    assert modes == ["max-autotune"]


def test_a_net_that_locates_is_timed() -> None:
    config = composed(*LIGHT)
    spec = reading.spec_of(config.arch, config.size, channels=1, classes=10)
    net = VGG(reading.locating(spec, "shared"), 0.0)
    # More images than outputs.
    timing.training_step(net, config, torch.device("cpu"), 16)()


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


def test_a_folder_that_an_earlier_run_looked_at(tmp_path: Path) -> None:
    root = fill(tmp_path / "photos", train={"cat": 20, "dog": 20}, val={"cat": 6, "dog": 6})
    words = [*LIGHT, "data=imagefolder", f"data.root={root}", "data.first_classes=null"]
    words += ["test=[centre]", "recipe.train_images=36"]
    new = planned(tmp_path, *words, "images=36,4,12", "classes=2", "tflops=1").iloc[0]
    assert command([f"runs={tmp_path / 'runs'}", *words]) == 0
    root.rename(tmp_path / "elsewhere")
    rows = planned(tmp_path, *words, "arch=A,B", "tflops=1")
    assert list(rows.state) == ["finished", "new"]
    done = rows.loc["A-S256"]
    assert done[["iterations", "training_hours", "testing_hours"]].tolist() == [0, 0, 0]
    assert done.parameters == new.parameters
    assert rows.iterations["B-S256"] == new.iterations == 2 * 3
    assert rows.testing_flops["B-S256"] == 2 * 12 * rows.forward_flops["B-S256"]


def test_the_rate_of_this_machine(tmp_path: Path) -> None:
    row = planned(tmp_path, *LIGHT, "arch=A").iloc[0]
    assert "timed on steps of A at size=tiny (cpu, float32, 1 threads)" in row.rate
    assert 0 < row.training_hours < 1
    assert 0 < row.testing_hours < 1


@pytest.mark.parametrize(
    ("words", "key"),
    [
        *(("tflops=6,7,8", "tflops=6,7,8"), ("tflops=6 precision=bf16", "precision=bf16")),
        *(("images=9,0,1", "images=9,0,1"), ("classes=\u00b2", "classes="), ("arch", "KEY=VALUE")),
        *(("out=plan", "out=plan"), ("out=/dev/null/plan.csv", "out=/dev/null/plan.csv")),
        *(("data=imagefolder", "data=imagefolder"), ("data=mnist5k classes=7", "classes=7")),
        ("data=imagefolder images=36,4,12 classes=2 recipe=smoke", "train_images=128"),
        *(("recipe.batch=32,0", "recipe.batch=0"), ("device=cuda:99", "device=cuda:99")),
    ],
)
def test_refused_in_one_line(
    words: str, key: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert plan([f"runs={tmp_path / 'runs'}", *words.split()]) == 2
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert key in said.err
    assert list(tmp_path.iterdir()) == []


def test_a_runs_files_are_not_written_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("config.yaml", "log.csv"):
        (tmp_path / name).write_text(name)
    assert plan([*LIGHT, f"out={tmp_path / 'log.csv'}"]) == 2
    assert str(tmp_path / "log.csv") in capsys.readouterr().err
    assert (tmp_path / "log.csv").read_text() == "log.csv"
