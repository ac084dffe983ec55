"""One file of runs: the same bytes from the same runs, and whole or not at all."""

import io
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from repro.errors import RequestError
from repro.report.admitted import folder_of_runs
from repro.store import archive, ranks
from repro.store.archive import ARCHIVE, opened, pack
from repro.store.expected import Expected, ListedImages
from repro.store.ranks import Kept

WIDER = Path(__file__).parents[2] / "reports" / "tiny_imagenet_wider" / ARCHIVE
Members = dict[str, bytes]


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A folder of runs with their ranks."""
    return shutil.copytree(opened(WIDER), tmp_path / "runs")


def files(folder: Path) -> Members:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_folder_gives_the_same_bytes_wherever_it_lies_and_comes_back(
    runs: Path, tmp_path: Path
) -> None:
    pack(runs, tmp_path / "one.zip")
    for path in (*runs.rglob("*"), runs):
        os.utime(path, times=(0, 0))
    pack(runs.rename(tmp_path / "elsewhere"), tmp_path / "other.zip")
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "other.zip").read_bytes()
    assert files(opened(tmp_path / "one.zip")) == files(tmp_path / "elsewhere")


def exchange(members: Members) -> None:
    one, other, *_ = [name for name in members if name.endswith(".npz")]
    members[one], members[other] = members[other], members[one]


def remove(end: str) -> Callable[[Members], object]:
    return lambda members: members.pop(next(name for name in members if name.endswith(end)))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (exchange, "npz: its content has another digest"),
        (remove("/config.yaml"), "config.yaml: it is missing"),
        (remove(".npz"), "npz: it is missing"),
        (lambda members: members.update({"A/more.csv": b""}), "manifest does not list it"),
    ],
)
def test_a_member_that_is_not_the_manifests_is_said_and_no_verdict_follows(
    damage: Callable[[Members], object],
    says: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with zipfile.ZipFile(WIDER) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    damage(members)
    with zipfile.ZipFile(tmp_path / ARCHIVE, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(RequestError, match="is not whole"):
        folder_of_runs(tmp_path)
    said = capsys.readouterr().err
    assert said.startswith(f"left out: {tmp_path / ARCHIVE}: ")
    assert says in said


def with_member(name: str) -> bytes:
    buffer = io.BytesIO(WIDER.read_bytes())
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr(name, b"")
    return buffer.getvalue()


LEAD_ELSEWHERE = ("../out", "/tmp/out", "a/b/c", "a/../b", ".hidden", "a\\b")


@pytest.mark.parametrize(
    "content", [b"PK", WIDER.read_bytes()[:-30], *map(with_member, LEAD_ELSEWHERE)]
)
def test_what_is_no_archive_or_leads_elsewhere_is_damage(content: bytes, tmp_path: Path) -> None:
    (tmp_path / ARCHIVE).write_bytes(content)
    with pytest.raises(RequestError, match="is damaged: "):
        opened(tmp_path / ARCHIVE)


def test_no_more_is_packed_than_can_be_opened(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "MOST", 3)
    with pytest.raises(RequestError, match="cannot be packed: it holds more than 3 files"):
        pack(runs, tmp_path / "x.zip")


def test_names_of_images_come_back_whatever_they_are(tmp_path: Path) -> None:
    names = ["a,b", "a\u2028b", "\x85", "x\r"]
    images = ListedImages.of(names, np.arange(4))
    ranks.write(tmp_path, Kept(9, images.short, "ab"), images)
    found = ranks.images(tmp_path, images.short)
    assert found is not None
    assert found.digest == images.digest


def test_ranks_of_another_net_are_not_those_of_its_run(tmp_path: Path) -> None:
    images = ListedImages.of(["a", "b"], np.arange(2))
    every = [Expected(2, 9, weights=letter * 64) for letter in "cd"]
    kept = Kept(9, images.short, "ab+cd", ranks.weights_of(every))
    ranks.write(tmp_path, kept, images)
    assert ranks.read(tmp_path, ["ab", "cd"], every) == kept
    with pytest.raises(RequestError, match="other weights"):
        ranks.read(tmp_path, ["ab", "cd"], every[::-1])


def test_ranks_of_another_run_or_a_link_are_not_packed(runs: Path, tmp_path: Path) -> None:
    one, other, *_ = sorted((runs / "ranks").glob("*.npz"))
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    with pytest.raises(RequestError, match="ranks of no run"):
        pack(runs, tmp_path / "x.zip")
    one.write_bytes(content)
    (runs / "crops.png").symlink_to("/etc/passwd")
    with pytest.raises(RequestError, match="cannot be packed"):
        pack(runs, tmp_path / "x.zip")
    assert not (tmp_path / "x.zip").exists()
