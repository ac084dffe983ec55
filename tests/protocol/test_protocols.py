from __future__ import annotations

import pytest

from repro.paper import numbers
from repro.protocol.protocols import PROTOCOLS, Protocol, described, summarised


def test_figures_tell_protocols_apart() -> None:
    assert len({one.legend for one in PROTOCOLS.values()}) == len(PROTOCOLS)
    named = {name: one.legend for name, one in PROTOCOLS.items()}
    assert named["single_scale"] == "dense, one Q"
    assert named["crops_each_scale"] == "multi-crop, each Q"


def test_methods_are_those_of_table_5() -> None:
    methods = [PROTOCOLS[row["protocol"]].method for row in numbers.rows(5)]
    assert set(methods) == {"dense", "multi-crop", "multi-crop & dense"}


def test_the_summary_goes_from_few_views_to_many() -> None:
    assert [one.name for one in summarised()] == ["centre", "single_scale", "multi_scale"]


def test_each_protocol_is_described_in_a_line() -> None:
    assert [line.split()[0] for line in described()] == list(PROTOCOLS)


@pytest.mark.parametrize("number", [3, 4, 5, 6])
def test_the_papers_cells_name_protocols(number: int) -> None:
    assert {cell["protocol"] for cell in numbers.cells(number)} <= PROTOCOLS.keys()


@pytest.mark.parametrize(("kinds", "scales"), [(("dnese",), "one"), (("dense",), "all")])
def test_an_entry_with_a_wrong_word_is_refused(kinds: tuple[str, ...], scales: str) -> None:
    with pytest.raises(ValueError, match=r"protocol mine: (dnese|all) is none of .*dense"):
        Protocol("mine", kinds, scales, section="4.1")
