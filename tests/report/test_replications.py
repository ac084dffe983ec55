from __future__ import annotations

from repro.report.replications import depth_gains, replications


def test_steps_in_depth_by_hand() -> None:
    table = depth_gains().set_index("nets")
    paper = table.loc["the paper, Table 3, S=256, dense"]
    # 29.6, 28.7, 27.0, 27.3: 0.9 is 3.04% of 29.6, 1.7 is 5.92% of 28.7, -0.3 is -1.11% of 27.0.
    assert paper.tolist() == ["+0.9 (+3.0%)", "+1.7 (+5.9%)", "-0.3 (-1.1%)"]
    theirs = table.loc["torchvision's, centre crop"]
    # 30.98, 30.072, 28.408, 27.624: 0.908 (2.93%), 1.664 (5.53%), 0.784 (2.76%).
    assert theirs.tolist() == ["+0.91 (+2.9%)", "+1.66 (+5.5%)", "+0.78 (+2.8%)"]
    # 28.5 and 28.7, by one test; 28.732 and 28.744 by another.
    authors = table[table.index.str.startswith("the paper's authors'")]
    assert authors["D - E"].tolist() == ["-0.2 (-0.7%)", "-0.01 (-0.0%)"]
    assert set(authors["A - B"]) == set(authors["B - D"]) == {"-"}, "only pairs that exist"
    assert table.loc["MXNet's, centre crop", "D - E"] == "+1.1 (+4.0%)"


def test_every_row_shows_a_step() -> None:
    table = depth_gains()
    assert (table.drop(columns="nets") != "-").any(axis=1).all()
    assert not table.nets.duplicated().any()


def test_others_stand_beside_table_3() -> None:
    table = replications().set_index(["tested with", "net"])
    paper = "paper, Table 3, S=256, dense, top-1 (%)"
    assert table.loc[("torchvision", "A"), ["top-1 (%)", "top-5 (%)", paper]].tolist() == [
        "30.98",
        "11.37",
        "29.6",
    ]
    assert table.loc[("MatConvNet", "D"), "top-1 (%)"] == "28.5", "no digit that was not published"
    assert table.loc[("torchvision", "E-BN"), paper] == "-"
