"""Reading Table 1: depths and parameters of the paper, and what a size leaves out."""

from dataclasses import replace

import pytest

from repro.config.choices import choice
from repro.config.schema import Arch, Size
from repro.errors import RequestError
from repro.model import layers, reading
from repro.model.cost import cost, overhang, score_map_side
from repro.protocol.scales import pixels

# Table 1 and Table 2 of the paper, AlexNet from its own paper, A-BN as torchvision's vgg11_bn.
EXACT = {
    "A": (11, 132_863_336),
    "A-LRN": (11, 132_863_336),
    "A-BN": (11, 132_868_840),
    "B": (13, 133_047_848),
    "C": (16, 133_638_952),
    "D": (16, 138_357_544),
    "E": (19, 143_667_240),
    "B-5x5": (8, 134_503_528),
    "alexnet": (8, 60_965_224),
}
# Of each size the crop, and the sides that the paper's maps have after each pooling that it keeps.
KEPT = {
    "paper": (224, {1: 112, 2: 56, 3: 28, 4: 14, 5: 7}),
    "half": (112, {2: 56, 3: 28, 4: 14, 5: 7}),
    "quarter": (56, {3: 28, 4: 14, 5: 7}),
    "eighth": (28, {4: 14, 5: 7}),
}


def net(name: str, **changes: object) -> layers.Spec:
    arch, images = Arch(**choice("arch", name)), {"channels": 3, "classes": 1000}
    images |= {key: changes.pop(key) for key in images.keys() & changes.keys()}
    return reading.spec_of(arch, replace(reading.PAPER, **changes), **images)


def at(name: str, size: str, **changes: object) -> layers.Spec:
    chosen = Size(**(choice("size", size) | changes))
    return reading.spec_of(Arch(**choice("arch", name)), chosen, channels=3, classes=10)


def pooled(of: layers.Spec) -> dict[int, int]:
    """Side of the map after the pooling of each block that has one."""
    every = layers.sides(of.layers, of.crop)
    return {layer.block: side for layer, _, side in every if isinstance(layer, layers.Pool)}


@pytest.mark.parametrize("name", EXACT)
def test_depth_and_parameters_are_the_papers(name: str) -> None:
    assert (net(name).weight_layers, cost(net(name)).parameters) == EXACT[name]


@pytest.mark.parametrize(
    ("arch", "changes", "message"),
    [
        (Arch("X", [["conv3_64"]]), {}, "'conv3_64' in block 1 of arch X is no layer"),
        (Arch("X", [["conv2-64"]]), {}, "an even kernel"),
        (Arch("X", [["conv3-6g4"]]), {}, "must divide"),
        (Arch("X", [["conv3-64"]], pool="maxpool9999/2"), {}, "arch.pool=maxpool9999/2: expected"),
        (Arch("X", [["conv3-64"]], fc=["FC-10"]), {}, "FC-classes as the last"),
        (Arch("X", []), {}, "at least one convolution"),
        (Arch("X", [["conv3-64"]]), {"width": 0.001}, "leaves conv3-64 no channels"),
        (Arch("X", [["conv3-64"]]), {"classes": 0}, "data.classes=0"),
        (
            Arch("X", [["conv9-64p0"], ["conv9-64p0"]]),
            {"crop": 16},
            r"no map left .* size\.crop=16",
        ),
        (Arch("X", [["conv3-64"]] * 2), {"poolings": 2}, "size.poolings"),
        # Windows that do not halve are no halvings: they stay.
        (Arch("X", [["conv3-64"]], pool="maxpool3/3"), {"poolings": 4}, "size.poolings"),
    ],
)
def test_what_is_no_net_is_refused(arch: Arch, changes: dict[str, int], message: str) -> None:
    classes = changes.pop("classes", 10)
    size = replace(reading.PAPER, **{"crop": 32, **changes})
    with pytest.raises(RequestError, match=message):
        reading.spec_of(arch, size, channels=3, classes=classes)


@pytest.mark.parametrize("name", ["A", "A-LRN", "B", "C", "D", "E", "B-5x5"])
@pytest.mark.parametrize("size", KEPT)
def test_maps_have_the_papers_sides_from_the_first_kept_pooling_on(name: str, size: str) -> None:
    of = at(name, size)
    assert (of.crop, pooled(of)) == KEPT[size]
    assert of.linears[0].side == 7
    for q, cells in ((224, 1), (256, 2), (288, 3), (384, 6), (512, 10)):
        side = pixels(q, of.crop)
        assert (score_map_side(of, side), overhang(of, side)) == (cells, 0)
    assert of.weight_layers == net(name).weight_layers, "no layer with weights is left out"


@pytest.mark.parametrize(
    ("size", "sides", "stride"),
    # 224 -> 55 -> 27 -> 13 -> 6 cells, as its own paper has them; 4 is two halvings.
    [("paper", [27, 13, 6], 4), ("half", [27, 13, 6], 2), ("quarter", [27, 13, 6], 1)],
)
def test_alexnet_leaves_out_its_strides_first(size: str, sides: list[int], stride: int) -> None:
    of = at("alexnet", size)
    assert (of.convs[0].stride, [*pooled(of).values()], of.linears[0].side) == (stride, sides, 6)
