from __future__ import annotations

import pytest

from repro.config import Arch, choice
from repro.errors import RequestError
from repro.spec import layers
from repro.spec.cost import cost, receptive_field

# shared with nobody: Table 1 and Table 2 of the paper, AlexNet from its own paper
EXACT = {
    "A": (11, 132_863_336),
    "A-LRN": (11, 132_863_336),
    "B": (13, 133_047_848),
    "C": (16, 133_638_952),
    "D": (16, 138_357_544),
    "E": (19, 143_667_240),
    "B-5x5": (8, 134_503_528),
    "alexnet": (8, 60_965_224),
}


def net(name: str, **changes: object) -> layers.Net:
    size = {"width": 1.0, "crop": 224, "channels": 3, "classes": 1000} | changes
    return layers.read(Arch(**choice("arch", name)), **size)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", EXACT)
def test_depth_and_parameters_are_the_papers(name: str) -> None:
    depth, parameters = EXACT[name]
    assert net(name).weight_layers == depth
    assert cost(net(name)).parameters == parameters


def test_receptive_fields_of_section_2_3() -> None:
    conv3 = [layers.Conv(3, 8, 8, 1, 1, 1, True, False, 1, place) for place in (1, 2, 3)]
    assert receptive_field(conv3[:2]) == (5, 1)
    assert receptive_field(conv3) == (7, 1)
    assert receptive_field([*conv3, layers.Conv(1, 8, 8, 1, 0, 1, True, False, 1, 4)]) == (7, 1)


def test_vgg16_multiply_adds_are_the_known_count() -> None:
    # 15.47 G multiply-adds is the published figure for VGG-16 at 224.
    assert cost(net("D")).multiply_adds == 15_470_264_320


@pytest.mark.parametrize(
    ("arch", "changes", "message"),
    [
        (Arch("X", [["conv3_64"]]), {}, "'conv3_64' in block 1 of arch X is no layer"),
        (Arch("X", [["conv2-64"]]), {}, "an even kernel cannot keep the size"),
        (Arch("X", [["conv3-6g4"]]), {}, "do not divide into 4 groups"),
        (Arch("X", [["conv3-64"]], pool="max2"), {}, "arch.pool=max2"),
        (Arch("X", [["conv3-64"]], fc=["FC-10"]), {}, "FC-classes as the last"),
        (Arch("X", [["LRN"]]), {}, "no convolution"),
        (Arch("X", []), {}, "at least one block"),
        (Arch("X", [["conv3-64"]]), {"width": 0.001}, "leaves conv3-64 no channels"),
        (Arch("X", [["conv3-64"]]), {"classes": 0}, "data.classes=0"),
        (Arch("X", [["conv9-64p0"], ["conv9-64p0"]]), {"crop": 16}, "no map left"),
    ],
)
def test_what_is_no_net_is_refused(arch: Arch, changes: dict[str, int], message: str) -> None:
    size = {"width": 1.0, "crop": 32, "channels": 3, "classes": 10} | changes
    with pytest.raises(RequestError, match=message):
        layers.read(arch, **size)  # type: ignore[arg-type]


def test_alexnet_needs_a_map() -> None:
    net("alexnet", crop=64)
    with pytest.raises(RequestError, match=r"size\.crop=32"):
        net("alexnet", crop=32)
