"""What the figures show: the frames of their marks are read, and each frame is drawn."""

import os
import struct
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from matplotlib.text import Text

from repro.report import charts, figure
from repro.report.claims import COLUMNS, claims
from repro.report.drawing import Drawers
from repro.report.experiments import experiments
from repro.report.marks import Chart, marks
from repro.report.settings import Comparison
from repro.store.runs import finished
from tests.report.conftest import MakeRun

EXPERIMENTS = {one.name: one for one in experiments()}


def comparison(tmp_path: Path) -> Comparison:
    return Comparison(finished(tmp_path / "runs"))


def errors(here: Comparison) -> Chart | None:
    return charts.compared("errors", "Errors", here, sorted(here.nets), list(here.config.test))


def shown(chart: Chart | None, *kinds: str) -> pd.DataFrame:
    assert chart is not None
    return chart.marks[chart.marks.mark.isin(kinds)]


def test_primary_claims_stand_beside_the_papers_effects() -> None:
    margin = next(one.margin for one in claims() if one.claim == "depth-saturates")
    usual = {
        **dict.fromkeys(COLUMNS),
        **{"primary": True, "one_seed": False, "metric": "share_learning"},
        **{"log_odds": -0.2, "log_odds_low": -0.3, "log_odds_high": -0.1, "paper_log_odds": -0.06},
        "verdict_holm": "reproduced",
    }
    rows: list[dict[str, Any]] = [
        {"claim": "depth-lowers-error", "verdict_holm": "not decided"},
        {"claim": "depth-saturates", "one_seed": True},
        {"claim": "context-helps", "log_odds": None}
        | {"difference": -85, "ci_low": -99, "ci_high": -5},
        {"claim": "several-scales-help", "primary": False},
    ]
    judged = pd.DataFrame([usual | row for row in rows], columns=COLUMNS)
    chart = charts.primary_claims(judged)
    assert shown(chart, "beside").words.tolist() == [
        *("not decided", "reproduced"),
        "reproduced\nshare learning:\n-85 points [-99; -5]",
    ]
    points = shown(chart, "mean", "one seed")[["mark", "x", "low", "high"]].to_numpy().tolist()
    assert points == [["mean", -0.2, -0.3, -0.1], ["one seed", -0.2, -0.3, -0.1]]
    assert shown(chart, "paper").x.tolist() == [-0.06, -0.06]
    fields = shown(chart, "field")[["low", "high"]].to_numpy().tolist()
    assert fields == [[-float("inf"), 0], [-margin, margin]]
    assert charts.primary_claims(judged[3:]) is None
    assert charts.primary_claims(judged[2:]) is None, "shares of runs have no place on the axis"


def test_a_curve_is_of_the_seeds_that_have_every_scale(tmp_path: Path, make_run: MakeRun) -> None:
    folder = tmp_path / "runs" / make_run("arch=D", "scale=S384", wrong=20)
    for q in (256, 320):
        (folder / "views" / f"dense-Q{q}.npz").unlink()
    other = tmp_path / "runs" / make_run("arch=D", "scale=S384", "seed=1", wrong=60)
    for view in (other / "views").iterdir():
        if view.stem not in ("dense-Q384", "dense-Q416"):
            view.unlink()
    chart = charts.of_experiment(EXPERIMENTS["test_scale"], comparison(tmp_path))
    found = shown(chart, "line")[lambda marks: marks.facet == "D, dense"]
    lines = [list(part.x) for _, part in found.groupby("line")]
    assert lines == [[224], [288], [352, 384, 416, 448, 480, 512]], "open where it was not tested"
    assert set(found.y) == {10.0}
    assert figure.figure(chart).axes[0].get_xticks().tolist() == sorted(found.x)


def test_seeds_are_dots_and_who_did_not_learn_is_pointed_at(
    tmp_path: Path, make_run: MakeRun
) -> None:
    for seed, wrong in enumerate((10, 14, 18)):
        make_run("arch=A", f"seed={seed}", wrong=wrong)
    make_run("arch=D", wrong=8)
    make_run("arch=E", wrong=180)
    chart = errors(comparison(tmp_path))
    assert chart is not None
    assert sorted(set(shown(chart, "seed").x)) == pytest.approx([5.0, 7.0, 9.0])
    assert set(shown(chart, "one seed").x) == {4.0, 90.0}
    assert "Seeds of a net: 1 to 3." in chart.caption
    drawn = figure.figure(chart)
    assert drawn.axes[0].get_xlim()[1] < 20, "it does not squeeze the others"
    assert [text.get_text() for text in drawn.findobj(Text)].count("90 >") == 3


def test_an_interval_that_goes_on_beyond_the_axis_is_pointed_at() -> None:
    rows: list[dict[str, Any]] = [
        {"mark": "mean", "y": name, "x": x, "low": low, "high": high}
        for name, x, low, high in (("a", 5, 4, 6), ("b", 6, -90, 7), ("c", 7, 6, 90))
    ]
    (panel,) = figure.figure(Chart("a", "words", marks(rows), "x")).axes
    left, right = panel.get_xlim()
    assert 0 <= left < 4 < 7 < right < 30
    arrows = {line.get_marker(): list(line.get_xdata()) for line in panel.get_lines()}
    assert (arrows["<"], arrows[">"]) == ([left], [right])


@pytest.mark.parametrize("groups", [2, 12])
@pytest.mark.parametrize("y", ["", "error (%)"])
def test_a_figure_fits_a_page_and_no_two_entries_look_alike(groups: int, y: str) -> None:
    where: list[dict[str, Any]] = [
        {"group": f"several words, number {n}", "mark": "mean", "low": 4.0, "high": 6.0 + n}
        for n in range(groups)
    ]
    rows = [one | ({"x": 1, "y": 5} if y else {"x": 5, "y": "a row"}) for one in where]
    chart = Chart("a", "words", marks(rows), "x", y)
    content = figure.png(chart)
    assert content == figure.png(chart)
    assert struct.unpack(">I", content[16:20])[0] == 1280
    drawn = figure.figure(chart)
    drawn.draw_without_rendering()
    (legend,) = drawn.legends
    assert legend.get_window_extent().width <= drawn.bbox.width
    assert len({str(line.get_color()) for line in legend.get_lines()[:groups]}) == groups


@pytest.mark.parametrize("cores", [1, 2, 9])
@pytest.mark.parametrize("fails", ["", "killed", "raises"])
def test_all_figures_are_drawn_whatever_befalls_a_process_that_draws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cores: int, fails: str
) -> None:
    one = {"mark": "mean", "group": "a", "y": "a row", "low": 4.0, "high": 6.0}
    drawn = {f"{n}.png": Chart("a", "words", marks([one | {"x": n}]), "x") for n in range(4)}
    wanted = {name: figure.png(chart) for name, chart in drawn.items()}
    usual, here = figure.png, os.getpid()

    def png(chart: Chart) -> bytes:
        if fails and os.getpid() != here:
            if fails == "killed":
                os.kill(os.getpid(), 9)
            raise OSError(28, "No space left on device")
        return usual(chart)

    monkeypatch.setattr(figure, "png", png)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
    with Drawers(tmp_path / "figures") as drawers:
        drawers.draw(drawn)
        drawers.wait()
    assert {one.name: one.read_bytes() for one in (tmp_path / "figures").iterdir()} == wanted
