from __future__ import annotations

import pytest

from repro.config.choices import choice
from repro.config.schema import Arch, Size
from repro.errors import RequestError
from repro.model import layers, reading
from repro.model.cost import cost, receptive_field

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
    return reading.read(Arch(**choice("arch", name)), **size)  # type: ignore[arg-type]


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
        (Arch("X", [["conv3-" + "9" * 5000]]), {}, "expected a kernel, a stride and a padding up"),
        (Arch("X", [["conv3-64"]], pool="maxpool9999/2"), {}, "arch.pool=maxpool9999/2: expected"),
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
        reading.read(arch, **size)  # type: ignore[arg-type]


def test_alexnet_needs_a_map() -> None:
    net("alexnet", crop=64)
    with pytest.raises(RequestError, match=r"size\.crop=32"):
        net("alexnet", crop=32)


# Of each size the crop, and the sides that the paper's maps have after each pooling that it keeps.
KEPT = {
    "paper": (224, {1: 112, 2: 56, 3: 28, 4: 14, 5: 7}),
    "half": (112, {2: 56, 3: 28, 4: 14, 5: 7}),
    "quarter": (56, {3: 28, 4: 14, 5: 7}),
    "eighth": (28, {4: 14, 5: 7}),
}


def at(name: str, size: str, **changes: object) -> layers.Net:
    chosen = Size(**(choice("size", size) | changes))
    return reading.at_size(Arch(**choice("arch", name)), chosen, channels=3, classes=10)


def pooled(of: layers.Net) -> dict[int, int]:
    """Side of the map after the pooling of each block that has one."""
    side, found = of.crop, {}
    for layer in of.layers:
        side = layers.output_side(layer, side)
        if isinstance(layer, layers.Pool):
            found[layer.block] = side
    return found


@pytest.mark.parametrize("name", ["A", "A-LRN", "B", "C", "D", "E", "B-5x5"])
@pytest.mark.parametrize("size", KEPT)
def test_maps_have_the_papers_sides_from_the_first_kept_pooling_on(name: str, size: str) -> None:
    crop, sides = KEPT[size]
    of = at(name, size)
    assert of.crop == crop
    assert pooled(of) == sides
    assert of.linears[0].side == 7
    assert of.weight_layers == net(name).weight_layers, "no layer with weights is left out"
    assert {conv.stride for conv in of.convs} == {1}


@pytest.mark.parametrize("name", ["A-LRN", "D", "B-5x5", "alexnet"])
@pytest.mark.parametrize("size", ["half", "quarter", "eighth", "tiny"])
def test_only_width_and_halvings_tell_a_size_from_the_paper(name: str, size: str) -> None:
    crop = {"tiny": 224}.get(size, choice("size", size)["crop"])
    ours, papers = at(name, size, width=1.0, crop=crop), at(name, "paper")
    for here, there in zip(ours.weighted, papers.weighted, strict=True):
        assert layers.fan_in(here) == layers.fan_in(there)


@pytest.mark.parametrize(
    ("size", "sides", "stride"),
    # 224 -> 55 -> 27 -> 13 -> 6 cells, as its own paper has them; 4 is two halvings.
    [
        ("paper", [55, 27, 13, 6], 4),
        ("half", [55, 27, 13, 6], 2),
        ("quarter", [27, 13, 6], 1),
        ("eighth", [13, 6], 1),
    ],
)
def test_alexnet_leaves_out_its_strides_first(size: str, sides: list[int], stride: int) -> None:
    of = at("alexnet", size)
    assert of.convs[0].stride == stride
    first = [layers.output_side(of.convs[0], of.crop)] if stride > 1 else []
    assert [*first, *pooled(of).values()] == sides
    assert of.linears[0].side == 6


def test_more_halvings_than_there_are_cannot_be_left_out() -> None:
    two = Arch("X", [["conv3-64"], ["conv3-64"]])
    kept = reading.read(two, width=1, crop=28, channels=3, classes=10, poolings=3)
    assert pooled(kept) == {}
    with pytest.raises(RequestError, match=r"arch=X halves its maps 2 times.* first 3 halvings"):
        reading.read(two, width=1, crop=28, channels=3, classes=10, poolings=2)
    # Windows that do not halve are no halvings: they stay.
    thirds = Arch("X", [["conv3-64"]] * 5, pool="maxpool3/3")
    with pytest.raises(RequestError, match=r"halves its maps 0 times.*size\.poolings"):
        reading.read(thirds, width=1, crop=243, channels=3, classes=10, poolings=4)
