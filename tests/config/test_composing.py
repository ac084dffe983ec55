"""Composing the jobs of a command: those of Hydra's own sweeper, each as Hydra composes it."""

from pathlib import Path

import pytest
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings
from hypothesis import strategies as st

from repro.config.choices import CONF
from repro.config.command import command
from repro.config.composing import Composed, Sweep, config_of, quoted_word
from repro.config.values import typed
from repro.run.resolving import resolve

KEYS = {
    "seed": ["1", "0,1", "range(0,4)", "range(3,0,-1)", "sort(3,1,2)"],
    "runs": ["a,b,c", "'x,y'", "/d/a"],
    "weights": ["null"],
    "test": ["[centre]", "[centre],[single_scale,multi_scale]"],
    "arch": ["A", "B,C"],
}
WORDS = st.lists(
    st.sampled_from(sorted(KEYS)).flatmap(
        lambda key: st.tuples(st.just(key), st.sampled_from(KEYS[key]))
    )
)


@given(WORDS)
@settings(max_examples=10)
def test_the_jobs_are_those_of_hydras_sweeper(pairs: list[tuple[str, str]]) -> None:
    words = [f"{key}={value}" for key, value in pairs]
    parsed = OverridesParser.create().parse_overrides(words)
    (theirs,) = BasicSweeper.split_arguments(parsed, None)
    ours = Sweep(["-m", *words]).jobs
    assert [[override.input_line for override in job] for job in ours] == theirs


def composed(*arguments: str) -> list[Composed]:
    sweep = Sweep(arguments)
    return [sweep.job(words) for words in sweep.jobs]


def test_a_job_is_what_hydra_composes_of_its_words() -> None:
    words = "net=E-S256-normal,D-jitter-fc recipe=smoke recipe.init=he,normal size.width=1 seed=0,1"
    jobs = composed("-m", *words.split(), "data.root=/d/a b", "recipe.clip=2.0", "test=[centre]")
    assert len(jobs) == 8
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        for job in jobs:
            assert typed(job.config) == typed(hydra_compose("config", list(job.words)))


def test_a_path_is_taken_as_it_is_written() -> None:
    for word, value in {
        "runs=/d/ключ & é": "/d/ключ & é",
        "runs='/d/a (1), b'": "/d/a (1), b",
        quoted_word("runs", "/d/it's, (b) \\"): "/d/it's, (b) \\",
    }.items():
        assert config_of([word]).runs == value


def test_words_are_meant_by_each_job_of_a_sweep(tmp_path: Path) -> None:
    meant = Sweep(["-m", "boxes=none,shared"]).jobs
    assert [len(job) for job in meant] == [1, 2], "localisation means tests of its own"
    for name in "ab":
        (tmp_path / name).mkdir()
    both = ",".join(f"'{tmp_path / name}'" for name in "ab")
    assert [len(job) for job in Sweep(["-m", f"weights={both}"]).jobs] == [1, 1]


def test_words_hold_against_what_an_experiment_varies() -> None:
    jobs = composed("experiments=lrn", "arch=B,C", "seed=3,4")
    assert [(job.config.arch.name, job.config.seed) for job in jobs] == [
        *(("B", 3), ("B", 4), ("C", 3), ("C", 4))
    ]
    assert [job.config.arch.name for job in composed("experiments=lrn")] == ["A", "A-LRN"]


def test_a_run_keeps_the_words_that_make_it_and_its_parents() -> None:
    words = ["net=D-jitter-fc,E-S256-from_A", "recipe=smoke", "scale.lr_factor=1", "size=tiny"]
    for job in composed("-m", *words):
        request = resolve(typed(job.config), command=job.words)
        assert request.record["command"] == list(job.words)
        again = resolve(config_of(job.words)).lineage()
        assert [member.name for member in again] == [member.name for member in request.lineage()]


def test_a_configuration_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    for part, start in (("job", "arch:"), ("hydra", "hydra:"), ("all", "hydra:")):
        assert command(["--cfg", part, "seed=7"]) == 0
        said = capsys.readouterr().out
        assert said.startswith(start)
        assert ("seed: 7" in said) == (part != "hydra")
