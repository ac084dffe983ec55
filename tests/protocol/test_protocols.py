"""Protocols and scales, as the paper and its tables have them."""

import pytest

from repro.config.schema import Scale
from repro.errors import RequestError
from repro.paper import numbers
from repro.protocol.protocols import EACH_Q, PROTOCOLS, TRANSFERS, View, check, described, views
from repro.protocol.scales import pixels
from tests.conftest import composed

FIXED = Scale("S256", 256, 256)


def test_tables_and_figures_tell_protocols_apart_by_the_papers_words() -> None:
    assert len({one.legend for one in PROTOCOLS.values()}) == len(PROTOCOLS)
    assert PROTOCOLS["single_scale"].legend == "dense, one Q"
    methods = {PROTOCOLS[row["protocol"]].method for row in numbers.rows(5)}
    assert methods == {"dense", "multi-crop", "multi-crop & dense"}
    assert [line.split()[0] for line in described()] == [*PROTOCOLS, *TRANSFERS]
    for number in (3, 4, 5, 6):
        assert {cell["protocol"] for cell in numbers.cells(number)} <= PROTOCOLS.keys()


def test_pixels_are_rounded_half_up() -> None:
    # 256 * 64 / 224 = 73.14, 384 -> 109.71, 288 -> 82.29, 512 -> 146.29; 3.5 and 5.5 go up.
    assert [pixels(s, 64) for s in (224, 256, 288, 384, 512)] == [64, 73, 82, 110, 146]
    assert [pixels(s, 112) for s in (7, 11)] == [4, 6]


@pytest.mark.parametrize("crop", [112, 56, 28, 14])
def test_every_s_and_q_of_the_paper_divides_exactly(crop: int) -> None:
    assert [pixels(q, crop) * 224 for q in EACH_Q["each"]] == [q * crop for q in EACH_Q["each"]]


def test_protocols_use_the_papers_scales() -> None:
    found = [
        [view.q for view in views(name, composed(f"scale={scale}"))]
        for scale in ("S256", "jitter")
        for name in ("single_scale", "multi_scale")
    ]
    assert found == [[256], [224, 256, 288], [384], [256, 384, 512]]


@pytest.mark.parametrize(
    ("words", "name"),
    [
        *(("", "dense-Q256"), ("test_precision=float32", "dense-Q256")),
        *(("test_precision=tf32", "dense-Q256-tf32"), ("precision=float64", "dense-Q256")),
        *(("precision=tf32", "dense-Q256"), ("precision=bf16", "dense-Q256")),
        ("precision=bf16 test_precision=float32", "dense-Q256-float32"),
    ],
)
def test_a_view_is_named_after_a_precision_that_is_not_the_usual_one(words: str, name: str) -> None:
    config = composed("data=cifar10", *words.split())
    both = views("single_scale", config)
    mirrored = name.replace("Q256", "Q256-mirrored")
    assert [view.name for view in both] == [name, mirrored]
    assert tuple(View.named(view.name) for view in both) == both
    assert View.named("dense-Q256-bf16") is None


@pytest.mark.parametrize(
    ("scale", "names", "message"),
    [
        (Scale("s", 200, 256), ["centre"], "S=200 "),
        (Scale("s", 240, 240), ["multi_scale"], r"Q=208 .test=multi_scale"),
        (Scale("s", 300, 256), ["centre"], "above scale.smax"),
        (FIXED, [], "test="),
        (FIXED, ["dense"], "test=dense is not known: choose from single_scale"),
    ],
)
def test_what_does_not_fit_is_refused(scale: Scale, names: list[str], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        check(scale, names, 64)
