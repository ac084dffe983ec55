"""Others' nets beside the paper's, against gains computed by hand."""

from __future__ import annotations

from repro.report.tables import depth_gains, replications, shown_gains


def test_steps_in_depth_by_hand() -> None:
    gains = depth_gains()
    table = gains.set_index(["nets", "step"])[["points", "relative"]]
    paper = table.loc["the paper, Table 3, S=256, dense"]
    # 29.6, 28.7, 27.0, 27.3: 0.9 is 3.04% of 29.6, 1.7 is 5.92% of 28.7, -0.3 is -1.11% of 27.0.
    assert paper.to_numpy().tolist() == [[0.9, 3.0], [1.7, 5.9], [-0.3, -1.1]]
    theirs = table.loc["torchvision's, centre crop"]
    # 30.98, 30.072, 28.408, 27.624: 0.908 (2.93%), 1.664 (5.53%), 0.784 (2.76%).
    assert theirs.to_numpy().tolist() == [[0.91, 2.9], [1.66, 5.5], [0.78, 2.8]]
    shown = shown_gains(gains).set_index("nets")
    assert shown.index.tolist() == gains.nets.unique().tolist()
    assert shown.loc["MXNet's, centre crop"].tolist() == ["-", "-", "1.1 (4%)"]


def test_others_stand_beside_table_3() -> None:
    table = replications().set_index(["framework", "net"])
    theirs = table.loc[("torchvision", "A"), ["top1_error", "top5_error", "paper"]]
    assert theirs.tolist() == [30.98, 11.37, 29.6]
    assert table.paper.isna()[("torchvision", "E-BN")]
