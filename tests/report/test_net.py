import pytest

from repro.config import choices
from repro.errors import RequestError
from repro.report.net import Net, label, members, named, worded
from tests.conftest import composed

OWN = [Net("D-my", "scale"), Net("facade", "S256"), Net("E+batch_norm=true", "S256", "fc", "he")]


@pytest.mark.parametrize("net", OWN)
def test_a_net_and_an_ensemble_are_found_by_their_labels(net: Net) -> None:
    assert members(named(str(net), OWN)) == (net,)
    both = (Net("D", "jitter", "fc"), OWN[0])
    assert named(label(both), OWN) == both
    with pytest.raises(RequestError, match="F-S256"):
        named("D-S256+F-S256")


@pytest.mark.parametrize("name", choices.names("net"))
def test_a_file_names_the_net_that_it_makes(name: str) -> None:
    config, net = composed(f"net={name}"), Net.named(name)
    own = (config.arch.name, config.scale.name, config.finetune, config.init.name)
    assert (net.arch, net.scale, net.finetune, net.init or config.recipe.init) == own


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("jitter+lr_factor=1e+30", "jitter, learning rate times 1e+30"),
        ("imagefolder+dc8e28", "imagefolder, file fingerprint dc8e28"),
        ("cifar10_jpeg+enlarge=40+80a7b6", "cifar10_jpeg, enlarge 40, file fingerprint 80a7b6"),
    ],
)
def test_a_changed_choice_is_said_in_words(name: str, words: str) -> None:
    assert worded(name) == words
