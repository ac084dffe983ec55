"""What the figures show: the frames of their marks are read, and each frame is drawn."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from matplotlib.text import Text

from repro.report import charts
from repro.report.charts import figures_of
from repro.report.claims import COLUMNS, claims
from repro.report.experiments import experiments
from repro.report.figure import Chart, marks
from repro.report.learning import learning_curves
from repro.report.settings import Comparison, by_setting
from repro.report.titles import setting_title
from repro.store.runs import finished
from tests.report.conftest import MakeRun

EXPERIMENTS = {one.name: one for one in experiments()}


def comparison(tmp_path: Path) -> Comparison:
    (only,) = by_setting(finished(tmp_path / "runs"))
    return only


def shown(chart: Chart | None, *kinds: str) -> pd.DataFrame:
    assert chart is not None
    return chart.marks[chart.marks.mark.isin(kinds)]


def claim(name: str, **changes: Any) -> dict[str, Any]:
    row = {
        **dict.fromkeys(COLUMNS),
        **{"claim": name, "primary": True, "kind": "better", "one_seed": False, "reason": ""},
        **{"log_odds": -0.2, "log_odds_low": -0.3, "log_odds_high": -0.1},
        **{"paper_log_odds": -0.06, "verdict": "reproduced", "verdict_holm": "reproduced"},
    }
    return row | changes


def test_primary_claims_stand_beside_the_papers_effects() -> None:
    margin = next(one.margin for one in claims() if one.claim == "depth-saturates")
    rows = [
        claim("depth-lowers-error", verdict_holm="not decided"),
        claim("depth-saturates", one_seed=True),
        claim(
            "context-helps", log_odds=None, kind="counts", difference=-85, ci_low=-99, ci_high=-5
        ),
        claim("several-scales-help", primary=False),
    ]
    chart = charts.primary(pd.DataFrame(rows, columns=COLUMNS))
    assert shown(chart, "beside").words.tolist() == ["not decided", "reproduced", "reproduced"]
    points = shown(chart, "mean", "one seed")[["mark", "x", "low", "high"]]
    assert points.to_numpy().tolist() == [
        ["mean", -0.2, -0.3, -0.1],
        ["one seed", -0.2, -0.3, -0.1],
    ]
    assert shown(chart, "paper").x.tolist() == [-0.06, -0.06]
    fields = shown(chart, "field")[["low", "high"]].to_numpy().tolist()
    assert fields == [[-float("inf"), 0], [-margin, margin]]
    (words,) = shown(chart, "words").words
    assert "-85 points [-99; -5]" in words
    assert charts.primary(pd.DataFrame(rows[3:], columns=COLUMNS)) is None


def test_errors_are_relative_to_net_a(tmp_path: Path, make_run: MakeRun) -> None:
    for seed, (of_a, of_d) in enumerate([(20, 10), (20, 14)]):
        make_run("arch=A", f"seed={seed}", wrong=of_a)
        make_run("arch=D", f"seed={seed}", wrong=of_d)
    chart = charts.depth(EXPERIMENTS["depth"], comparison(tmp_path))
    assert shown(chart, "seed").x.tolist() == pytest.approx([-50.0, -30.0])
    assert shown(chart, "mean").x.tolist() == pytest.approx([-40.0])
    assert shown(chart, "paper").x.tolist() == pytest.approx([100 * (27.0 / 29.6 - 1)]), "Table 3"


@pytest.mark.parametrize("nets", [["A"], ["D", "E"]])
def test_depth_needs_a_and_another_net(tmp_path: Path, make_run: MakeRun, nets: list[str]) -> None:
    for net in nets:
        make_run(f"arch={net}")
    assert charts.depth(EXPERIMENTS["depth"], comparison(tmp_path)) is None


def test_a_line_joins_neighbouring_scales_of_the_same_seeds(
    tmp_path: Path, make_run: MakeRun
) -> None:
    folder = tmp_path / "runs" / make_run("arch=D", "scale=S384", wrong=20)
    for q in (256, 320):
        (folder / "views" / f"dense-Q{q}.npz").unlink()
    other = tmp_path / "runs" / make_run("arch=D", "scale=S384", "seed=1", wrong=60)
    for view in (other / "views").iterdir():
        if view.stem not in ("dense-Q384", "dense-Q416"):
            view.unlink()
    chart = charts.curves(EXPERIMENTS["test_scale"], comparison(tmp_path))
    found = shown(chart, "line", "dashed")
    found = found[found.facet == "D, dense"]
    assert [list(part.x) for _, part in found[found.mark == "dashed"].groupby("line")] == [
        [224],
        [288],
        [352, 384, 416, 448, 480, 512],
    ], "seed 0 by itself, open where it was not tested"
    assert set(found[found.mark == "dashed"].y) == {10.0}
    assert found[found.mark == "line"][["x", "y"]].to_numpy().tolist() == [[384, 20], [416, 20]]


def test_curves_begin_where_their_parent_ends(tmp_path: Path, make_run: MakeRun) -> None:
    make_run("arch=A")
    for scale in ("S256", "S384", "S256_on", "jitter"):
        make_run("arch=D", f"scale={scale}", "init=from_A")
    chart = learning_curves(comparison(tmp_path))
    found = shown(chart, "line", "dashed").groupby(["facet", "group", "mark"]).x.min()
    assert found.to_dict() == {
        ("A", "S=256", "line"): 1,
        ("D", "S=256", "line"): 9,
        ("D", "S=384", "line"): 17,
        ("D", "S=256, trained on", "dashed"): 17,
        ("D", "S=[256; 512]", "line"): 25,
    }, "each stage has eight epochs"
    assert chart is not None
    assert "so it begins at 0" not in chart.caption


def test_a_curve_whose_parent_is_gone_says_so(tmp_path: Path, make_run: MakeRun) -> None:
    make_run("arch=E", "scale=S384")
    chart = learning_curves(comparison(tmp_path))
    assert chart is not None
    assert "so it begins at 0: E at S=384" in chart.caption


def test_many_seeds_are_a_band(tmp_path: Path, make_run: MakeRun) -> None:
    for seed in range(6):
        make_run("arch=D", f"seed={seed}")
    make_run("arch=E")
    found = learning_curves(comparison(tmp_path))
    assert set(shown(found, "band").facet) == {"D"}
    assert shown(found, "line").groupby("facet").line.nunique().tolist() == [1, 1]


def test_one_epoch_is_no_curve(tmp_path: Path, make_run: MakeRun) -> None:
    folder = tmp_path / "runs" / make_run("arch=A")
    (folder / "log.csv").write_text("epoch,train_error,validation_error\n1,50,20\n")
    assert learning_curves(comparison(tmp_path)) is None


def test_seeds_are_dots_and_one_seed_is_hollow(tmp_path: Path, make_run: MakeRun) -> None:
    for seed, wrong in enumerate((10, 14, 18)):
        make_run("arch=A", f"seed={seed}", wrong=wrong)
    make_run("arch=D", wrong=8)
    (chart,) = figures_of(EXPERIMENTS["lrn"], comparison(tmp_path)) or [
        charts.errors(comparison(tmp_path))
    ]
    assert sorted(set(shown(chart, "seed").x)) == pytest.approx([5.0, 7.0, 9.0])
    assert set(shown(chart, "one seed").x) == {4.0}
    assert chart is not None
    assert "Not all have the same seeds. Seeds 0 to 2: A, S=256 | 0: D, S=256." in chart.caption


def test_a_net_that_did_not_learn_does_not_squeeze_the_others(
    tmp_path: Path, make_run: MakeRun
) -> None:
    for arch, wrong in (("A", 12), ("B", 10), ("D", 8), ("E", 180)):
        make_run(f"arch={arch}", wrong=wrong)
    chart = charts.errors(comparison(tmp_path))
    assert chart is not None
    figure = chart.figure()
    assert figure.axes[0].get_xlim()[1] < 20
    assert [text.get_text() for text in figure.findobj(Text)].count("90") == 3


def test_one_number_is_no_figure(tmp_path: Path, make_run: MakeRun) -> None:
    make_run("arch=B-5x5")
    assert figures_of(EXPERIMENTS["filter_size"], comparison(tmp_path)) == []
    make_run("arch=B")
    (chart,) = figures_of(EXPERIMENTS["filter_size"], comparison(tmp_path))
    assert chart.name == "experiment-filter_size"


def test_no_internal_word_reaches_a_reader(tmp_path: Path, make_run: MakeRun) -> None:
    for words in ("scale=S384", "scale=S384_on", "scale=jitter"):
        make_run("arch=D", words, "scale.lr_factor=1", "data.holdout=0.02")
    here = comparison(tmp_path)
    found = [charts.errors(here), learning_curves(here)]
    said = [text.get_text() for one in found if one for text in one.figure().findobj(Text)]
    assert "S=384, trained on, learning rate times 1" in said
    assert not [
        word for word in [*said, setting_title(here.setting)] if "=0" in word or "+" in word
    ]


@pytest.mark.parametrize("groups", [2, 9, 12])
@pytest.mark.parametrize("y", ["", "error (%)"])
def test_a_figure_fits_a_page_and_no_two_entries_look_alike(groups: int, y: str) -> None:
    where: list[dict[str, Any]] = [
        {"group": f"several words, number {n}", "mark": "mean", "low": 4.0, "high": 6.0 + n}
        for n in range(groups)
    ]
    rows = [one | ({"x": 1, "y": 5} if y else {"x": 5, "y": "a row"}) for one in where]
    chart = Chart("a", "words", marks(rows), "x", y)
    content = chart.png()
    assert content == chart.png()
    assert struct.unpack(">I", content[16:20])[0] == 1280
    figure = chart.figure()
    figure.draw_without_rendering()
    (legend,) = figure.legends
    assert legend.get_window_extent().width <= figure.bbox.width
    colours = [str(line.get_color()) for line in legend.get_lines()[:groups]]
    assert len(set(colours)) == groups
    assert min(text.get_fontsize() for text in figure.findobj(Text) if text.get_text()) >= 9
