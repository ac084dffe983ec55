"""Bad input: status 2, one line that names the key, no traceback, no work, nothing left behind.

One case for each kind of refusal.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from repro.config.choices import CONF
from repro.config.command import command
from tests.conftest import plan

LIGHT = ["size=tiny", "recipe=smoke", "recipe.train_images=64", "progress=false", "threads=1"]
LONG = "x" * 300


@pytest.fixture(autouse=True)
def nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    def work(*_: object) -> None:
        raise AssertionError("a run was started")

    monkeypatch.setattr("repro.run.job.perform", work)


def refusal(capsys: pytest.CaptureFixture[str], runs: Path, *words: str) -> str:
    """The line of a refused command; that it is refused as it should be."""
    before = sorted(runs.rglob("*"))
    assert command([*LIGHT, f"runs={runs}", *words]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    text = said.err.strip()
    for noise in ("Traceback", "object_type", "full_key", "Config search path", "hydra.cc"):
        assert noise not in text
    assert len(text.splitlines()) == 1, text
    assert sorted(runs.rglob("*")) == before
    return text


@pytest.mark.parametrize(
    ("words", "names"),
    [
        # Words and options.
        *(("foo=1", "foo"), ("+recipe.foo=1", "recipe.foo"), ("seed.x=1", "seed.x")),
        *(("arch", "KEY=VALUE"), ("=3", "no key"), ("recipe=smoke,", "recipe=smoke,")),
        *(("~arch", "~arch"), ("~recipe.clip", "recipe.clip=null"), ("runs=~/x", "$HOME")),
        *(("data.root=/d/a(b)", "quoted twice"), ("seed=" + "1" * 5000, "too long")),
        *(("--frobnicate", "--frobnicate"), ("--experimental-rerun x", "--experimental-rerun")),
        *(("--info", "--cfg all"), ("--shell-completion", "--help"), ("--config-name x", "conf/")),
        *(("--cfg job -m", "-m"), ("--cfg job seed=0,1", "seed=0,1"), ("--resolve", "--cfg job")),
        *(("--cfg job --package ../x", "../x"), ("--config-dir nowhere", "nowhere")),
        # Hydra's own settings.
        *(("hydra=null", "hydra"), ("hydra.verbose=true", "hydra.verbose")),
        *(("hydra.searchpath=[pkg://this]", "hydra.searchpath"), ("hydra/sweeper=x", "sweeper")),
        *(("+hydra.callbacks.x._target_=a.b", "hydra.callbacks"), ("hydra.launcher.x=1", "x")),
        *(("hydra/launcher=joblob", "joblib"), ("-m hydra/launcher=basic,joblib", "whole")),
        # Sweeps.
        *(("arch=A,B", "-m"), ("-m seed=interval(0,1)", "seed=1,2"), ("-m seed=range(0,0)", "")),
        *(("-m seed=range(0,1000000000)", "10,000"), ("-m seed=range(0,5,0)", "seed=range")),
        *(("-m arch=glob(Z*)", "arch=glob"), ("-m experiments=depth,lrn", "experiments=depth,lrn")),
        # Choices.
        *(("arch=Z", "A-LRN"), ("-m arch=A,Z", "A-LRN"), ("arch=", "A-LRN"), ("arch=Ä", "A-LRN")),
        *(("scale=256", "S256"), ("arch=[A,B]", "-m arch=A,B"), ("arch=../size/tiny", "A-LRN")),
        *((f"arch={LONG}", "A-LRN"), ("scale.parent=../arch/A", "S224"), ("test=[quick]", "quick")),
        # Types and numbers.
        *(("seed=abc", "seed=abc"), ("seed=null", "seed"), ("recipe.batch=32.5", "recipe.batch")),
        *(("test=centre", "test=centre"), ("test=[{a:1}]", "test"), ("dry_run=2", "dry_run=2")),
        *(("recipe.batch=0", "recipe.batch=0"), ("recipe.learning_rate=nan", "learning_rate=nan")),
        *(("seed=-1", "seed=-1"), ("size.crop=100000", "size.crop"), ("test=[]", "test=[]")),
        # Words that do not go together.
        *(("runs=", "runs="), ("runs='a,b'", "comma"), ("arch.name=../../x", "arch.name")),
        *((f"recipe.name={LONG}", "name"), ("size.crop=100", "96 or 128"), ("device=tpu", "tpu")),
        *(("scale.smin=300", "scale.smin=300"), ("arch=alexnet", "alexnet"), ("init=from_A", "A")),
        *(("data.classes=7", "data.classes=7"), ("finetune=fc", "finetune=fc")),
        *(("arch.fc=[FC-0,FC-classes]", "FC-0"), ("arch.blocks=[[conv3-0]]", "conv3-0")),
        *(("arch.blocks=[[conv3-x]]", "conv3-x"), ("micro_batch=4 arch=A-BN", "micro_batch=4")),
    ],
)  # fmt: skip
def test_refused_in_one_line(
    words: str, names: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert names in refusal(capsys, tmp_path / "runs", *words.split())


def test_one_wrong_job_refuses_the_sweep_and_is_named_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = refusal(capsys, tmp_path / "runs", "-m", "arch=A,B,C", "recipe.batch=32,0")
    assert text.startswith("recipe.batch=0: ")


def test_options_may_stand_anywhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*LIGHT, f"runs={tmp_path / 'runs'}", "dry_run=true", "test=[centre]"]
    assert command([*words, "arch=A,B", "-m", "seed=0,1"]) == 0
    assert "4 runs in" in capsys.readouterr().out


@pytest.mark.parametrize("key", ["n_jobs=0", "n_jobs=100000", "batch_size=-1", "temp_folder=/x/y"])
def test_a_launchers_value_that_cannot_be(
    key: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    words = ["-m", "seed=0,1", "hydra/launcher=joblib", f"hydra.launcher.{key}"]
    assert f"hydra.launcher.{key}" in refusal(capsys, tmp_path / "runs", *words)


def test_hydra_full_error_adds_the_traceback(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "repro.run", "arch=Z"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1]), "HYDRA_FULL_ERROR": "1"},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Traceback")
    assert done.stderr.splitlines()[-1].startswith("arch=Z is not known")
    assert list(tmp_path.iterdir()) == []


# --- files of strangers --------------------------------------------------------------------------

TARGET = "{_target_: pathlib.Path.touch, self: {_target_: pathlib.Path, _args_: ['PLANTED']}}"
"""What makes a file, wherever Hydra makes an object of it."""
FILES = {
    "callback": "hydra: {callbacks: {x: TARGET}}",
    "log": "hydra: {job_logging: {handlers: {x: {(): logging.FileHandler, filename: PLANTED}}}}",
    "environment": "hydra: {job: {env_set: {PATH: PLANTED}}}",
    "copied": "hydra: {job: {env_copy: [SECRET]}}",
    "launcher": "hydra: {launcher: TARGET}",
    "sweeper": "hydra: {sweeper: {_target_: pathlib.Path.touch, params: {seed: 1}}}",
    "swept": "hydra: {mode: MULTIRUN, sweeper: {params: {+hydra.job.env_set.PATH: PLANTED}}}",
    "null": "hydra: null",
    "chosen": "defaults: [override /hydra/callbacks: x]",
    "placed": "defaults: [/size/tiny@hydra.launcher]",
    "secret": "data: {root: '${oc.env:SECRET}'}",
    "chain": "data: {root: '" + "${runs}" * 3000 + "'}",
    "escape": 'data: {root: "\\e[2J"}',
    "list": "defaults: 3",
    "itself": "defaults: [itself]",
    "key": "recipe: {foo: 1}",
    "type": "seed: abc",
}


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of someone's files, each of which would have Hydra do more than compose."""
    folder = tmp_path / "theirs"
    for group in ("arch", "experiments", "hydra/callbacks"):
        (folder / group).mkdir(parents=True)
    for name, text in FILES.items():
        text = text.replace("TARGET", TARGET).replace("PLANTED", str(tmp_path / "planted"))
        (folder / "arch" / f"{name}.yaml").write_text(f"# @package _global_\n{text}\n")
    (folder / "arch" / "package.yaml").write_text(f"# @package hydra.callbacks\nx: {TARGET}\n")
    (folder / "hydra" / "callbacks" / "x.yaml").write_text("x: {_target_: pathlib.Path}\n")
    (folder / "experiments" / "mine.yaml").write_text(
        "# @package _global_\nhydra: {mode: MULTIRUN, sweeper: {params: {arch: 'mine,B'}}}\n"
    )
    mine = (CONF / "arch" / "A.yaml").read_text().replace("name: A", "name: mine")
    (folder / "arch" / "mine.yaml").write_text(mine)
    monkeypatch.setenv("SECRET", "token")
    return folder


@pytest.mark.parametrize("name", [*FILES, "package"])
def test_a_file_has_hydra_call_set_and_tell_nothing(
    name: str, planted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, given = os.environ["PATH"], ["--config-dir", str(planted)]
    for words in (["dry_run=true", f"arch={name}"], ["-m", f"arch=A,{name}"]):
        if name != "swept" or words[0] != "-m":
            assert "token" not in refusal(capsys, tmp_path / "runs", *given, *words)
    assert plan([*given, f"arch={name}", "tflops=1"]) == 2
    assert not (tmp_path / "planted").exists()
    assert os.environ["PATH"] == path


@pytest.mark.parametrize(
    "words",
    [
        "arch=mine",
        "-m arch=mine hydra/launcher=joblib hydra.launcher.n_jobs=3",
        "-m arch=mine hydra.sweep.dir=x hydra.sweep.subdir=y",
        "arch=mine hydra.mode=MULTIRUN seed=0,1 hydra.run.dir=x",
        "experiments=mine",
    ],
)
def test_a_folder_of_ones_own_files_and_a_sweeps_settings_are_taken(
    words: str, planted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if "joblib" in words:
        pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    given = ["--config-dir", str(planted), "dry_run=true", *words.split()]
    assert command([*LIGHT, f"runs={tmp_path / 'runs'}", *given]) == 0
    assert "mine-S256-tiny" in capsys.readouterr().out


# --- folders -------------------------------------------------------------------------------------


def images(root: Path, **sets: dict[str, int]) -> list[str]:
    """Make root/SET/CLASS/N.png; the words that name the folder."""
    random = np.random.default_rng(0)
    for part, classes in sets.items():
        for name, count in classes.items():
            (root / part / name).mkdir(parents=True)
            for n in range(count):
                noise = random.integers(0, 256, (20, 24, 3), dtype=np.uint8)
                Image.fromarray(noise).save(root / part / name / f"{n}.png")
    return ["data=imagefolder", f"data.root={root}"]


def test_folders_that_cannot_be_learned_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("imagefolder", "imagenet"):
        for root in (tmp_path / "missing", tmp_path / LONG):
            words = [f"data={name}", f"data.root={root}"]
            assert str(root.parent) in refusal(capsys, tmp_path / "runs", *words)
    one = images(tmp_path / "one", train={"cat": 9})
    assert "one class" in refusal(capsys, tmp_path / "runs", *one, "data.verify=false")
    words = images(tmp_path / "photos", train={"cat": 8, "dog": 8})
    broken = tmp_path / "photos" / "train" / "dog" / "3.png"
    broken.write_bytes(broken.read_bytes()[:100])
    assert str(broken) in refusal(capsys, tmp_path / "runs", *words)


def test_a_store_that_cannot_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    for runs in (file, file / "deeper", tmp_path / LONG):
        assert f"runs={runs}" in refusal(capsys, tmp_path, f"runs={runs}")
    assert file.read_text() == "mine"
    # Without leases no run can be worked on.
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / ".locks").write_text("mine")
    assert "runs/.locks" in refusal(capsys, tmp_path / "runs")
    # Root may write anywhere, so that permissions cannot be tried.
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert str(tmp_path) in refusal(capsys, tmp_path)

    def forbidden(self: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "is_dir", forbidden)
    assert command([*LIGHT, f"runs={tmp_path}", "dry_run=true"]) == 2
    assert "Permission denied" in capsys.readouterr().err


def test_a_folder_in_the_way_of_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command([*LIGHT, f"runs={tmp_path}", "dry_run=true"]) == 0
    place = tmp_path / capsys.readouterr().out.partition(":")[0]
    place.write_text("mine")
    assert str(place) in refusal(capsys, tmp_path)
    place.unlink()
    place.mkdir()
    (place / "holiday.txt").write_text("mine")
    assert str(place) in refusal(capsys, tmp_path)
    # A parent's folder is looked at too.
    assert str(place) in refusal(capsys, tmp_path, "-m", "arch=B", "init=from_A")
    for content in ("arch: [\nrecipe: }", "", "seed: 0\n"):
        (place / "config.yaml").write_text(content)
        assert f"{place}/config.yaml" in refusal(capsys, tmp_path)


def test_torchruns_variables_that_are_no_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.setenv(name, "0")
    monkeypatch.setenv("WORLD_SIZE", "x")
    assert "WORLD_SIZE=x" in refusal(capsys, tmp_path / "runs")
