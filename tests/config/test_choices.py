"""The reader of `conf/` against Hydra's own, and the files and values that it refuses."""

import itertools
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest

from repro.config import choices
from repro.config.choices import CONF
from repro.config.composing import Sweep, config_of
from repro.config.values import typed
from repro.errors import RequestError
from repro.store.identity import GROUPS
from tests.conftest import composed


def test_each_file_holds_what_hydra_finds_in_it() -> None:
    for chosen in itertools.zip_longest(*(choices.names(group) for group in GROUPS)):
        words = {group: name for group, name in zip(GROUPS, chosen, strict=True) if name}
        found = asdict(composed(*(f"{group}={name}" for group, name in words.items())))
        for group, name in words.items():
            values = choices.choice(group, name)
            said = {key: value for key, value in values.items() if "${" not in str(value)}
            assert said.items() <= found[group].items(), (group, name)


def test_each_file_chooses_what_hydra_has_it_choose() -> None:
    nets = [("net", name) for name in ("A-S256", "D-jitter-fc", "E-S256-from_A", "blog-vgg16-S224")]
    for group, name in [*nets, *(("experiments", name) for name in choices.names("experiments"))]:
        hydras = dict(Sweep([f"{group}={name}"]).config.hydra.runtime.choices)
        swept = choices.read(group, name).swept
        assert (choices.read(group, name).chosen | hydras == hydras) or swept, name
    assert choices.read("experiments", "lrn").swept == {"arch": ["A", "A-LRN"]}


@pytest.mark.parametrize("defaults", ["[quick]", "[_self_, quick]", "[paper, _self_, quick]"])
def test_a_list_of_defaults_means_what_it_means_to_hydra(
    defaults: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choices, "CONF", shutil.copytree(CONF, tmp_path / "conf"))
    own = tmp_path / "own" / "recipe"
    own.mkdir(parents=True)
    for file in (own / "ours.yaml", choices.CONF / "recipe" / "mine.yaml"):
        file.write_text(f"defaults: {defaults}\nname: mine\nlearning_rate: 1e-3\nepochs: 99\n")
    hydras = asdict(config_of(["recipe=ours", "--config-dir", str(own.parent)]).recipe)
    assert choices.choice("recipe", "mine").items() <= hydras.items()
    assert hydras["epochs"] == (99 if defaults == "[quick]" else 6)


def test_a_file_that_settings_are_not_like_is_refused_in_a_line(tmp_path: Path) -> None:
    brackets, digits = b"name: " + b"[" * 9999 + b"]" * 9999, b"seed: " + b"1" * 5000
    for content in (
        *(b"name: caf\xe9\n", b"42\n", brackets, b"name: &a [*a]\n", digits),
        *(b"a: &a [1, 2]\nb: [*a, *a]\n", b"#" * 1_000_001, b"name: x\n  batch: 3\n"),
    ):
        (tmp_path / "mine.yaml").write_bytes(content)
        with pytest.raises(RequestError, match=f"{tmp_path}/mine.yaml cannot be read") as refused:
            choices.read_file(tmp_path / "mine.yaml")
        assert len(str(refused.value).splitlines()) == 1


def test_types_are_those_of_the_schema() -> None:
    tree = asdict(config_of(["size.width=1", "seed=00", "recipe.batch=32"]))
    config = typed(tree)
    assert repr(config.size.width) == "1.0"
    assert (config.seed, config.recipe.batch) == (0, 32)
    assert typed({key: value for key, value in tree.items() if key != "track"}) == config
    wrong = {"seed": 1.0, "dry_run": 2, "arch": None, "test": "centre", "new": 1}
    for key, value in (wrong | {"runs": "${oc.env:HOME}"}).items():
        with pytest.raises(RequestError, match=key):
            typed(tree | {key: value})
    del tree["arch"]
    with pytest.raises(RequestError, match="arch is missing"):
        typed(tree)
