from __future__ import annotations

from dataclasses import replace

import pytest

from repro.analysis.built import at_full_size
from repro.config import CONF, Arch, choice
from repro.paper import published
from repro.spec.cost import cost


def test_spot_checks_against_the_paper() -> None:
    assert len(published.rows(3)) == 12
    assert len(published.rows(4)) == 10
    assert published.error_of("single_scale", "E-jitter", "top1_error") == 25.5
    assert published.error_of("multi_scale", "D-jitter", "top5_error") == 7.5
    assert published.error_of("multi_scale", "A-S256", "top1_error") is None
    assert published.error_of("centre", "B-S256", "top1_error") is None
    assert published.error_of("multi_crop", "E-jitter+D-jitter", "top1_error") == 23.9


def test_sums_of_the_columns() -> None:
    # Added up from another transcription of the tables, so that no digit can slip.
    assert sum(row["top1_error"] for row in published.rows(3)) == pytest.approx(330.6)
    assert sum(row["top5_error"] for row in published.rows(3)) == pytest.approx(109.6)
    assert sum(row["top1_error"] for row in published.rows(4)) == pytest.approx(266.3)
    assert sum(row["top5_error"] for row in published.rows(4)) == pytest.approx(85.7)


def test_table_2_is_what_the_nets_count() -> None:
    for row in published.rows(2):
        count = cost(at_full_size(row["net"])).parameters
        assert count == row["parameters"]
        if row["millions"] is not None:
            assert abs(count / 1e6 - row["millions"]) < 0.7
        assert at_full_size(row["net"]).weight_layers == row["weight_layers"]


def test_every_published_net_can_be_built() -> None:
    for number in (2, 3, 4):
        for row in published.rows(number):
            assert (CONF / "arch" / f"{row['net']}.yaml").is_file()


def test_the_files_are_the_columns_of_table_1() -> None:
    for name in published.table1():
        arch = Arch(**choice("arch", name))
        assert published.is_table1(arch), name
        assert not published.is_table1(replace(arch, batch_norm=True))
        assert not published.is_table1(replace(arch, blocks=arch.blocks[1:]))
    assert not published.is_table1(Arch(**choice("arch", "B-5x5")))
