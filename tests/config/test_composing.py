"""Composing the runs of a command: once each, as Hydra's own sweeper would, resolved once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

from repro.config import composing, overrides
from repro.config.command import command
from repro.config.composing import Job, Sweep, shown
from repro.config.options import Options, read
from repro.errors import RequestError
from repro.protocol import protocols
from tests.conftest import plan
from tests.test_run import LIGHT, run

VALUES = st.sampled_from(
    [
        "1",
        "0,1",
        "a,b,c",
        "range(0,4)",
        "range(3,0,-1)",
        "[1,2],[3]",
        "sort(3,1,2)",
        "'x,y'",
        "null",
    ]
)
WORDS = st.lists(st.tuples(st.sampled_from(["seed", "runs", "+x.y", "data.root"]), VALUES))


@given(WORDS)
def test_the_jobs_are_those_of_hydras_sweeper(pairs: list[tuple[str, str]]) -> None:
    words = [f"{key}={value}" for key, value in pairs]
    parsed = OverridesParser.create().parse_overrides(words)
    (theirs,) = BasicSweeper.split_arguments(parsed, None)
    ours = overrides.Product(overrides.parse(words), lambda group: [])
    assert [list(job) for job in ours] == theirs
    assert ours.jobs == len(theirs)


@pytest.mark.parametrize(
    ("given", "value"),
    [
        ("runs=/d/with space", "/d/with space"),
        ("runs=/d/ключ", "/d/ключ"),
        ("runs=/d/a&b;c=d#e!^é", "/d/a&b;c=d#e!^é"),
        ("runs='/d/a (1), b'", "/d/a (1), b"),
        ("runs=/d/100%", "/d/100%"),
    ],
)
def test_a_path_is_taken_as_it_is_written(given: str, value: str) -> None:
    (job,) = Sweep(Options((given,))).jobs()
    assert isinstance(job, Job)
    assert job.config.runs == value


def composed(*arguments: str) -> list[Job]:
    jobs = list(Sweep(read(list(arguments))).jobs())
    assert all(isinstance(job, Job) for job in jobs)
    return [job for job in jobs if isinstance(job, Job)]


def test_words_hold_against_what_an_experiment_varies() -> None:
    jobs = composed("experiments=lrn", "arch=B,C", "seed=3,4")
    assert [(job.config.arch.name, job.config.seed) for job in jobs] == [
        *(("B", 3), ("B", 4), ("C", 3), ("C", 4))
    ]
    assert [job.config.arch.name for job in composed("experiments=lrn")] == ["A", "A-LRN"]


def test_a_glob_finds_ones_own_files_too(tmp_path: Path) -> None:
    (tmp_path / "size").mkdir()
    (tmp_path / "size" / "tiny2.yaml").write_text("defaults: [tiny, _self_]\nwidth: 0.02\n")
    jobs = composed("--config-dir", str(tmp_path), "-m", "size=glob(tiny*)")
    assert [job.config.size.width for job in jobs] == [0.0625, 0.02]


@pytest.fixture
def resolved(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the scales of what is resolved from now on."""
    check, names = protocols.check, []

    def counted(scale: Any, *rest: Any) -> None:
        names.append(scale.name)
        check(scale, *rest)

    monkeypatch.setattr(protocols, "check", counted)
    return names


def test_each_run_and_parent_is_composed_and_resolved_once(
    resolved: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compose, times = composing.compose, []

    def counted(*how: Any, **more: Any) -> Any:
        times.append(how)
        return compose(*how, **more)

    monkeypatch.setattr(composing, "compose", counted)
    composing._usual.cache_clear()
    assert run(tmp_path, "-m", "scale=S256,S384", "test=[centre]") == 0
    assert resolved == ["S256", "S384"]
    assert len(times) == 3, "each job, and the suite's own settings of Hydra's"
    resolved.clear()
    assert run(tmp_path, "-m", "arch=A,B", "scale=S384,jitter", "dry_run=true") == 0
    assert sorted(resolved) == ["S256", "S256", "S384", "S384", "jitter", "jitter"]


BROKEN = {
    "latin": b"# caf\xe9\n",
    "scalar": b"42\n",
    "deep": b"name: " + b"[" * 400 + b"]" * 400,
    "twice": b"name: x\nname: y\n",
    "itself": b"defaults: [itself]\nname: x\n",
    "ping": b"defaults: [pong]\nname: x\n",
    "pong": b"defaults: [ping]\nname: x\n",
    "bomb": b"a0: &a0 [1,2,3,4,5,6,7,8]\n"
    + b"".join(
        b"a%d: &a%d [%s]\n" % (n, n, b",".join([b"*a%d" % (n - 1)] * 9)) for n in range(1, 12)
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_of_ones_own_is_refused_in_a_line(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "recipe").mkdir()
    for stem, content in BROKEN.items():
        (tmp_path / "recipe" / f"{stem}.yaml").write_bytes(content)
    assert command(["--config-dir", str(tmp_path), "dry_run=true", f"recipe={name}"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.splitlines()) == 1
    assert "cannot be read as settings" in said.err or "build on each other" in said.err


def test_a_recipe_of_ones_own_runs_and_is_planned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "recipe").mkdir()
    (tmp_path / "recipe" / "mine.yaml").write_text(
        "# Mine\ndefaults: [smoke, _self_]\n\nname: mine\nmomentum: 0.8\n"
    )
    words = ["--config-dir", str(tmp_path), *LIGHT, "recipe=mine", "test=[centre]"]
    words.append(f"runs={tmp_path / 'runs'}")
    assert plan([*words, "tflops=1"]) == 0
    assert command(words) == 0
    assert plan([*words, "tflops=1"]) == 0
    assert "nothing is to be done: 1 finished" in capsys.readouterr().out


def test_a_configuration_is_shown_in_part() -> None:
    assert shown(read(["--cfg", "job", "--package", "seed", "seed=7"])) == "7"
    assert shown(read(["--cfg", "job", "--package", "scale"])).startswith("# @package scale\nname:")
    assert "init: ${recipe.init}" not in shown(read(["--cfg", "job", "--resolve"]))
    assert shown(read(["--cfg", "hydra"])).startswith("hydra:")
    with pytest.raises(RequestError, match="invalid choice: 'x'"):
        read(["--cfg", "x"])
