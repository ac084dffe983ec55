from __future__ import annotations

import pytest

from repro.config import choices
from repro.errors import RequestError
from repro.report.net import Net, label, members, named
from repro.report.titles import title
from tests.conftest import Compose

OWN = [
    Net("E+batch_norm=true", "S256"),
    Net("D-my", "scale"),
    Net("facade", "S256"),
    Net("D", "S384+lr_factor=1e+30"),
    Net("D", "jitter+lr_factor=1e-05", "fc", "he"),
]


@pytest.mark.parametrize("first", [*OWN, Net("D", "S256"), Net("D", "jitter", "fc")])
@pytest.mark.parametrize("second", OWN)
def test_an_ensemble_is_found_by_its_label(first: Net, second: Net) -> None:
    assert named(label((first, second)), OWN) == (first, second)
    assert members(named(str(first), OWN)) == (first,)


def test_a_net_that_is_not_there_is_refused() -> None:
    with pytest.raises(RequestError, match="F-S256"):
        named("D-S256+F-S256")


@pytest.mark.parametrize("name", choices.names("net"))
def test_a_file_names_the_net_that_it_makes(name: str, compose: Compose) -> None:
    config = compose(f"net={name}")
    net = Net.named(name)
    assert (net.arch, net.scale, net.finetune) == (
        *(config.arch.name, config.scale.name),
        config.finetune,
    )
    assert (net.init or config.recipe.init) == config.init.name


def test_titles_are_the_papers_words() -> None:
    assert title(Net("D", "jitter", "fc")) == "D, FC layers tuned, S=[256; 512]"
    assert title(Net("E", "S256", init="he")) == "E, init he, S=256"
    assert title(Net("my-net", "S320", "fc", "he")) == "my-net, FC layers tuned, init he, S320"
