"""Bad input: status 2, one clear line, no traceback, no work begun, nothing left in the store."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from repro.config.choices import CONF
from repro.config.command import command
from tests.conftest import plan

LIGHT = ["size=tiny", "recipe=smoke", "recipe.train_images=64", "progress=false", "threads=1"]


@pytest.fixture
def nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    def work(*_: object) -> None:
        raise AssertionError("a run was started")

    monkeypatch.setattr("repro.run.job.perform", work)


def refusal(
    capsys: pytest.CaptureFixture[str], runs: Path, *words: str, lines: int | None = 1
) -> str:
    """What a refused command says; that it is refused as it should be."""
    before = sorted(runs.rglob("*"))
    assert command([*LIGHT, f"runs={runs}", *words]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    text = said.err.strip()
    assert "Traceback" not in text
    for noise in ("object_type", "full_key", "Config search path", "hydra.cc"):
        assert noise not in text
    if lines is not None:
        assert len(text.splitlines()) == lines, text
    assert sorted(runs.rglob("*")) == before
    return text


@pytest.mark.usefixtures("nothing_is_done")
@pytest.mark.parametrize(
    ("words", "says"),
    [
        # Words that are no configuration.
        ("foo=1", "foo is not known: choose from arch, scale,"),
        ("+foo=1", "foo is not known: choose from arch, scale,"),
        ("recipe.foo=1", "recipe.foo is not known: choose from name, batch, epochs,"),
        ("+recipe.foo=1", "recipe.foo is not known: choose from name, batch, epochs,"),
        ("arch", "arch cannot be read: expected KEY=VALUE"),
        ("recipe=smoke,", "recipe=smoke, cannot be read: expected KEY=VALUE"),
        ("=3", "=3 names no key: expected KEY=VALUE"),
        ("~arch", "missing mandatory value: arch"),
        ("--frobnicate", "unrecognized arguments: --frobnicate; --help says what there is"),
        ("--experimental-rerun x", "--experimental-rerun is refused: it unpickles a file"),
        ("--info", "unrecognized arguments: --info; --help says what there is"),
        ("--cfg job -m", "--cfg prints the configuration of one run: leave out -m"),
        ("--cfg job seed=0,1", "seed=0,1 are several values: --cfg prints one"),
        ("--resolve", "--package and --resolve say what --cfg prints: add --cfg job"),
        ("--cfg job --package x", "--package x: there is no such part"),
        ("--config-dir nowhere", "--config-dir nowhere: there is no such folder"),
        ("hydra=null", "hydra cannot be set: of Hydra's own settings, a request has hydra.mode"),
        ("runs=~/x", 'runs=~/x: the shell leaves ~ there as it is; write runs="$HOME"/x'),
        ("data.root=/d/a(b)", "as plain text it is quoted twice: \"data.root='/d/a(b)'\""),
        ("data=imagefolder data.root=/d/ключ", "data.root=/d/ключ is missing: expected a folder"),
        ("arch=Ä", "arch=Ä is not known: choose from A, A-BN"),
        ("hydra/launcher=joblob", "hydra/launcher=joblob is not known: choose from basic, joblib"),
        ("-m hydra/launcher=basic,joblib", "Hydra's own settings are those of the whole command"),
        ("-m seed=interval(0,1)", "expected values to run one after the other, as in seed=1,2"),
        ("-m seed=range(0,1000000000)", "a sweep of more than 10,000 runs: divide it"),
        # Choices.
        (
            "scale=256",
            "scale=256 is not known: choose from S224, S256, S256_on, S384, S384_on, jitter",
        ),
        (
            "-m scale=S256,384",
            "scale=384 is not known: choose from S224, S256, S256_on, S384, S384_on, jitter",
        ),
        (
            "-m experiments=depth,lrn",
            "experiments=depth,lrn: each experiment is a sweep of its own",
        ),
        ("data.on_bad_image=hide", "data.on_bad_image=hide is not known: choose from error, skip"),
        ("data.cache_side=512", "data.cache_side=512: the images of data=mnist5k are in memory"),
        ("data=caltech101 data.cache_side=0", "data.cache_side=0: expected a number above zero"),
        (
            "data=caltech101 data.cache_side=60 scale=jitter",
            "data.cache_side=60 is below S, which is up to 73 pixels: take 73 or more",
        ),
        ("recipe.resize=round", "recipe.resize=round is not known: choose from isotropic, square"),
        ("scale=S224", "Q=192 of test=multi_scale is 27 pixels"),
        ("arch=[A,B]", "arch=[A,B] names several choices for one run: a sweep is -m arch=A,B"),
        ("-m arch=[A,B]", "a sweep is -m arch=A,B"),
        ("arch=A,B", "arch=A,B are several values: add -m for a sweep"),
        ("seed=0,1", "seed=0,1 are several values: add -m for a sweep"),
        ("test=[quick]", "test=quick is not known: choose from single_scale,"),
        ("test=centre", "test=centre: expected a list, as in test=[single_scale,centre]"),
        ("test=[]", "test=[] tests nothing: choose from single_scale"),
        ("test=[[centre]]", "test=[['centre']]: expected a list of words"),
        ("test=[{a:1}]", "test=[{'a': 1}]: expected a list of words"),
        ("arch.fc=[[FC-classes]]", "arch.fc=[['FC-classes']]: expected a list of words"),
        ("runs=", "runs=: name one folder"),
        ("runs='a,b'", "runs=a,b: name one folder"),
        ("precision=int8", "precision=int8 is not known: choose from float32"),
        ("compile=fast", "compile=fast is not known: choose from none, default, reduce-overhead"),
        ("recipe.optimiser=lion", "recipe.optimiser=lion is not known: choose from sgd, adam"),
        ("recipe.schedule=cosine", "recipe.schedule=cosine is not known: choose from plateau"),
        ("micro_batch=0", "micro_batch=0: expected a number above zero, up to 1000000"),
        ("micro_batch=4 arch=A-BN", "micro_batch=4: arch=A-BN normalises by the batch"),
        ("micro_batch=4 compile=default", "micro_batch=4 does not go with compile=default"),
        ("micro_batch=4 compile=max-autotune", "micro_batch=4 does not go with compile="),
        ("channels_last=maybe", "channels_last=maybe is not known: choose from auto, true, false"),
        ("finetune=some", "finetune=some is not known: choose from all, fc"),
        ("arch.name=../../x", "arch.name=../../x: expected a letter"),
        ("size.name=a/b", "size.name=a/b: expected a letter"),
        ("recipe.name=", "recipe.name=: expected a letter"),
        ("arch.name=x+/../../out", "arch.name=x+/../../out: expected a letter, then letters"),
        ("scale.parent=../arch/A", "scale=../arch/A is not known: choose from S224"),
        ("init.copy_from=../size/tiny arch=B", "arch=../size/tiny is not known: choose from A"),
        # Types.
        ("seed=abc", "seed=abc: Value 'abc' of type 'str' could not be converted to Integer"),
        ("seed=null", "seed=null: field 'seed' is not Optional"),
        ("recipe.batch=32.5", "recipe.batch=32.5: Value '32.5' of type 'float' could not be"),
        ("recipe.epochs=[1,2]", "recipe.epochs=[1,2]: Value '[1, 2]' of type 'list'"),
        # Numbers.
        ("data.split=-1", "data.split=-1: expected zero or a number above it"),
        ("recipe.patience=-1", "recipe.patience=-1: expected zero or a number above it"),
        ("recipe.batch=0", "recipe.batch=0: expected a number above zero"),
        ("recipe.batch=-8", "recipe.batch=-8: expected a number above zero"),
        ("recipe.epochs=0", "recipe.epochs=0: expected a number above zero"),
        ("recipe.epochs=-1", "recipe.epochs=-1: expected a number above zero"),
        ("recipe.learning_rate=0", "recipe.learning_rate=0.0: expected a number above zero"),
        ("recipe.learning_rate=-1", "recipe.learning_rate=-1.0: expected a number above zero"),
        ("recipe.learning_rate=nan", "recipe.learning_rate=nan: expected a number above zero"),
        ("recipe.learning_rate=inf", "recipe.learning_rate=inf: expected a number above zero"),
        ("recipe.dropout=1", "recipe.dropout=1.0: expected zero or a number above it, below one"),
        ("recipe.train_images=0", "recipe.train_images=0: expected a number above zero"),
        ("seed=-1", "seed=-1: expected zero or a number above it"),
        ("seed=99999999999999", "seed=99999999999999: expected zero or a number above it, below"),
        ("threads=0", "threads=0: expected a number above zero"),
        ("workers=-1", "workers=-1: expected zero or a number above it"),
        ("checkpoint_seconds=0", "checkpoint_seconds=0.0: expected a number above zero"),
        ("threads=2147483648", "threads=2147483648: expected a number above zero, up to 1024"),
        ("workers=500", "workers=500: expected zero or a number above it, up to 256"),
        ("size.width=1e308", "size.width=1e+308: expected a number above zero, up to 8"),
        ("size.crop=100000", "size.crop=100000: expected a number above zero, up to 1024"),
        ("scale.smax=100000000", "scale.smax=100000000: expected a number above zero, up to 4096"),
        ("scale.smin=0", "scale.smin=0: expected a number above zero, up to 4096"),
        ("recipe.learning_rate=1e308", "recipe.learning_rate=1e+308: expected a number above"),
        ("seed=" + "1" * 5000, f"seed={'1' * 35}... cannot be read: the number is too long"),
        # Sweeps of nothing.
        ("-m seed=range(0,0)", "seed=range(0,0): there is no run in this sweep: a range or a glob"),
        ("-m arch=glob(Z*)", "arch=glob(Z*): there is no run in this sweep: a range or a glob is"),
        # Geometry.
        ("size.width=0.0001", "size.width=0.0001 leaves conv3-64 no channels"),
        (
            "size.crop=100",
            "size.crop=100 is not a multiple of 32, the step of size.poolings=5: take 96 or 128",
        ),
        ("size.crop=-32", "size.crop=-32: expected a number above zero"),
        ("scale.smin=200", "S=200 (scale.smin) is 29 pixels at size.crop=32, below the crop"),
        ("scale.smin=300", "scale.smin=300 is above scale.smax=256"),
        ("scale.smin=240 scale.smax=240", "Q=208 of test=multi_scale is 30 pixels at size.crop=32"),
        ("arch=alexnet", "arch=alexnet has no map left before its FC layers at size.crop=32"),
        ("arch.blocks=[[conv3-x]]", "'conv3-x' in block 1 of arch A is no layer"),
        ("arch.blocks=[]", "arch A needs at least one block and FC-classes"),
        # Data.
        ("data.classes=0", "data.classes=0: a classifier needs at least two classes"),
        ("data.classes=7", "data.classes=7, but data=mnist5k has 10: leave it out"),
        ("data.channels=3", "data.channels=3, but data=mnist5k has 1: leave it out"),
        ("data.holdout=0.9", "data.holdout=0.9: expected a share between 0 and 0.5"),
        # Starting points.
        ("finetune=fc", "finetune=fc needs a net to start from, and scale=S256 has no parent"),
        ("init=from_A arch=A", "init=from_A is not defined for arch=A: its layers go to A-LRN"),
        ("init=from_A arch=B-5x5", "init=from_A is not defined for arch=B-5x5"),
        # Here.
        ("device=tpu", "device=tpu is not on this machine: it has cpu"),
        ("device=cuda:99", "device=cuda:99 is not on this machine: it has cpu"),
        ("device=", "device= is not on this machine: it has cpu"),
    ],
)
def test_refused_in_one_line(
    words: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert says in refusal(capsys, tmp_path / "runs", *words.split())


@pytest.mark.usefixtures("nothing_is_done")
@pytest.mark.parametrize("words", [["arch=Z"], ["-m", "arch=A,Z"], ["arch="], ["-m", "arch=Z,A"]])
def test_unknown_choices_get_the_list(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "" if words == ["arch="] else "Z"
    text = refusal(capsys, tmp_path / "runs", *words)
    assert text.startswith(f"arch={name} is not known: choose from A, A-BN, A-LRN, B, ")


@pytest.mark.usefixtures("nothing_is_done")
def test_no_cuda(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    text = refusal(capsys, tmp_path / "runs", "device=cuda")
    assert text.startswith("device=cuda is not on this machine: it has cpu")


@pytest.mark.usefixtures("nothing_is_done")
def test_one_wrong_job_refuses_the_sweep(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "runs"
    text = refusal(capsys, runs, "-m", "arch=A,B,C", "recipe.batch=32,0")
    assert text == "recipe.batch=0: expected a number above zero, up to 1000000", (
        "said once, not for each net"
    )
    text = refusal(capsys, runs, "-m", "arch=A,alexnet,B")
    assert text.startswith("arch=alexnet has no map left")
    text = refusal(capsys, runs, "-m", "arch=A,B", "recipe.epochs=0,1,-2", lines=2)
    assert text.splitlines() == [
        "recipe.epochs=0: expected a number above zero, up to 1000000",
        "recipe.epochs=-2: expected a number above zero, up to 1000000",
    ]


@pytest.mark.usefixtures("nothing_is_done")
def test_options_may_stand_anywhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*LIGHT, f"runs={tmp_path / 'runs'}", "dry_run=true", "test=[centre]"]
    assert command([*words, "arch=A,B", "-m", "seed=0,1"]) == 0
    assert "4 runs in" in capsys.readouterr().out
    assert command(["arch=B", "--cfg", "job", "seed=7"]) == 0
    assert "seed: 7" in capsys.readouterr().out


# --- Hydra's own settings ------------------------------------------------------------------------

TARGET = "{_target_: pathlib.Path.touch, self: {_target_: pathlib.Path, _args_: ['PLANTED']}}"
"""What makes a file, wherever Hydra makes an object of it."""
FILES = {
    "callback": "callbacks: {x: TARGET}",
    "log": "job_logging: {version: 1, handlers: {x: {(): logging.FileHandler, filename: PLANTED}}}",
    "hydra_log": "hydra_logging: {handlers: {x: {(): logging.FileHandler, filename: PLANTED}}}",
    "environment": "job: {env_set: {PATH: PLANTED}}",
    "copied": "job: {env_copy: [NOT_IN_ANY_ENVIRONMENT]}",
    "launcher": "launcher: {_target_: pathlib.Path.cwd}",
    "sweeper": "sweeper: {_target_: pathlib.Path.touch, params: TARGET}",
    "params": "{mode: MULTIRUN, sweeper: {params: {seed: '0,1', _target_: pathlib.Path}}}",
    "swept": "{mode: MULTIRUN, sweeper: {params: {+hydra.job.env_set.PATH: PLANTED}}}",
    "folder": "output_subdir: PLANTED",
}


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    """A folder of someone's files, each of which would have Hydra do more than sweep."""
    folder = tmp_path / "theirs"
    (folder / "arch").mkdir(parents=True)
    for name, text in FILES.items():
        text = text.replace("TARGET", TARGET).replace("PLANTED", str(tmp_path / "planted"))
        text = f"# @package _global_\nhydra: {text if text[0] == '{' else '{' + text + '}'}\n"
        (folder / "arch" / f"{name}.yaml").write_text(text)
    (folder / "hydra" / "callbacks").mkdir(parents=True)
    (folder / "hydra" / "callbacks" / "x.yaml").write_text("x: {_target_: pathlib.Path}\n")
    (folder / "experiments").mkdir()
    (folder / "experiments" / "x.yaml").write_text(
        "# @package _global_\ndefaults: [override /hydra/callbacks: x]\n"
    )
    (folder / "experiments" / "mine.yaml").write_text(
        "# @package _global_\nhydra: {mode: MULTIRUN, sweeper: {params: {arch: 'mine,B'}}}\n"
    )
    mine = (CONF / "arch" / "A.yaml").read_text().replace("name: A", "name: mine")
    (folder / "arch" / "mine.yaml").write_text(mine)
    return folder


@pytest.mark.usefixtures("nothing_is_done")
@pytest.mark.parametrize("words", ["dry_run=true arch={}", "-m arch=A,{}", "--cfg hydra arch={}"])
@pytest.mark.parametrize("name", FILES)
def test_a_file_has_hydra_call_and_set_nothing(
    name: str, words: str, planted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if words[0] != "d" and name in ("params", "swept"):
        return  # Not of a job.
    given = ["--config-dir", str(planted), *words.format(name).split()]
    path = os.environ["PATH"]
    text = refusal(capsys, tmp_path / "runs", *given)
    assert text.startswith("hydra."), text
    assert " cannot be set: of Hydra's own settings, a request has hydra.mode, hydra.run" in text
    assert not (tmp_path / "planted").exists()
    assert os.environ["PATH"] == path


@pytest.mark.usefixtures("nothing_is_done")
@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("+hydra.callbacks.x._target_=pathlib.Path", "hydra.callbacks.x._target_ cannot be set"),
        ("+hydra.job.env_set.PATH=/tmp", "hydra.job.env_set.PATH cannot be set"),
        ("hydra.job.env_set={PATH:x}", "Could not override 'hydra.job.env_set'"),
        ("hydra.launcher._target_=pathlib.Path", "hydra.launcher._target_ cannot be set"),
        ("-m +hydra.launcher.x._target_=a.b", "hydra.launcher.x._target_ cannot be set"),
        ("+hydra.sweeper.params._target_=a.b", "words sweep by themselves, as in -m seed=0,1"),
        ("~hydra.launcher._target_", "hydra.launcher._target_"),
        ("hydra.verbose=true", "hydra.verbose cannot be set"),
        ("hydra.searchpath=[pkg://this]", "--config-dir names a folder of your own files"),
        ("--config-name x", "--config-path and --config-name are refused"),
        ("--config-path /tmp", "--config-path and --config-name are refused"),
        ("experiments=x", "hydra/callbacks=x is not the suite's own or Hydra's: leave it out"),
        ("hydra/job_logging=../x", "hydra/job_logging"),
        ("arch=../size/tiny", "arch=../size/tiny is not known: choose from A, A-BN"),
        ("-m arch=A,../size/tiny", "arch=../size/tiny is not known: choose from A, A-BN"),
    ],
)
def test_words_and_choices_have_hydra_call_and_set_nothing(
    words: str, says: str, planted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--config-dir", str(planted), "dry_run=true", *words.split()]
    assert says in refusal(capsys, tmp_path / "runs", *given, lines=None)


@pytest.mark.usefixtures("nothing_is_done")
def test_a_file_sets_no_value_of_a_launcher(
    planted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    (planted / "experiments" / "shell.yaml").write_text(
        "# @package _global_\ndefaults: [override /hydra/launcher: joblib]\n"
        "hydra: {launcher: {temp_folder: /theirs}}\n"
    )
    words = ["--config-dir", str(planted), "dry_run=true", "-m", "experiments=shell"]
    text = refusal(capsys, tmp_path / "runs", *words)
    assert text.startswith("hydra.launcher.temp_folder is set by a file: the launcher's own values")
    mine = f"hydra.launcher.temp_folder={tmp_path}"
    assert command([*LIGHT, f"runs={tmp_path / 'runs'}", *words, mine]) == 0


@pytest.mark.usefixtures("nothing_is_done")
def test_what_an_interpolation_brings_is_no_target(
    planted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (planted / "arch" / "brought.yaml").write_text(
        "# @package _global_\n"
        "hydra: {sweeper: {params: \"${oc.create:'{_target_: pathlib.Path}'}\"}}\n"
    )
    text = refusal(capsys, tmp_path / "runs", "--config-dir", str(planted), "arch=brought")
    assert text.startswith("hydra.sweeper.params._target_ cannot be set")


@pytest.mark.usefixtures("nothing_is_done")
def test_a_file_with_a_number_that_is_too_long(
    planted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (planted / "arch" / "long.yaml").write_text(f"# @package _global_\nseed: {'1' * 5000}\n")
    text = refusal(capsys, tmp_path / "runs", "--config-dir", str(planted), "arch=long")
    assert text.startswith(f"{planted / 'arch' / 'long.yaml'} cannot be read as settings: Exceeds")


@pytest.mark.usefixtures("nothing_is_done")
@pytest.mark.parametrize("jobs", [0, 100_000])
def test_a_number_of_jobs_that_cannot_be(
    jobs: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    words = ["-m", "seed=0,1", "hydra/launcher=joblib", f"hydra.launcher.n_jobs={jobs}"]
    text = refusal(capsys, tmp_path / "runs", *words)
    assert text.startswith(f"hydra.launcher.n_jobs={jobs}: expected how many runs at once")


@pytest.mark.usefixtures("nothing_is_done")
def test_torchruns_variables_that_are_no_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.setenv(name, "0")
    monkeypatch.setenv("WORLD_SIZE", "x")
    text = refusal(capsys, tmp_path / "runs")
    assert text == "WORLD_SIZE=x in the environment: torchrun sets it to a number"


@pytest.mark.usefixtures("nothing_is_done")
def test_a_plan_has_hydra_call_nothing(
    planted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert plan(["--config-dir", str(planted), "arch=callback", "tflops=1"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("hydra.callbacks.x._target_ cannot be set")
    assert not (tmp_path / "planted").exists()


@pytest.mark.usefixtures("nothing_is_done")
@pytest.mark.parametrize(
    "words",
    [
        "arch=mine",
        "-m arch=mine hydra/launcher=joblib hydra.launcher.n_jobs=3",
        "-m arch=mine hydra/launcher=joblib hydra.launcher.temp_folder=x",
        "-m arch=mine hydra.sweep.dir=x hydra.sweep.subdir=y",
        "arch=mine hydra.run.dir=x",
        "arch=mine hydra.mode=MULTIRUN seed=0,1",
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


# --- folders of images ---------------------------------------------------------------------------


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


@pytest.mark.usefixtures("nothing_is_done")
def test_folders_that_cannot_be_learned_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(words: list[str]) -> str:
        return refusal(capsys, tmp_path / "runs", *words)

    missing = tmp_path / "missing"
    text = refused(["data=imagefolder", f"data.root={missing}"])
    assert text == f"data.root={missing} is missing: expected a folder with train/CLASS/*"
    empty = tmp_path / "empty"
    (empty / "train").mkdir(parents=True)
    text = refused(["data=imagefolder", f"data.root={empty}"])
    assert text.startswith(f"{empty / 'train'} is empty: expected one subfolder per class")
    only = images(tmp_path / "only", train={"cat": 4, "dog": 4}, val={"cat": 2, "emu": 2})
    text = refused(only)
    assert f"{tmp_path}/only/val/emu is a class that the training images do not have" in text
    one = images(tmp_path / "one", train={"cat": 9})
    text = refused([*one, "data.verify=false"])
    assert text == f"{tmp_path}/one has one class: a classifier needs at least two"
    text = refused(["data=imagenet", f"data.root={missing}"])
    assert f"expects {missing}/train/n*/*.JPEG" in text


@pytest.mark.usefixtures("nothing_is_done")
def test_an_image_that_cannot_be_decoded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = images(tmp_path / "photos", train={"cat": 8, "dog": 8})
    broken = tmp_path / "photos" / "train" / "dog" / "3.png"
    broken.write_bytes(broken.read_bytes()[:100])
    text = refusal(capsys, tmp_path / "runs", *words)
    assert text.startswith(f"{broken} cannot be decoded: ")
    assert "repair or remove it, or leave such files out with data.on_bad_image=skip" in text


# --- the store -----------------------------------------------------------------------------------


@pytest.mark.usefixtures("nothing_is_done")
def test_a_store_that_cannot_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    for runs in (file, file / "deeper"):
        text = refusal(capsys, tmp_path, f"runs={runs}")
        assert text == f"runs={runs}: {file} is a file, name a folder"
    assert file.read_text() == "mine"
    text = refusal(capsys, tmp_path, f"runs={tmp_path}/{'x' * 300}")
    assert text.endswith("cannot be used: File name too long")
    # Without leases no run can be worked on.
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / ".locks").write_text("mine")
    text = refusal(capsys, tmp_path / "runs")
    assert text.startswith(f"{tmp_path}/runs/.locks cannot be written to: name a place of your own")
    # Root may write anywhere, so that permissions cannot be tried.
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    text = refusal(capsys, tmp_path)
    assert text == f"{tmp_path} cannot be written to: name a place of your own with runs="
    # The images are not decoded first.
    words = images(tmp_path / "photos", train={"cat": 8, "dog": 8})
    monkeypatch.setattr("repro.data.folders.decode", lambda *_: pytest.fail("decodes"))
    for skip in ([], ["data.on_bad_image=skip"]):
        text = refusal(capsys, tmp_path, *words, *skip)
        assert text.startswith(f"{tmp_path}/.cache cannot be written to: ")


@pytest.mark.usefixtures("nothing_is_done")
def test_more_changes_than_a_name_can_hold(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = ["epochs=3", "learning_rate=0.0123", "momentum=0.87", "weight_decay=0.00123"]
    changed += ["dropout=0.123", "warmup=17", "clip=12.5", "input_range=1", "colour_shift=0.25"]
    changed += ["schedule=plateau", "patience=7", "drops=2"]
    text = refusal(capsys, tmp_path / "runs", *(f"recipe.{word}" for word in changed))
    assert "too many values are changed for the name of a folder" in text


def _name(runs: Path, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert command([*LIGHT, f"runs={runs}", "dry_run=true", *words]) == 0
    return capsys.readouterr().out.partition(": new;")[0]


@pytest.mark.usefixtures("nothing_is_done")
def test_a_name_is_one_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = _name(tmp_path / "runs", capsys, "arch.pool=maxpool3/2")
    assert name.startswith("A+pool=maxpool3-2-S256-tiny")


@pytest.mark.usefixtures("nothing_is_done")
def test_a_folder_in_the_way_of_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = _name(tmp_path, capsys)
    place = tmp_path / name
    place.write_text("mine")
    assert refusal(capsys, tmp_path).startswith(f"{place} is a file where the folder of a run")
    place.unlink()
    place.mkdir()
    (place / "holiday.txt").write_text("mine")
    text = refusal(capsys, tmp_path)
    assert text == f"{place} holds files but no config.yaml: move the folder away"
    # A parent's folder is looked at too.
    text = refusal(capsys, tmp_path, "-m", "arch=B", "scale=S256,S384", "init=from_A")
    assert text == f"{place} holds files but no config.yaml: move the folder away"
    (place / "config.yaml").write_text("arch: [\nrecipe: }")
    text = refusal(capsys, tmp_path)
    assert text.startswith(f"{place}/config.yaml cannot be read as a run's configuration")


def test_an_empty_configuration_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["size=tiny", f"runs={tmp_path}", "dry_run=true"]
    assert command(words) == 0
    name = capsys.readouterr().out.partition(":")[0]
    (tmp_path / name).mkdir()
    (tmp_path / name / "config.yaml").touch()
    assert command(words) == 2
    said = capsys.readouterr().err
    assert said.endswith("it lacks 'record'; move the folder away\n")


def test_what_may_not_be_looked_into_is_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Who runs the tests may be allowed to look into anything.
    def refused(self: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "is_dir", refused)
    assert command(["size=tiny", f"runs={tmp_path / 'x'}", "dry_run=true"]) == 2
    assert capsys.readouterr().err.endswith(
        ": Permission denied; let this user read and write there\n"
    )


def test_a_configuration_that_contradicts_its_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command([*LIGHT, f"runs={tmp_path}", "test=[centre]"]) == 0
    (folder,) = (path for path in tmp_path.iterdir() if path.name[0] != ".")
    capsys.readouterr()
    text = (folder / "config.yaml").read_text()
    assert yaml.safe_load(text)["seed"] == 0
    (folder / "config.yaml").write_text(text.replace("seed: 0", "seed: 1"))
    said = refusal(capsys, tmp_path)
    assert said.startswith(f"{folder} contradicts its config.yaml, which belongs to ")
    assert said.endswith("move the folder away")
    (folder / "config.yaml").write_text(text)
    (folder / "result.json").write_text("{")
    said = refusal(capsys, tmp_path)
    assert said.startswith(f"{folder}/result.json is damaged: ")
    assert said.endswith("remove it to train again")


# --- the program ---------------------------------------------------------------------------------


def test_the_program_ends_with_2(tmp_path: Path) -> None:
    words = ["test=[centre]", "-m", "arch=A,B", "recipe.epochs=1,0"]
    done = subprocess.run(
        [sys.executable, "-m", "repro.run", *LIGHT, *words],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
    )
    says = "recipe.epochs=0: expected a number above zero, up to 1000000\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", says)
    assert list(tmp_path.iterdir()) == []


# --- folders that no system takes -----------------------------------------------------------------


@pytest.mark.usefixtures("nothing_is_done")
@pytest.mark.parametrize("name", ["imagefolder", "imagenet", "mnist", "tiny_imagenet"])
def test_a_root_of_images_that_cannot_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    for root in (f"{tmp_path}/{'x' * 300}", f"{tmp_path}/{'x/' * 3000}y"):
        text = refusal(capsys, tmp_path / "runs", f"data={name}", f"data.root={root}")
        assert text.startswith(str(tmp_path))
        assert text.endswith("cannot be looked at: File name too long")
    (tmp_path / "file").write_text("mine")
    root = f"{tmp_path}/file/deeper"
    text = refusal(capsys, tmp_path / "runs", f"data={name}", f"data.root={root}")
    assert root in text


@pytest.mark.usefixtures("nothing_is_done")
@pytest.mark.parametrize("skip", [[], ["data.on_bad_image=skip"]])
def test_a_folder_of_images_that_cannot_be_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], skip: list[str]
) -> None:
    words = [*images(tmp_path / "photos", train={"cat": 8, "dog": 8}), *skip]
    folder = tmp_path / "photos" / "train"
    (folder / "loop").symlink_to(folder / "loop")
    text = refusal(capsys, tmp_path / "runs", *words)
    assert text == f"{folder}/loop cannot be looked at: Too many levels of symbolic links"
    (folder / "loop").unlink()
    os.rename(os.fsencode(folder / "dog" / "3.png"), os.fsencode(folder / "dog") + b"/\xff.png")
    text = refusal(capsys, tmp_path / "runs", *words)
    assert text == f"{folder}/dog/\\xff.png has a name that is not UTF-8: rename it"


@pytest.mark.usefixtures("nothing_is_done")
@pytest.mark.parametrize("key", ["classes", "first_classes"])
def test_more_classes_than_there_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], key: str
) -> None:
    words = images(tmp_path / "photos", train={"cat": 8, "dog": 8})
    text = refusal(capsys, tmp_path / "runs", *words, f"data.{key}=100000000000")
    assert text == f"data.{key}=100000000000: expected a number up to 1000000"
