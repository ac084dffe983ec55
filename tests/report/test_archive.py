"""What a report keeps of its runs: the same report follows from it, without weights and views."""

from __future__ import annotations

import csv
import re
import shlex
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from repro.config.command import compose
from repro.errors import RequestError
from repro.report.write import write
from repro.run.request import resolve
from repro.store import runs as store
from repro.store import views
from repro.store.archive import ARCHIVE, opened
from tests.golden_store import golden_runs, texts
from tests.report.conftest import MakeRun

FUSED = "A-S256+B-S256"


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of the golden store, with what it is made from."""
    out = tmp_path_factory.mktemp("archive") / "report"
    write([golden_runs()], out, [FUSED], archive=True)
    return out


def test_the_report_follows_from_what_it_keeps(kept: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(kept / ARCHIVE) as archive:
        suffixes = {name.rpartition(".")[2] for name in archive.namelist()}
    assert suffixes == {"json", "yaml", "csv", "npz", "txt"}
    elsewhere = shutil.copytree(kept, tmp_path / "elsewhere")
    write([elsewhere], tmp_path / "again", [FUSED])
    assert texts(tmp_path / "again") == texts(elsewhere)
    # The views give the same numbers, so nothing was lost on the way.
    write([golden_runs()], tmp_path / "views", [FUSED])
    for name in ("results.csv", "claims.csv"):
        assert (tmp_path / "views" / name).read_bytes() == (kept / name).read_bytes()


def test_errors_follow_from_ranks_alone(kept: Path) -> None:
    results, runs = pd.read_csv(kept / "results.csv", dtype={"run": str}), opened(kept / ARCHIVE)
    assert results.protocol.str.startswith("fusion:").any()
    for row in results.to_dict("records"):
        protocol = row["protocol"].removeprefix("fusion:")
        with np.load(runs / "ranks" / f"{row['run']}.npz") as ranks:
            found = ranks[f"{protocol}@{row['Q']}"]
            (listed,) = (runs / "ranks").glob(f"images-{ranks['images']}.csv")
        k = {"top1_error": 1, "top5_error": 5}[row["metric"]]
        assert row["value"] == pytest.approx(100 * (found >= k).mean(), abs=1e-4)
        assert len(list(csv.DictReader(listed.open()))) == len(found)


def test_ranks_are_those_of_the_stored_posteriors(kept: Path) -> None:
    for run in [one for one in store.finished(golden_runs()) if one.config.scale.name == "S256"]:
        with np.load(run.folder / "views" / "centre-Q256.npz") as view:
            order = np.argsort(view["ids"])
            posteriors, labels = view["posteriors"][order], view["labels"][order]
        # The embedded digits are not mirrored, so this view is all of the protocol.
        places = (-posteriors).argsort(axis=1, kind="stable").argsort(axis=1)
        with np.load(opened(kept / ARCHIVE) / "ranks" / f"{run.identity}.npz") as ranks:
            assert (ranks["centre@256"] == places[np.arange(len(labels)), labels]).all()


def test_what_is_kept_is_not_lost(kept: Path, tmp_path: Path) -> None:
    mine = shutil.copytree(kept, tmp_path / "mine")
    with pytest.raises(RequestError, match="would be lost"):
        write([mine], mine)
    half = tmp_path / "half"
    for folder in sorted(golden_runs().glob("A-*")):
        shutil.copytree(folder, half / folder.name)
    with pytest.raises(RequestError, match=r"mine keeps B-\S+, which would be lost"):
        write([half], mine, archive=True)
    assert texts(mine) == texts(kept)
    # A store that lost runs, and what was kept of them earlier.
    write([half, mine], mine, [FUSED], archive=True)
    assert texts(mine) == texts(kept)


def test_a_run_that_stands_in_several_stores_counts_once(kept: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(golden_runs(), tmp_path / "copied")
    first, second, *_ = sorted(path for path in copied.iterdir() if path.name.startswith("B-"))
    for folder in (first, second):
        (folder / "result.json").unlink()
    unfinished = first.rename(copied / first.name.replace("B-", "E-", 1))
    write([kept, golden_runs(), copied, copied], tmp_path / "report", [FUSED])
    for name in ("results.csv", "claims.csv"):
        assert (tmp_path / "report" / name).read_bytes() == (kept / name).read_bytes()
    # What no store has finished is said once; what another one has finished is not said.
    page = (tmp_path / "report" / "comparison.md").read_text()
    assert page.count(unfinished.name) == 1
    assert page.count("interrupted: the same command") == 1


def test_each_view_is_checked_once(
    make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "runs" / make_run("arch=A")
    checked, check = [], views._check

    def counted(*arguments: Any) -> None:
        checked.append(arguments)
        check(*arguments)

    monkeypatch.setattr(views, "_check", counted)
    write([tmp_path / "runs"], tmp_path / "report", archive=True)
    assert len(checked) == len(list((folder / "views").glob("*.npz")))


def test_damaged_ranks_are_said_and_left_out(
    kept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = shutil.copytree(opened(kept / ARCHIVE), tmp_path / "mine")
    file = next((mine / "ranks").glob("*.npz"))
    file.write_bytes(file.read_bytes()[:-40])
    write([mine], tmp_path / "out")
    said = capsys.readouterr().err
    assert re.fullmatch(f"left out: {re.escape(str(file))} is damaged: .*\n", said)
    numbers = (tmp_path / "out" / "results.csv").read_text().splitlines()
    own = [line for line in numbers if line.endswith(f",{file.stem}")]
    assert not own
    assert len(numbers) < len((kept / "results.csv").read_text().splitlines())


def test_the_commands_of_the_runs_are_kept(tmp_path: Path, make_run: MakeRun) -> None:
    names = {make_run("arch=A", "seed=0"), make_run("arch=B", "seed=1", "threads=1")}
    write([tmp_path / "runs"], tmp_path / "first", archive=True)
    write([tmp_path / "first"], tmp_path / "again", archive=True)
    lines = (opened(tmp_path / "again" / ARCHIVE) / "commands.txt").read_text().splitlines()
    asked = [compose(shlex.split(line)[3:], resolve) for line in lines]
    assert {request.name for requests in asked for request in requests} == names
