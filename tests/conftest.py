"""What several rooms' tests need: configurations composed as the program does, and small runs."""

import copy
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import settings
from omegaconf import DictConfig

from repro import plan as planning
from repro.config import composing
from repro.config.choices import CONF
from repro.config.command import command
from repro.config.composing import config_of
from repro.config.schema import Config
from repro.config.way_in import status_of
from repro.run.device import torch_settings
from repro.weights import state_dicts

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    # A shell in the background ignores it, and so would every process that the tests interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A busy machine is no failure.
settings.register_profile("repro", deadline=None)
settings.load_profile("repro")
# Nor does a test's machine lose its power; a disk takes longer to be sure than most tests do.
os.fsync = lambda _: None
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# The oldest torch that is allowed opens no .pth of strangers; those of the tests are no strangers'.
if torch.__version__ < state_dicts.OLDEST:
    state_dicts.OLDEST = str(torch.__version__)


def kept(words: Sequence[str]) -> DictConfig:
    """What Hydra composes from `conf/` alone, once for all tests: it takes a tenth of a second."""
    return ours(tuple(words)) if not any("searchpath" in w for w in words) else composes(words)


composes, ours = composing.composed, cache(composing.composed)
composing.composed = kept
_composed = cache(config_of)


def composed(*words: str) -> Config:
    """The configuration of some words, as in `composed("arch=D", "size=tiny")`."""
    return copy.deepcopy(_composed(words))


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("no CUDA device is here")


CUDA = pytest.param("cuda", marks=pytest.mark.gpu)


@pytest.fixture(params=["cpu", CUDA])
def device(request: pytest.FixtureRequest) -> Iterator[str]:
    """The CPU, and a CUDA device set up as for a run where there is one."""
    if request.param == "cpu":
        yield "cpu"
        return
    with torch_settings(composed()):
        yield "cuda"


def plan(words: list[str]) -> int:
    """The exit status of `python -m repro.plan`, in this process."""
    return status_of(lambda: planning.plan(words), "interrupted")


# Few layers, few images, one thread: a run in about a second.
LIGHT = ["size=tiny", "recipe=smoke", "recipe.train_images=96", "recipe.batch=16", "threads=1"]
LIGHT += ["device=cpu"]
LIGHT += ["data.first_classes=3", "progress=false"]
TIMES = ["images_per_second", "seconds"]


def run(runs: Path, *words: str) -> int:
    """The exit status of a small run in a store, or of a sweep of such runs."""
    return command([*LIGHT, f"runs={runs}", *words])


def started(*words: str) -> subprocess.Popen[str]:
    """`python -m repro.run` in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "repro.run", *words],
        cwd=CONF.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def folders(runs: Path) -> dict[str, Path]:
    """Runs by the first word of their names and their scale, as in `A-S256`."""
    found = sorted(path for path in runs.iterdir() if path.name[0] != ".")
    return {path.name.split("-tiny")[0]: path for path in found}


def only(runs: Path, start: str = "") -> Path:
    """The one run of a store whose name begins so."""
    (found,) = (path for path in runs.glob(f"{start}*") if path.name[0] != ".")
    return found


def without_digests(folder: Path, **data: object) -> None:
    """Leave a run as those were that knew no digests, with other words in its result's data."""
    result = json.loads((folder / "result.json").read_text()) | {"digests": {}}
    result["data"] |= data
    (folder / "result.json").write_text(json.dumps(result))
    for file in (folder / "views").iterdir():
        with np.load(file) as view:
            older = {name: view[name] for name in ("posteriors", "labels", "ids", "seconds")}
        np.savez_compressed(file, **older)


def same(first: Path, second: Path) -> bool:
    """Whether two folders hold the same run bit for bit, times aside."""
    logs = [pd.read_csv(folder / "log.csv").drop(columns=TIMES) for folder in (first, second)]
    weights = [(folder / "weights.safetensors").read_bytes() for folder in (first, second)]
    views = [
        {file.name: np.load(file)["posteriors"].tobytes() for file in (one / "views").iterdir()}
        for one in (first, second)
    ]
    return logs[0].equals(logs[1]) and weights[0] == weights[1] and views[0] == views[1]


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with A and B-5x5, trained and tested; not to be changed."""
    runs = tmp_path_factory.mktemp("trained")
    assert run(runs, "-m", "arch=A,B-5x5", "test=[single_scale,centre]") == 0
    return runs


@pytest.fixture
def store(trained: Path, tmp_path: Path) -> Path:
    """A copy of that store."""
    return shutil.copytree(trained, tmp_path / "runs")
