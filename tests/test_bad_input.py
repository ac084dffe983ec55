"""Bad input: status 2, one line that names the key, no traceback, no work, nothing left behind.

One case for each kind of refusal.
"""

import os
from pathlib import Path

import pytest

from repro.config.choices import CONF
from repro.config.command import command
from tests.conftest import plan
from tests.data.conftest import fill

LIGHT = ["size=tiny", "recipe=smoke", "recipe.train_images=64", "progress=false", "threads=1"]
LONG = "x" * 300


@pytest.fixture(autouse=True)
def nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    def work(*_: object) -> None:
        raise AssertionError("a run was started")

    monkeypatch.setattr("repro.run.performing.perform", work)


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
    assert text.isprintable(), "a terminal could be steered"
    assert sorted(runs.rglob("*")) == before
    return text


@pytest.mark.parametrize(
    ("words", "names"),
    [
        # Words and options.
        *(("foo=1", "foo"), ("+recipe.foo=1", "recipe.foo"), ("seed.x=1", "seed")),
        *(("arch", "KEY=VALUE"), ("=3", "KEY=VALUE"), ("~recipe.clip", "~recipe.clip")),
        *(("data.root=/d/a(b)", "quoted twice"), ("seed=" + "1" * 5000, "seed=1")),
        *(("runs=~/x", "$HOME"), ("--experimental-rerun x", "--experimental-rerun")),
        *(("--cfg job seed=0,1", "seed=0,1"), ("--config-dir nowhere", "nowhere")),
        # Hydra's own settings.
        *(("hydra=null", "hydra"), ("hydra.searchpath=[pkg://this]", "hydra.searchpath")),
        *(("+hydra.callbacks.x._target_=a.b", "hydra.callbacks"), ("hydra/sweeper=x", "sweeper")),
        *(("hydra/launcher=joblob", "joblib"), ("-m hydra/launcher=basic,joblib", "whole")),
        # Sweeps.
        *(("arch=A,B", "-m"), ("-m seed=interval(0,1)", "seed="), ("-m seed=range(0,0)", "seed=")),
        *(("-m seed=range(0,1000000000)", "10,000"), ("-m seed=range(0,5,0)", "seed=range")),
        *(("-m arch=glob(Z*)", "arch=glob"), ("-m experiments=depth,lrn", "experiments=depth,lrn")),
        # Choices.
        *(("arch=Z", "A-LRN"), ("-m arch=A,Z", "A-LRN"), ("arch=null", "A-LRN")),
        *(("scale=256", "S256"), ("arch=[A,B]", "arch"), ("arch=../arch/A", "arch")),
        ("arch=\x1b[31mA", "arch="),
        *((f"arch={LONG}", "A-LRN"), ("scale.parent=../arch/A", "S224"), ("test=[quick]", "quick")),
        # Types and numbers.
        *(("seed=abc", "seed=abc"), ("seed=null", "seed"), ("recipe.batch=32.5", "recipe.batch")),
        *(("test=centre", "test=centre"), ("test=[{a:1}]", "test"), ("dry_run=2", "dry_run=2")),
        *(("-m arch=A,B recipe.batch=9,0", "recipe.batch=0: "), ("recipe.clip=nan", "clip=nan")),
        *(("seed=-1", "seed=-1"), ("size.crop=100000", "size.crop"), ("test=[]", "test=[]")),
        # Words that do not go together.
        *(("runs=", "runs="), ("runs='a,b'", "comma"), ("arch.name=../../x", "arch.name")),
        *((f"recipe.name={LONG}", "name"), ("size.crop=100", "take 128"), ("device=tpu", "tpu")),
        *(("scale.smin=300", "scale.smin=300"), ("arch=alexnet", "alexnet"), ("init=from_A", "A")),
        *(("data.classes=7", "data.classes=7"), ("finetune=fc", "finetune=fc")),
        *(("data.first_classes=11", "first_classes=11"), ("data.holdout=nan", "holdout=nan")),
        *(("recipe.train_images=1", "train_images=1"), ("data.channels=2", "data.channels=2")),
        *(("arch.fc=[FC-0,FC-classes]", "FC-0"), ("arch.blocks=[[conv3-x]]", "conv3-x")),
        *(("recipe.init=${nothing}", "recipe.init="), ("recipe.clip=" + "1" * 400, "recipe.clip")),
        (f"weights={'x' * 300} data=cifar10", "shorter name"),
        ("weights=/dev/zero data=cifar10", "no regular file"),
        *(("boxes=null", "be it none"), ("-m dry_run=true,false", "dry_run=true,false")),
        ("recipe.train_images=4001", "train_images=4001: there are 4000"),
        ("data=cifar10 data.root=runs recipe.train_images=45001", "there are 45000"),
        *(("net=D-S384 arch=A", "net="), ("experiments=fusion arch=A", "net=")),
        ("runs=a`b", "runs="),
        ("micro_batch=4 arch=A-BN", "micro_batch=4"),
        ("precision=float64 test_precision=tf32", "test_precision=tf32"),
    ],
)  # fmt: skip
def test_refused_in_one_line(
    words: str, names: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert names in refusal(capsys, tmp_path / "runs", *words.split())


# --- files of strangers --------------------------------------------------------------------------

TARGET = "{_target_: pathlib.Path.touch, self: {_target_: pathlib.Path, _args_: ['PLANTED']}}"
"""What makes a file, wherever Hydra makes an object of it."""
SWEPT = "hydra: {mode: MULTIRUN, sweeper: {params: {+hydra.job.env_set.PATH: PLANTED}}}"
FILES = {
    "arch/callback": "hydra: {callbacks: {x: TARGET}}",
    "arch/launcher": "hydra: {launcher: TARGET}",
    "arch/sweeper": "hydra: {sweeper: {_target_: pathlib.Path.touch, params: {seed: 1}}}",
    "arch/swept": SWEPT,
    "arch/null": "hydra: null",
    "arch/chosen": "defaults: [override /hydra/callbacks: x]",
    "arch/placed": "defaults: [/size/tiny@hydra.launcher]",
    "arch/package": "# @package hydra.callbacks\nx: TARGET",
    "hydra/callbacks/x": "x: TARGET",
    "arch/secret": "data: {root: '${oc.env:SECRET}'}",
    "arch/escape": 'data: {root: "\\e[2J"}',
    "arch/itself": "defaults: [itself]",
    "arch/key": "recipe: {foo: 1}",
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_has_hydra_call_set_and_tell_nothing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "theirs" / f"{name}.yaml"
    file.parent.mkdir(parents=True)
    text = FILES[name].replace("TARGET", TARGET).replace("PLANTED", str(tmp_path / "planted"))
    file.write_text(f"# @package _global_\n{text}\n")
    monkeypatch.setenv("SECRET", "token")
    path, group = os.environ["PATH"], name.split("/")[0]
    given = ["--config-dir", str(tmp_path / "theirs")]
    given += [f"{group}={file.stem}"] * (group == "arch")
    for words in (["dry_run=true"], ["-m", "seed=0,1"]):
        assert "token" not in refusal(capsys, tmp_path / "runs", *given, *words)
    assert plan([*given, "tflops=1"]) == 2
    assert not (tmp_path / "planted").exists()
    assert os.environ["PATH"] == path


@pytest.mark.parametrize(
    "words", ["arch=mine -m hydra.sweep.dir=x", "experiments=mine", "-m arch=mine seed=0,1"]
)
def test_a_folder_of_ones_own_files_and_a_sweeps_settings_are_taken(
    words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own, swept = tmp_path / "own", "hydra: {mode: MULTIRUN, sweeper: {params: {arch: 'mine,B'}}}"
    mine = (CONF / "arch" / "A.yaml").read_text().replace("name: A", "name: mine")
    for group, text in {"arch": mine, "experiments": f"# @package _global_\n{swept}\n"}.items():
        (own / group).mkdir(parents=True)
        (own / group / "mine.yaml").write_text(text)
    given = [*LIGHT, "--config-dir", str(own), f"runs={tmp_path}", "dry_run=true"]
    assert command([*given, *words.split()]) == 0
    assert "mine-S256-tiny" in capsys.readouterr().out


def test_a_file_of_ones_own_takes_no_others_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("recipe/quick.yaml", "mine.yaml"):
        file = tmp_path / name.replace("/", "-") / name
        file.parent.mkdir(parents=True)
        file.write_text("epochs: 20\n")
        given = ["--config-dir", str(tmp_path / name.replace("/", "-"))]
        assert name in refusal(capsys, tmp_path / "runs", *given)


# --- folders -------------------------------------------------------------------------------------


def test_folders_that_cannot_be_learned_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("imagefolder", "imagenet"):
        for root in (tmp_path / "missing", tmp_path / LONG):
            words = [f"data={name}", f"data.root={root}"]
            assert str(root.parent) in refusal(capsys, tmp_path / "runs", *words)
    words = ["data=imagefolder", f"data.root={tmp_path / 'photos'}"]
    assert "data.in_memory" in refusal(capsys, tmp_path / "runs", *words, "data.on_device=true")
    fill(tmp_path / "photos", train={"cat": 9})
    assert "one class" in refusal(capsys, tmp_path / "runs", *words, "data.verify=false")
    fill(tmp_path / "photos", train={"dog": 9})
    broken = tmp_path / "photos" / "train" / "dog" / "3.png"
    broken.write_bytes(broken.read_bytes()[:50])
    assert str(broken) in refusal(capsys, tmp_path / "runs", *words)


def test_a_store_that_cannot_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "runs.zip").write_text("kept")
    for runs in ("file", "file/deeper", "link", "report", LONG):
        assert f"runs={tmp_path / runs}" in refusal(capsys, tmp_path, f"runs={tmp_path / runs}")
    # Root may write anywhere, so that permissions cannot be tried.
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert str(tmp_path) in refusal(capsys, tmp_path)


def test_a_folder_in_the_way_of_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command([*LIGHT, f"runs={tmp_path}", "dry_run=true"]) == 0
    place = tmp_path / capsys.readouterr().out.partition(":")[0]
    place.write_text("mine")
    assert str(place) in refusal(capsys, tmp_path)
    place.unlink()
    place.mkdir()
    (place / "holiday.txt").write_text("mine")
    # A parent's folder is looked at too.
    assert str(place) in refusal(capsys, tmp_path, "-m", "arch=B", "init=from_A")
    (place / "config.yaml").write_text("seed: 0\n")
    assert f"{place}/config.yaml" in refusal(capsys, tmp_path)
    place.rename(tmp_path / "elsewhere")
    lock = tmp_path / ".locks" / f"{place.name}.lock"
    lock.mkdir(parents=True)
    assert str(lock) in refusal(capsys, tmp_path)


def test_double_precision_is_refused_where_the_device_has_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: True)
    words = ["device=mps", "precision=float64", f"runs={tmp_path}", "dry_run=true"]
    assert command(words) == 2
    assert "precision=float64" in capsys.readouterr().err
