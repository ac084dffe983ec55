from __future__ import annotations

import re
from dataclasses import replace

import pytest

from repro.config.choices import CONF, choice
from repro.config.schema import Arch
from repro.model.cost import cost
from repro.paper import numbers
from repro.report.built import at_full_size


def test_spot_checks_against_the_paper() -> None:
    assert len(numbers.rows(3)) == 12
    assert len(numbers.rows(4)) == 10
    assert numbers.error_of("single_scale", "E-jitter", "top1_error") == 25.5
    assert numbers.error_of("multi_scale", "D-jitter", "top5_error") == 7.5
    assert numbers.error_of("multi_scale", "A-S256", "top1_error") is None
    assert numbers.error_of("centre", "B-S256", "top1_error") is None
    assert numbers.error_of("multi_crop", "E-jitter+D-jitter", "top1_error") == 23.9


def test_sums_of_the_columns() -> None:
    # Added up from another transcription of the tables, so that no digit can slip.
    assert sum(row["top1_error"] for row in numbers.rows(3)) == pytest.approx(330.6)
    assert sum(row["top5_error"] for row in numbers.rows(3)) == pytest.approx(109.6)
    assert sum(row["top1_error"] for row in numbers.rows(4)) == pytest.approx(266.3)
    assert sum(row["top5_error"] for row in numbers.rows(4)) == pytest.approx(85.7)


def test_table_2_is_what_the_nets_count() -> None:
    for row in numbers.rows(2):
        count = cost(at_full_size(row["net"])).parameters
        assert count == row["parameters"]
        if row["millions"] is not None:
            assert abs(count / 1e6 - row["millions"]) < 0.7
        assert at_full_size(row["net"]).weight_layers == row["weight_layers"]


def test_every_published_net_can_be_built() -> None:
    for number in (2, 3, 4):
        for row in numbers.rows(number):
            assert (CONF / "arch" / f"{row['net']}.yaml").is_file()


def test_the_files_are_the_columns_of_table_1() -> None:
    for name in numbers.table1():
        arch = Arch(**choice("arch", name))
        assert numbers.is_table1(arch), name
        assert not numbers.is_table1(replace(arch, batch_norm=True))
        assert not numbers.is_table1(replace(arch, blocks=arch.blocks[1:]))
    assert not numbers.is_table1(Arch(**choice("arch", "B-5x5")))


def test_others_errors_are_their_pages() -> None:
    found = {(r["framework"], r["weights"], r["net"]): r for r in numbers.replications()}
    assert len(found) == len(numbers.replications()), "each net once"
    # torchvision gives accuracies: 69.020 and 88.628, 69.928, 71.592, 72.376.
    for net, accuracy in (("A", 69.02), ("B", 69.928), ("D", 71.592), ("E", 72.376)):
        theirs = found["torchvision", "torchvision's", net]
        assert theirs["top1_error"] == pytest.approx(100 - accuracy)
    assert found["torchvision", "torchvision's", "A"]["top5_error"] == pytest.approx(100 - 88.628)
    # ONNX's page too: 72.62 and 91.14, 73.72 and 91.58.
    assert found["MXNet", "MXNet's", "D"]["top1_error"] == pytest.approx(100 - 72.62)
    assert found["MXNet", "MXNet's", "E"]["top5_error"] == pytest.approx(100 - 91.58)
    authors = {key[::2]: r for key, r in found.items() if "authors" in key[1]}
    assert authors["Keras", "D"]["top1_error"] == 28.732
    assert authors["Keras", "E"]["top5_error"] == 10.012
    assert authors["MatConvNet", "D"]["top1_error"] == 28.5
    assert authors["MatConvNet", "E"]["top1_error"] == 28.7


def test_each_replication_has_a_net_a_protocol_and_a_public_page() -> None:
    for row in numbers.replications():
        assert (CONF / "arch" / f"{row['net']}.yaml").is_file()
        assert row["protocol"].startswith("centre crop of 224")
        assert re.search(r": https://[\w./-]+$", row["source"])
        assert 5 < row["top5_error"] < row["top1_error"] < 35
