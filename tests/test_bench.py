from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from repro.bench import bench, main, read
from repro.benchmark import dense, jpeg, measure, page, startup, training
from repro.config.choices import choice
from repro.config.schema import Arch
from repro.errors import RequestError, RunError
from repro.model import reading
from repro.model.cost import cost
from repro.report.write import write
from repro.store.runs import finished


def test_contestants_take_turns_and_ratios_are_rounds_own(monkeypatch: pytest.MonkeyPatch) -> None:
    # A machine that slows down from round to round: ratios must not notice.
    clock = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    order: list[str] = []

    def contestant(name: str, seconds: float) -> measure.Work:
        def work() -> float:
            order.append(name)
            clock[0] += seconds * (1 + len(order) // 2)
            return 10.0

        return work

    works = {"ours": contestant("ours", 1.0), "theirs": contestant("theirs", 2.0)}
    rounds = measure.run(measure.Contest("c", "images/s", works), rounds=4, progress=False)
    assert order == ["theirs", "ours", "ours", "theirs"] * 2 + ["theirs", "ours"]
    assert len(rounds) == 8, "the first round is not counted"
    table = measure.summary(rounds).set_index("contestant")
    assert table.loc["ours", "ratio"] == 1.0
    assert 1.5 < table.loc["theirs", "ratio"] < 2.5
    assert table.loc["theirs", "lowest"] < table.loc["theirs", "rate"]


def test_a_long_contest_has_few_rounds_and_counts_each() -> None:
    contest = measure.Contest("c", "images/s", {"ours": lambda: 1.0}, long=True)
    assert len(measure.run(contest, 5, progress=False)) == measure.MOST
    assert len(measure.run(contest, 1, progress=False)) == 1


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_every_contestant_trains_on_as_many_images(tmp_path: Path) -> None:
    contest = training.contest("A", "tiny", "cifar10", 128, torch.device("cpu"))
    done = {name: work() for name, work in contest.contestants.items()}
    products = done.pop("matrix products of as many operations")
    assert done == dict.fromkeys(done, 128)
    assert len(done) == 5
    net = reading.read(Arch(**choice("arch", "A")), width=1 / 16, crop=32, channels=3, classes=10)
    # A training step passes three times over what a forward pass multiplies and adds.
    assert products == pytest.approx(training.PRODUCTS * 2 * 2048**3 / (3 * cost(net).flops))
    rounds = pd.DataFrame(
        [(contest.name, name, 1, 5.0, "images/s") for name in contest.contestants],
        columns=["contest", "contestant", "round", "rate", "unit"],
    )
    out = tmp_path / "bench"
    said = page.write(rounds, out, "a machine")
    assert "this suite" in said
    written = {file.name for file in out.iterdir()}
    assert written == {"rates.csv", "summary.csv", "summary.md", "ratios.png", "ratios.svg"}
    # Another contest leaves this one, the same one again takes its place, elsewhere is elsewhere.
    page.write(rounds.assign(contest="another"), out, "a machine")
    page.write(rounds.assign(rate=7.0), out, "a machine")
    rates = pd.read_csv(out / "rates.csv").groupby("contest").rate.unique()
    assert {name: list(found) for name, found in rates.items()} == {
        contest.name: [7.0],
        "another": [5.0],
    }
    with pytest.raises(RequestError, match="was taken on a machine, this is mine: name another"):
        page.kept(out, "mine")
    (out / "rates.csv").write_text("what is this\n")
    with pytest.raises(RequestError, match="cannot be read: .* name another out="):
        page.kept(out, "a machine")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("photographs")
    random = np.random.default_rng(0)
    for number in range(6):
        shape = (300 + 10 * number, 420, 3) if number % 2 else (420, 300 + 10 * number, 3)
        coarse = Image.fromarray(random.integers(256, size=(8, 8, 3), dtype=np.uint8))
        coarse.resize(shape[1::-1]).save(made / f"{number}.jpg")
    return made


def test_every_contestant_makes_a_crop_of_each_photograph(folder: Path) -> None:
    for contest in jpeg.contests(folder, 5):
        assert contest.per_core
        done = {name: work() for name, work in contest.contestants.items()}
        assert done == dict.fromkeys(done, 5)
        assert len(done) == 5


def test_every_contestant_judges_the_images_of_many_shapes(folder: Path) -> None:
    for where in (folder, None):
        names = []
        for contest in dense.contests(where, 6, torch.device("cpu")):
            names.append(contest.name)
            done = {name: work() for name, work in contest.contestants.items()}
            cropped = done.pop("this suite, multi-crop")
            assert done == dict.fromkeys(done, 6)
            assert cropped == 1
        for side, name in zip((32, 48, 64), names, strict=True):
            assert f"smallest side {side}, 6 images" in name
    shapes = {tuple(image.shape) for image in dense.made_up(400, 73)}
    assert len(shapes) > 20


def test_the_store_made_up_for_timing_a_report_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(startup, "NETS", ("A",))
    startup.fifty_runs(tmp_path / "runs")
    assert len(finished(tmp_path / "runs")) == 10
    write([tmp_path / "runs"], tmp_path / "out")
    assert len(pd.read_csv(tmp_path / "out" / "results.csv").seed.unique()) == 10


def test_a_folder_without_photographs_is_refused_before_anything_is_measured(
    tmp_path: Path,
) -> None:
    for key in ("photos", "shapes"):
        with pytest.raises(RequestError, match="holds no image files: expected a folder of"):
            bench(read([f"{key}={tmp_path}", f"out={tmp_path / 'out'}"]))
    assert not (tmp_path / "out").exists()


def test_what_was_measured_stays_if_a_later_contest_breaks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def contests(*_: object) -> Iterator[measure.Contest]:
        yield measure.Contest("first", "images/s", {"ours": lambda: 1.0})
        raise RunError("the second one breaks")

    monkeypatch.setattr("repro.bench._contests", contests)
    with pytest.raises(RunError, match="second"):
        bench(read([f"out={tmp_path}", "rounds=2"]))
    assert len(pd.read_csv(tmp_path / "rates.csv")) == 2


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("only=jpeg", "only=jpeg needs photographs: photos=FOLDER says where they are"),
        ("shapes=nowhere", "shapes=nowhere is not there: expected a folder of images"),
        ("rounds=0", "rounds=0: expected a whole number from 1 to 1000"),
        ("rounds=\u00b2", "rounds=\u00b2: expected a whole number from 1 to 1000"),
        ("images=" + "9" * 5000, "9: expected a whole number from 1 to 1000000"),
        ("threads=2147483648", "threads=2147483648: expected a whole number from 1 to 1024"),
        ("photos=" + "x" * 5000, "x cannot be read: File name too long; name a folder of images"),
        ("out=" + "x" * 5000, "x cannot be written to: File name too long; name another folder"),
        ("out=/dev/null", "out=/dev/null cannot be written to: /dev/null is a file; name another"),
        ("only=" + "x" * 5000, "x is not known: choose from training,"),
        ("only=jazz", "only=jazz is not known: choose from training,"),
        ("fast", "fast: expected KEY=VALUE with one of only=,"),
    ],
)
def test_refused_in_one_line(word: str, says: str) -> None:
    with pytest.raises(RequestError) as refusal:
        read([word])
    assert says in str(refusal.value)
    assert len(str(refusal.value)) < 500


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_who_stops_it_gets_a_line(
    number: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("repro.bench.bench", lambda options: os.kill(os.getpid(), number))
    monkeypatch.setattr(sys, "argv", ["bench", f"out={tmp_path}"])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 75
    assert capsys.readouterr().err == "interrupted; contests that had ended are written\n"


def test_help_needs_no_torch() -> None:
    script = (
        "import sys; sys.argv[1:] = ['--help']; from repro import bench\n"
        "try: bench.main()\nexcept SystemExit: print('torch' in sys.modules)"
    )
    words = [sys.executable, "-c", script]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"
