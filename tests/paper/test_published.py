import re
from dataclasses import replace

import pytest

from repro import layers
from repro.config.choices import CONF, choice
from repro.config.schema import Arch
from repro.paper import numbers
from repro.report.tables import depth_gains, replications


def test_spot_checks_against_the_paper() -> None:
    assert numbers.error_of("single_scale", "E-jitter", "top1_error") == 25.5
    assert numbers.error_of("multi_scale", "D-jitter", "top5_error") == 7.5
    assert numbers.error_of("multi_scale", "A-S256", "top1_error") is None
    assert numbers.error_of("centre", "B-S256", "top1_error") is None
    assert numbers.error_of("multi_crop", "E-jitter+D-jitter", "top1_error") == 23.9


@pytest.mark.parametrize(
    ("number", "count", "top1", "top5"), [(3, 12, 330.6, 109.6), (4, 10, 266.3, 85.7)]
)
def test_sums_of_the_columns(number: int, count: int, top1: float, top5: float) -> None:
    # Added up from another transcription of the tables, so that no digit can slip.
    rows = numbers.rows(number)
    assert len(rows) == count
    assert sum(row["top1_error"] for row in rows) == pytest.approx(top1)
    assert sum(row["top5_error"] for row in rows) == pytest.approx(top5)


def test_the_files_are_the_columns_of_table_1() -> None:
    for name in numbers.table1():
        arch = Arch(**choice("arch", name))
        assert numbers.is_table1(arch), name
        assert not numbers.is_table1(replace(arch, batch_norm=True))
        assert not numbers.is_table1(replace(arch, blocks=arch.blocks[1:]))
    assert not numbers.is_table1(Arch(**choice("arch", "B-5x5")))
    for row in numbers.rows(2):
        assert layers(row["net"]).weight_layers == row["weight_layers"]


def test_others_errors_are_their_pages() -> None:
    rows = numbers.replications()
    found = {(r["framework"], r["weights"], r["net"]): r for r in rows}
    assert len(found) == len(rows), "each net once"
    # torchvision gives accuracies: 69.020 and 88.628, 69.928, 71.592, 72.376.
    for net, accuracy in (("A", 69.02), ("B", 69.928), ("D", 71.592), ("E", 72.376)):
        theirs = found["torchvision", "torchvision's", net]
        assert theirs["top1_error"] == pytest.approx(100 - accuracy)
    # ONNX's page too: 72.62 and 91.14, 73.72 and 91.58.
    assert found["MXNet", "MXNet's", "D"]["top1_error"] == pytest.approx(100 - 72.62)
    assert found["MXNet", "MXNet's", "E"]["top5_error"] == pytest.approx(100 - 91.58)
    authors = {key[::2]: r for key, r in found.items() if "authors" in key[1]}
    assert authors["Keras", "D"]["top1_error"] == 28.732
    assert authors["MatConvNet", "E"]["top1_error"] == 28.7
    for row in rows:
        assert (CONF / "arch" / f"{row['net']}.yaml").is_file()
        assert row["protocol"].startswith("centre crop of 224")
        assert re.search(r": https://[\w./-]+$", row["source"])
        assert 5 < row["top5_error"] < row["top1_error"] < 35


def test_others_stand_beside_table_3_and_steps_in_depth_by_hand() -> None:
    table = replications().set_index(["framework", "net"])
    theirs = table.loc[("torchvision", "A"), ["top1_error", "top5_error", "paper"]]
    assert theirs.tolist() == [30.98, 11.37, 29.6]
    # The authors' nets are those of jittered S: 25.6, 25.5.
    assert table.loc[("Keras", "D"), "paper"] == 25.6
    assert table.loc[("MatConvNet", "E"), "paper"] == 25.5
    gains = depth_gains().set_index("nets")
    # 29.6, 28.7, 27.0, 27.3 and 30.98, 30.072, 28.408, 27.624.
    assert gains.loc["the paper, Table 3, S=256, dense"].tolist() == [0.9, 1.7, -0.3]
    assert gains.loc["torchvision's, centre crop"].tolist() == [0.91, 1.66, 0.78]
    assert gains.loc["MXNet's, centre crop"].isna().tolist() == [True, True, False]
