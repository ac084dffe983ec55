"""The reader of `conf/` against Hydra's own, and what it refuses."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path

import pytest

from repro.config import choices
from repro.config.choices import CONF
from repro.config.composing import Sweep
from repro.config.options import Options
from repro.config.schema import Config, typed
from repro.errors import RequestError
from repro.store.identity import GROUPS
from tests.conftest import Compose

EVERY = [(group, name) for group in GROUPS for name in choices.names(group)]


@pytest.fixture
def conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of conf/ to put files of one's own into."""
    monkeypatch.setattr(choices, "CONF", shutil.copytree(CONF, tmp_path / "conf"))
    return tmp_path / "conf"


def test_each_file_holds_what_hydra_finds_in_it(compose: Compose) -> None:
    for group, name in EVERY:
        found = asdict(compose(f"{group}={name}"))[group]
        said = {k: v for k, v in choices.choice(group, name).items() if "${" not in str(v)}
        assert said.items() <= found.items(), (group, name)


@pytest.mark.parametrize("group", ["net", "experiments"])
def test_each_file_chooses_what_hydra_has_it_choose(group: str) -> None:
    for name in choices.names(group):
        chosen = choices.read(group, name).chosen
        config = Sweep(Options((f"{group}={name}",))).config
        assert chosen.items() <= dict(config.hydra.runtime.choices).items(), name


@pytest.mark.parametrize(
    "defaults",
    [
        "[quick]",
        "[quick, _self_]",
        "[_self_, quick]",
        "[paper, _self_, quick]",
        "[photos, _self_]",
        '["/recipe/quick@_here_"]',
    ],
)
def test_a_list_of_defaults_means_what_it_means_to_hydra(defaults: str, conf: Path) -> None:
    own = conf.parent / "own" / "recipe"
    own.mkdir(parents=True)
    for folder in (own, conf / "recipe"):
        (folder / "mine.yaml").write_text(
            f"defaults: {defaults}\nname: mine\nlearning_rate: 1e-3\nepochs: 99\n"
        )
    (job,) = Sweep(Options(("recipe=mine",), config_dir=own.parent)).jobs()
    assert not isinstance(job, RequestError)
    config: Config = typed(job.config)
    hydras = asdict(config.recipe)
    said = choices.choice("recipe", "mine")
    assert said.items() <= hydras.items()
    assert hydras["epochs"] == (6 if defaults.endswith("quick]") and "_self_" in defaults else 99)


def test_experiments_say_what_they_vary() -> None:
    assert choices.read("experiments", "lrn").swept == {"arch": ["A", "A-LRN"]}
    assert choices.read("recipe", "quick").swept == {}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"name: caf\xe9\n", "it is not written in UTF-8"),
        (b"42\n", "expected lines of KEY: VALUE"),
        (b"name: " + b"[" * 400 + b"]" * 400, "it is nested more than 20 deep, or names itself"),
        (b"name: &a [*a]\n", "it is nested more than 20 deep, or names itself"),
        (b"#" * 1_000_001, "it has more than 1,000,000 bytes"),
        (b"name: x\n  batch: 3\n", "mapping values are not allowed here"),
        (b"seed: " + b"1" * 5000, "Exceeds the limit"),
        (
            b"a0: &a0 [1,2,3,4,5,6,7,8]\n"
            + b"".join(b"a%d: &a%d [%s]\n" % (n, n, b",".join([b"*a%d" % (n - 1)] * 9))
                       for n in range(1, 12)),
            "its aliases stand for more than 100,000 values",
        ),
        (
            b"a0: &a0 {x: 1, y: 2}\n"
            + b"".join(b"a%d: &a%d {<<: [%s]}\n" % (n, n, b",".join([b"*a%d" % (n - 1)] * 9))
                       for n in range(1, 12)),
            "its aliases stand for more than 100,000 values",
        ),
        (b"defaults: 3\n", "its defaults are no list"),
        (b"defaults: [mine]\n", "builds on itself"),
        (b"defaults: [other]\n", "builds on itself"),
        (b"defaults: [quikc]\n", "builds on quikc, which is not there"),
        (b"defaults: [../size/tiny]\n", "builds on ../size/tiny, which is not there"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_in_a_line(text: bytes, says: str, conf: Path) -> None:
    (conf / "recipe" / "mine.yaml").write_bytes(text)
    (conf / "recipe" / "other.yaml").write_text("defaults: [mine]\n")
    with pytest.raises(RequestError) as refused:
        choices.choice("recipe", "mine")
    assert says in str(refused.value)
    assert str(conf / "recipe") in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


def test_a_file_elsewhere_is_no_choice() -> None:
    with pytest.raises(RequestError, match=r"recipe=\.\./arch/A is not known: choose from blog"):
        choices.choice("recipe", "../arch/A")
