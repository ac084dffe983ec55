"""The reader of `conf/` against Hydra's own, and the files that it refuses."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path

import pytest

from repro.config import choices, files
from repro.config.choices import CONF
from repro.config.composing import Sweep, one
from repro.config.options import Options
from repro.config.schema import typed
from repro.errors import RequestError
from repro.store.identity import GROUPS
from tests.conftest import Compose

EVERY = [(group, name) for group in GROUPS for name in choices.names(group)]


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
    assert choices.read("experiments", "lrn").swept == {"arch": ["A", "A-LRN"]}


@pytest.mark.parametrize("defaults", ["[quick]", "[_self_, quick]", "[paper, _self_, quick]"])
def test_a_list_of_defaults_means_what_it_means_to_hydra(
    defaults: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choices, "CONF", shutil.copytree(CONF, tmp_path / "conf"))
    own = tmp_path / "own" / "recipe"
    own.mkdir(parents=True)
    for folder in (own, choices.CONF / "recipe"):
        (folder / "mine.yaml").write_text(
            f"defaults: {defaults}\nname: mine\nlearning_rate: 1e-3\nepochs: 99\n"
        )
    (job,) = Sweep(Options(("recipe=mine",), config_dir=own.parent)).jobs()
    assert not isinstance(job, RequestError)
    hydras = asdict(typed(job.config).recipe)
    assert choices.choice("recipe", "mine").items() <= hydras.items()
    assert hydras["epochs"] == (99 if defaults == "[quick]" else 6)


@pytest.mark.parametrize(
    "content",
    [
        b"name: caf\xe9\n",
        b"42\n",
        b"name: " + b"[" * 400 + b"]" * 400,
        b"name: &a [*a]\n",
        b"a: &a [1, 2]\nb: [*a, *a]\n",
        b"name: x\nname: y\n",
        b"#" * 1_000_001,
        b"name: [" + b"1," * 75_000 + b"]",
        b"name: x\n  batch: 3\n",
        b"seed: " + b"1" * 5000,
    ],
)
def test_a_file_that_settings_are_not_like_is_refused_in_a_line(
    content: bytes, tmp_path: Path
) -> None:
    (tmp_path / "mine.yaml").write_bytes(content)
    with pytest.raises(RequestError, match=f"{tmp_path}/mine.yaml cannot be read") as refused:
        files.read(tmp_path / "mine.yaml")
    assert len(str(refused.value).splitlines()) == 1


def test_types_are_those_of_the_schema() -> None:
    tree = asdict(one(["size.width=1", "seed=00", "recipe.batch=32"]))
    config = typed(tree)
    assert repr(config.size.width) == "1.0"
    assert (config.seed, config.recipe.batch) == (0, 32)
    assert typed({key: value for key, value in tree.items() if key != "track"}) == config
    for key, value in (("seed", 1.0), ("dry_run", 2), ("arch", None), ("test", "centre")):
        with pytest.raises(RequestError, match=key):
            typed(tree | {key: value})
    with pytest.raises(RequestError, match=r"runs=\$\{oc.env:HOME\}: expected text"):
        typed(tree | {"runs": "${oc.env:HOME}"})
    del tree["arch"]
    with pytest.raises(RequestError, match="arch is missing"):
        typed(tree)
