"""Damage that no format notices: weights and views are those that the run left, or are not used."""

from __future__ import annotations

import json
import os
import shutil
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from repro.config.command import command
from repro.errors import RequestError
from repro.protocol.protocols import View
from repro.report.write import write
from repro.store import views
from repro.store.archive import ARCHIVE, opened
from repro.store.runs import digest_of, finished, read_log
from repro.store.views import Posteriors

WORDS = ["size=tiny", "recipe=smoke", "recipe.train_images=64", "progress=false", "threads=1"]
CENTRE = View("centre", 256, mirrored=False)
PLAIN = ["test=[centre]"]
BOTH = ["test=[centre,single_scale]"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("digests") / "runs"
    assert command([*WORDS, *PLAIN, f"runs={store}"]) == 0
    return store


@pytest.fixture
def store(made: Path, tmp_path: Path) -> Path:
    """A store with a run of its own, tested by its centre crops."""
    return shutil.copytree(made, tmp_path / "runs")


def folder_of(store: Path) -> Path:
    (folder,) = (path for path in store.iterdir() if path.name[0] != ".")
    return folder


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-100] ^= 1
    file.write_bytes(content)


def without_digests(folder: Path) -> None:
    """As a run was that was made before there were any."""
    result = json.loads((folder / "result.json").read_text())
    del result["digests"]
    (folder / "result.json").write_text(json.dumps(result))
    file = views.path(folder, CENTRE)
    with np.load(file) as stored:
        older = {name: stored[name] for name in ("posteriors", "labels", "ids", "seconds")}
    np.savez_compressed(file, **older)


def test_a_run_says_what_its_weights_and_test_images_are(store: Path) -> None:
    folder = folder_of(store)
    digests = json.loads((folder / "result.json").read_text())["digests"]
    weights = sha256((folder / "weights.safetensors").read_bytes()).hexdigest()
    with np.load(views.path(folder, CENTRE)) as view:
        rows = sorted(zip(view["ids"].tolist(), view["labels"].tolist(), strict=True))
        assert view["weights"] == weights
    listed = "id,label\n" + "".join(f"{name},{label}\n" for name, label in rows)
    assert digests.pop("result")
    assert digests == {
        "weights": weights,
        "test_images": sha256(listed.encode()).hexdigest(),
        "log": sha256((folder / "log.csv").read_bytes()).hexdigest(),
    }


@pytest.mark.parametrize("words", [BOTH, [*PLAIN, "scale=S384"]])
def test_weights_with_a_flipped_bit_are_neither_tested_nor_started_from(
    words: list[str], store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = folder_of(store)
    flip(folder / "weights.safetensors")
    before = {path.name for path in (folder / "views").iterdir()}
    assert command([*WORDS, *words, f"runs={store}"]) == 1
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("failed: ")]
    (line,) = said
    assert f"{folder}/weights.safetensors is damaged: its digest is not the one in" in line
    assert line.endswith(f"remove the folder {folder} to train again")
    assert {path.name for path in (folder / "views").iterdir()} == before
    for other in (path for path in store.iterdir() if path.name[0] != "." and path != folder):
        assert {path.name for path in other.iterdir()} <= {"config.yaml", "failed.json"}
    shutil.rmtree(folder)
    assert command([*WORDS, *words, f"runs={store}"]) == 0, "what it says to do helps"


@pytest.mark.parametrize("damage", ["labels", "weights"])
def test_a_view_that_is_not_of_the_run_is_computed_again(
    damage: str, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = folder_of(store)
    file, good = views.path(folder, CENTRE), views.read(folder, CENTRE)
    assert good is not None
    weights = sha256((folder / "weights.safetensors").read_bytes()).hexdigest()
    values, labels, ids = good.posteriors, good.labels, good.ids
    wrong = {
        "labels": Posteriors(values, (labels + 1) % 10, ids),
        "weights": good,
    }[damage]
    file.write_bytes(views.encode(wrong, "0" * 64 if damage == "weights" else weights, CENTRE.name))
    capsys.readouterr()
    write([store], store.parent / "report")
    said = capsys.readouterr().err
    assert said.startswith(f"left out: {file} is damaged: ")
    assert len(said.splitlines()) == 1
    assert len((store.parent / "report" / "results.csv").read_text().splitlines()) == 1
    assert command([*WORDS, *PLAIN, f"runs={store}"]) == 0
    assert f"{file} is damaged: " in capsys.readouterr().err
    again = views.read(folder, CENTRE)
    assert again is not None
    assert np.array_equal(again.posteriors, values)
    assert np.array_equal(again.labels, labels)


def test_a_run_from_before_there_were_digests_is_read_and_tested_further(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = folder_of(store)
    without_digests(folder)
    content = views.path(folder, CENTRE).read_bytes()
    write([store], store.parent / "report")
    assert command([*WORDS, *BOTH, f"runs={store}"]) == 0
    assert "left out" not in capsys.readouterr().err
    assert views.path(folder, CENTRE).read_bytes() == content


def test_where_the_data_is_at_hand_an_older_view_is_compared_with_it(store: Path) -> None:
    folder = folder_of(store)
    good = views.read(folder, CENTRE)
    assert good is not None
    without_digests(folder)
    wrong = Posteriors(good.posteriors, (good.labels + 1) % 10, good.ids)
    views.path(folder, CENTRE).write_bytes(views.encode(wrong))
    assert command([*WORDS, *BOTH, f"runs={store}"]) == 0
    again = views.read(folder, CENTRE)
    assert again is not None
    assert np.array_equal(again.labels, good.labels)


def test_a_run_that_was_tested_on_other_images_is_not_tested_on_these(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = folder_of(store)
    result = json.loads((folder / "result.json").read_text())
    result["digests"]["test_images"] = "0" * 64
    result["digests"]["result"] = digest_of(result)
    (folder / "result.json").write_text(json.dumps(result))
    assert command([*WORDS, *BOTH, f"runs={store}"]) == 1
    assert "result.json was written beside other test images than data=mnist5k" in (
        capsys.readouterr().err
    )


def test_views_exchanged_within_a_run_or_without_a_digest_are_not_believed(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = folder_of(store)
    dense = View("dense", 256, mirrored=False)
    shutil.copy(views.path(folder, CENTRE), views.path(folder, dense))
    with np.load(views.path(folder, CENTRE)) as stored:
        older = {name: stored[name] for name in stored if name not in ("digest", "view")}
    np.savez_compressed(views.path(folder, CENTRE), **older)
    (run,) = finished(store)
    assert views.missing(folder, [CENTRE, dense], run.tested) == [CENTRE, dense]
    with pytest.raises(views.Damaged, match="another view under this one's name"):
        views.read(folder, dense, run.tested)
    with pytest.raises(views.Damaged, match="no digest"):
        views.read(folder, CENTRE, run.tested)


def test_another_log_and_an_edited_result_are_known(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = folder_of(store)
    (run,) = finished(store)
    log = folder / "log.csv"
    assert read_log(run) == log.read_bytes()
    log.write_bytes(log.read_bytes().replace(b"0.", b"1."))
    assert read_log(run) is None
    result = json.loads((folder / "result.json").read_text())
    (folder / "result.json").write_text(json.dumps(result | {"seconds": 0.5}))
    assert finished(store) == []
    assert f"{folder / 'result.json'} is damaged" in capsys.readouterr().err


@pytest.mark.skipif(os.name == "nt", reason="there are no pipes in folders")
def test_pipes_and_links_are_neither_waited_for_nor_published(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, report = folder_of(store), store.parent / "report"
    for name in ("log.csv", "crops.png"):
        (folder / name).unlink()
    os.mkfifo(folder / "log.csv")
    (folder / "crops.png").symlink_to("/etc/passwd")
    write([store], report, archive=True)
    assert f"left out: {folder / 'log.csv'}" in capsys.readouterr().err
    kept = {path.name for path in opened(report / ARCHIVE).glob("*/*")}
    assert "config.yaml" in kept
    assert not {"log.csv", "crops.png"} & kept
    (folder / "config.yaml").rename(store.parent / "elsewhere")
    (folder / "config.yaml").symlink_to(store.parent / "elsewhere")
    with pytest.raises(RequestError, match="config.yaml is a link"):
        write([store], store.parent / "other", archive=True)
