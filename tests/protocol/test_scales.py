from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repro.config.schema import Scale
from repro.errors import RequestError
from repro.protocol import protocols, scales

FIXED = Scale("S256", 256, 256)
JITTER = Scale("jitter", 256, 512)


def test_pixels_of_the_sizes_in_use() -> None:
    assert [scales.pixels(s, 224) for s in (224, 256, 384, 512)] == [224, 256, 384, 512]
    # 256 * 64 / 224 = 73.14, 384 -> 109.71, 288 -> 82.29, 512 -> 146.29
    assert [scales.pixels(s, 64) for s in (224, 256, 288, 384, 512)] == [64, 73, 82, 110, 146]
    # 7 * 112 / 224 = 3.5 is rounded up, as is 5.5: half up, not to even
    assert [scales.pixels(s, 112) for s in (7, 11)] == [4, 6]


@pytest.mark.parametrize(
    ("crop", "expected"),
    [
        (112, [112, 128, 144, 160, 176, 192, 208, 224, 240, 256]),
        (56, [56, 64, 72, 80, 88, 96, 104, 112, 120, 128]),
        (28, [28, 32, 36, 40, 44, 48, 52, 56, 60, 64]),
    ],
)
def test_every_s_and_q_of_the_paper_divides_exactly(crop: int, expected: list[int]) -> None:
    assert [scales.pixels(q, crop) for q in protocols.EACH_Q] == expected
    assert all(q * crop % 224 == 0 for q in protocols.EACH_Q)


@given(st.integers(1, 2000), st.integers(1, 16))
def test_scales_keep_their_order_and_the_crop(s: int, crop32: int) -> None:
    crop = 32 * crop32
    assert scales.pixels(s, crop) <= scales.pixels(s + 1, crop)
    assert scales.pixels(224, crop) == crop


def test_protocols_use_the_papers_scales() -> None:
    assert [v.q for v in protocols.views("single_scale", FIXED, False)] == [256]
    assert [v.q for v in protocols.views("multi_scale", FIXED, False)] == [224, 256, 288]
    assert [v.q for v in protocols.views("single_scale", JITTER, False)] == [384]
    assert [v.q for v in protocols.views("multi_scale", JITTER, False)] == [256, 384, 512]
    assert [v.name for v in protocols.views("single_scale", FIXED, True)] == [
        "dense-Q256",
        "dense-Q256-mirrored",
    ]


@pytest.mark.parametrize(
    ("scale", "names", "message"),
    [
        (Scale("s", 200, 256), ["centre"], r"S=200 .* below the crop"),
        (Scale("s", 240, 240), ["multi_scale"], "Q=208 of test=multi_scale"),
        (Scale("s", 300, 256), ["centre"], "above scale.smax"),
        (FIXED, [], "tests nothing"),
        (FIXED, ["dense"], "test=dense is not known: choose from single_scale"),
    ],
)
def test_what_does_not_fit_is_refused(scale: Scale, names: list[str], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        protocols.check(scale, names, 64)
