"""What a report keeps of its runs: the same report follows from it, without weights and views."""

import csv
import shlex
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from repro.errors import RequestError
from repro.report import figure
from repro.report.write import write
from repro.store import runs as store
from repro.store.archive import ARCHIVE, opened
from tests.conftest import composed
from tests.golden_store import golden_runs, texts
from tests.report.conftest import MakeRun

FUSED = "A-S256+B-S256"
REPORTS = Path(__file__).parents[2] / "reports"


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of the golden store, with what it is made from."""
    out = tmp_path_factory.mktemp("archive") / "report"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figure, "png", lambda chart: b"PNG")
        write([golden_runs()], out, [FUSED], archive=True)
    return out


def test_the_report_follows_from_what_it_keeps(kept: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(kept / ARCHIVE) as archive:
        suffixes = {name.rpartition(".")[2] for name in archive.namelist()}
    assert suffixes == {"json", "yaml", "csv", "npz", "txt"}
    elsewhere = shutil.copytree(kept, tmp_path / "elsewhere")
    write([elsewhere], tmp_path / "again", [FUSED])
    assert texts(tmp_path / "again") == texts(elsewhere)
    # Runs of several stores count once; the views give the same numbers as the ranks.
    write([golden_runs(), kept], tmp_path / "views", [FUSED])
    for name in ("results.csv", "claims.csv"):
        assert (tmp_path / "views" / name).read_bytes() == (kept / name).read_bytes()


def test_errors_follow_from_ranks_and_ranks_from_posteriors(kept: Path) -> None:
    results, runs = pd.read_csv(kept / "results.csv", dtype={"run": str}), opened(kept / ARCHIVE)
    assert results.protocol.str.startswith("fusion:").any()
    for row in results.to_dict("records"):
        with np.load(runs / "ranks" / f"{row['run']}.npz") as ranks:
            found = ranks[f"{row['protocol'].removeprefix('fusion:')}@{row['Q']}"]
            (listed,) = (runs / "ranks").glob(f"images-{ranks['images']}.csv")
        k = {"top1_error": 1, "top5_error": 5}[row["metric"]]
        assert row["value"] == pytest.approx(100 * (found >= k).mean(), abs=1e-4)
        assert len(list(csv.DictReader(listed.open()))) == len(found)
    for run in [one for one in store.finished(golden_runs()) if one.config.scale.name == "S256"]:
        with np.load(run.folder / "views" / "centre-Q256.npz") as view:
            order = np.argsort(view["ids"])
            posteriors, labels = view["posteriors"][order], view["labels"][order]
        # The embedded digits are not mirrored, so this view is all of the protocol.
        places = (-posteriors).argsort(axis=1, kind="stable").argsort(axis=1)
        with np.load(runs / "ranks" / f"{run.identity}.npz") as ranks:
            assert (ranks["centre@256"] == places[np.arange(len(labels)), labels]).all()


def test_nothing_that_is_kept_is_lost(kept: Path, tmp_path: Path) -> None:
    mine = shutil.copytree(kept, tmp_path / "mine")
    with pytest.raises(RequestError, match="archive=true"):
        write([mine], mine)
    half = tmp_path / "half"
    for folder in sorted(golden_runs().glob("A-*")):
        shutil.copytree(folder, half / folder.name)
    with pytest.raises(RequestError, match=r"mine keeps B-\S+"):
        write([half], mine, archive=True)
    assert texts(mine) == texts(kept)
    # The views are gone, whose ranks are kept.
    bare = shutil.copytree(golden_runs(), tmp_path / "bare")
    for view in bare.glob("*/views/*.npz"):
        view.unlink()
    with pytest.raises(RequestError, match=r"mine keeps \S+ of A-"):
        write([bare], mine, archive=True)
    assert texts(mine) == texts(kept)
    # A store that lost runs, and what was kept of them earlier; so is the ensemble.
    write([mine, half], mine, archive=True)
    assert texts(mine) == texts(kept)
    # A process was killed amid putting another in its place.
    mine.rename(tmp_path / ".mine.old-0a1b")
    with pytest.raises(RequestError, match=r"mine keeps B-\S+"):
        write([half], mine, archive=True)
    assert texts(mine) == texts(kept)


def test_an_archive_that_a_killed_report_moved_aside_is_not_removed(
    kept: Path, tmp_path: Path
) -> None:
    aside = shutil.copytree(kept, tmp_path / ".mine.old-0a1b")
    mine = shutil.copytree(kept, tmp_path / "mine", ignore=shutil.ignore_patterns(ARCHIVE))
    with pytest.raises(RequestError, match="old-0a1b is of a report that was killed and keeps A-"):
        write([golden_runs()], mine)
    assert texts(aside) == texts(kept)
    # Where it is the only one, a report of itself puts it back first.
    shutil.rmtree(mine)
    write([mine], mine, [FUSED], archive=True)
    assert texts(mine) == texts(kept)


@pytest.mark.parametrize("name", ["tiny_imagenet_wider", "boxes"])
def test_a_report_is_made_again_in_its_own_place(name: str, tmp_path: Path) -> None:
    mine = shutil.copytree(REPORTS / name, tmp_path / "mine")
    write([mine], mine, archive=True)
    assert texts(mine) == texts(REPORTS / name)


def test_the_commands_of_the_runs_are_kept(tmp_path: Path, make_run: MakeRun) -> None:
    make_run("arch=A", "seed=0")
    make_run("arch=B", "seed=1", "threads=1")
    (tmp_path / "runs" / "commands.txt").write_bytes(b"\xff'\n")
    write([tmp_path / "runs"], tmp_path / "first", archive=True)
    write([tmp_path / "first"], tmp_path / "again", archive=True)
    runs = opened(tmp_path / "again" / ARCHIVE)
    lines = (runs / "commands.txt").read_text().splitlines()
    asked = [composed(*shlex.split(line)[3:]) for line in lines]
    found = {(config.arch.name, config.seed, config.threads) for config in asked}
    assert {("B", 1, 1)} < found
    assert {arch for arch, _, _ in found} == {"A", "B"}


def test_an_archive_says_nothing_of_folders(tmp_path: Path, make_run: MakeRun) -> None:
    root = tmp_path / "home" / "images"
    make_run("arch=A", f"++data.root={root}")
    assert str(root) in next(tmp_path.glob("runs/*/config.yaml")).read_text()
    write([tmp_path / "runs"], tmp_path / "out", archive=True)
    with zipfile.ZipFile(tmp_path / "out" / ARCHIVE) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    assert not [name for name, content in members.items() if str(tmp_path).encode() in content]
    assert str(tmp_path) not in texts(tmp_path / "out")["comparison.md"]
    # What a result says of itself stays bound to it.
    write([tmp_path / "out"], tmp_path / "again")
    assert texts(tmp_path / "again") == texts(tmp_path / "out")
