"""Damage to any file of a run is noticed: what it holds is left out, computed again or refused."""

import json
import os
import re
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from repro.config.command import command
from repro.errors import RequestError
from repro.protocol.protocols import View
from repro.report.write import write
from repro.store import views
from repro.store.archive import ARCHIVE, opened
from repro.store.checks import check_config
from repro.store.runs import check_folder, digest_of, finished, log_content, read_result
from repro.store.views import Posteriors
from tests.conftest import composed, only, without_digests

WORDS = ["size=tiny", "recipe=smoke", "recipe.train_images=64", "progress=false", "threads=1"]
CENTRE = View("centre", 256, mirrored=False)
PLAIN, BOTH = ["test=[centre]"], ["test=[centre,single_scale]"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("digests") / "runs"
    assert command([*WORDS, *PLAIN, f"runs={store}"]) == 0
    return store


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    """The folder of a run, tested by its centre crops, in a store of its own."""
    store = shutil.copytree(made, tmp_path / "runs")
    return only(store)


def result_of(folder: Path) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return result


def put(folder: Path, result: dict[str, Any]) -> None:
    """Write a result with its own digest, where it has any."""
    if "digests" in result:
        result["digests"]["result"] = digest_of(result)
    (folder / "result.json").write_text(json.dumps(result))


def test_a_run_says_what_its_weights_and_test_images_are(run: Path) -> None:
    weights = sha256((run / "weights.safetensors").read_bytes()).hexdigest()
    with np.load(views.path(run, CENTRE)) as view:
        rows = sorted(zip(view["ids"].tolist(), view["labels"].tolist(), strict=True))
        assert view["weights"] == weights
    listed = "id,label\n" + "".join(f"{name},{label}\n" for name, label in rows)
    digests = result_of(run)["digests"]
    assert digests.pop("result")
    assert digests == {
        "weights": weights,
        "test_images": sha256(listed.encode()).hexdigest(),
        "log": sha256((run / "log.csv").read_bytes()).hexdigest(),
    }


@pytest.mark.parametrize("words", [BOTH, [*PLAIN, "scale=S384"]])
def test_weights_with_a_flipped_bit_are_neither_tested_nor_started_from(
    words: list[str], run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = run / "weights.safetensors"
    content = bytearray(file.read_bytes())
    content[-100] ^= 1
    file.write_bytes(content)
    assert command([*WORDS, *words, f"runs={run.parent}"]) == 1
    assert f"{file} is damaged: " in capsys.readouterr().err
    assert [path.name for path in run.parent.glob("*/views/*")] == ["centre-Q256.npz"]
    shutil.rmtree(run)
    assert command([*WORDS, *words, f"runs={run.parent}"]) == 0, "what it says to do helps"


@pytest.mark.parametrize("older", [False, True])
def test_a_view_of_other_images_is_left_out_and_computed_again(
    older: bool, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (whole,) = finished(run.parent)
    file, good = views.path(run, CENTRE), views.read(run, CENTRE, whole.tested)
    weights = result_of(run)["digests"]["weights"]
    if older:
        without_digests(run)
    wrong = Posteriors(good.posteriors, (good.labels + 1) % 10, good.ids)
    file.write_bytes(views.encode(wrong, weights, CENTRE.name))
    capsys.readouterr()
    write([run.parent], run.parents[1] / "report")
    assert (f"left out: {file} is damaged: " in capsys.readouterr().err) != older
    numbers = (run.parents[1] / "report" / "results.csv").read_text().splitlines()
    assert (len(numbers) > 1) == older, "where the data is not at hand"
    assert command([*WORDS, *BOTH, f"runs={run.parent}"]) == 0
    assert f"{file} is damaged: " in capsys.readouterr().err
    (whole,) = finished(run.parent)
    again = views.read(run, CENTRE, whole.tested)
    assert np.array_equal(again.posteriors, good.posteriors)
    assert np.array_equal(again.labels, good.labels)


def test_a_run_from_before_there_were_digests_is_tested_further_and_one_of_other_images_not(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = result_of(run)
    without_digests(run)
    content = views.path(run, CENTRE).read_bytes()
    write([run.parent], run.parents[1] / "report")
    assert command([*WORDS, *BOTH, f"runs={run.parent}"]) == 0
    assert "left out" not in capsys.readouterr().err
    assert views.path(run, CENTRE).read_bytes() == content
    result["digests"]["test_images"] = "0" * 64
    put(run, result)
    assert command([*WORDS, *BOTH, f"runs={run.parent}"]) == 1
    assert "other test images" in capsys.readouterr().err


def test_what_binds_a_view_to_its_run_is_asked_for(run: Path) -> None:
    (found,), dense = finished(run.parent), View("dense", 256, mirrored=False)
    (run / "log.csv").write_bytes(log_content(found).replace(b"0.", b"1."))
    assert log_content(found) is None
    good = views.read(run, CENTRE, found.tested)
    weights = result_of(run)["digests"]["weights"]
    shutil.copy(views.path(run, CENTRE), views.path(run, dense))
    with pytest.raises(views.Absent, match="another view"):
        views.read(run, dense, found.tested)
    for content, why in (
        (views.encode(good, weights), "which view it is"),
        (views.encode(good, "0" * 64, CENTRE.name), "this run's weights"),
    ):
        views.path(run, CENTRE).write_bytes(content)
        with pytest.raises(views.Absent, match=why):
            views.read(run, CENTRE, found.tested)
    assert views.missing(run, [CENTRE, dense], found.tested) == [CENTRE, dense]


@pytest.mark.skipif(os.name == "nt", reason="there are no pipes in folders")
def test_pipes_and_links_are_neither_waited_for_nor_published(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = run.parents[1] / "report"
    for name in ("log.csv", "crops.png"):
        (run / name).unlink()
    os.mkfifo(run / "log.csv")
    (run / "crops.png").symlink_to("/etc/passwd")
    write([run.parent], report, archive=True)
    assert f"left out: {run / 'log.csv'}" in capsys.readouterr().err
    kept = {path.name for path in opened(report / ARCHIVE).glob("*/*")}
    assert "config.yaml" in kept
    assert not {"log.csv", "crops.png"} & kept
    (run / "config.yaml").rename(run.parents[1] / "elsewhere")
    (run / "config.yaml").symlink_to(run.parents[1] / "elsewhere")
    with pytest.raises(RequestError, match="config.yaml is a link"):
        write([run.parent], run.parents[1] / "other", archive=True)


def replaces(name: str, old: str, new: str) -> Callable[[Path], object]:
    return lambda run: (run / name).write_text((run / name).read_text().replace(old, new))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (replaces("result.json", '"reason": "', '"reason": "x'), "another digest"),
        (lambda run: (run / "result.json").write_text("[" * 100_000), "result.json is damaged"),
        (replaces("config.yaml", "seed: 0", "seed: 1"), "contradicts its config.yaml"),
        (replaces("config.yaml", "device: auto", "device: ${oc.env:HOME}"), "device="),
        (replaces("config.yaml", "arch:", "arch: ["), "cannot be read"),
        (lambda run: (run / "config.yaml").unlink(), "no config.yaml"),
    ],
)
def test_a_folder_that_is_not_what_the_run_left_is_refused_in_a_line(
    damage: Callable[[Path], object], says: str, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(run)
    with pytest.raises(RequestError, match=says) as caught:
        check_folder(run)
    assert len(str(caught.value).splitlines()) == 1
    assert finished(run.parent) == []
    assert "left out: " in capsys.readouterr().err


def test_a_file_and_a_folder_in_each_others_place_are_named(run: Path) -> None:
    shutil.rmtree(run / "views")
    (run / "views").touch()
    with pytest.raises(RequestError, match="views is a file"):
        check_folder(run)
    (run / "crops.png").unlink()
    (run / "crops.png").mkdir()
    with pytest.raises(RequestError, match="crops.png is a folder"):
        check_folder(run)


def test_a_folder_that_was_renamed_is_not_damaged(run: Path) -> None:
    with pytest.raises(RequestError, match=f"belongs to {re.escape(run.name)}: give the folder"):
        read_result(run.rename(run.with_name("latest")))


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"identity": "=1+1"}, "identity"),
        ({"identity": "9876543210"}, "belongs to"),
        ({"outcome": "published"}, "published"),
        ({"epochs": True}, "epochs"),
        ({"validation_error": float("nan")}, "validation_error"),
        ({"seconds": 10**400}, "seconds"),
        ({"data": None}, "data"),
        ({"data": {"mean": "grey"}}, "it lacks data.train"),
        ({"digests": {"weights": "="}}, "digests.weights"),
        ({"environment": {}}, "environment.git_dirty"),
        ({"environment": {"git_dirty": None, "cpu": "@a"}}, "environment.cpu"),
    ],
)
def test_a_result_that_no_run_writes_is_refused(
    change: dict[str, Any], key: str, run: Path
) -> None:
    (run / "result.json").write_text(json.dumps(result_of(run) | change))
    with pytest.raises(RequestError, match="result.json is damaged: ") as caught:
        read_result(run)
    assert key in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("path", "value"),
    [("arch.name", "x+<img src=x>"), ("arch.pool", "a b"), ("size.width", float("nan"))],
)
def test_what_no_run_was_started_with(path: str, value: Any) -> None:
    config = composed("data.root=/my photos")
    check_config(config)
    group, key = path.split(".")
    setattr(getattr(config, group), key, value)
    with pytest.raises((RequestError, ValueError), match=f"{path}="):
        check_config(config)
