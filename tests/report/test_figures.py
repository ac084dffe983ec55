"""What the figures show: they are caught before they become files, and their lines are read."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text

from repro.report import curves, depth, dots, forest, learning, verdict_grid
from repro.report.ablations import figures_of
from repro.report.drawing import OF_SCALE, STYLE, Drawn, legend
from repro.report.experiments import experiments
from repro.report.figures import figures
from repro.report.settings import Comparison, by_setting
from repro.store.runs import finished
from tests.report.conftest import MakeRun

Catch = Callable[[Any, Callable[[], Any]], Figure]
EXPERIMENTS = {one.name: one for one in experiments()}


@pytest.fixture
def catch(monkeypatch: pytest.MonkeyPatch) -> Catch:
    """The figure that a drawer of a module would have written."""

    def caught(module: Any, draw: Callable[[], Any]) -> Figure:
        monkeypatch.setattr(module, "drawn", lambda _name, _caption, figure: figure)
        with mpl.rc_context(STYLE):
            figure = draw()
        assert isinstance(figure, Figure)
        return figure

    return caught


def comparison(tmp_path: Path) -> Comparison:
    (only,) = by_setting(finished(tmp_path / "runs"))
    return only


def widths(figure: Drawn) -> int:
    return int(struct.unpack(">I", figure.png[16:20])[0])


def words(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def claim(name: str, **changes: Any) -> dict[str, Any]:
    row = {
        **{"claim": name, "primary": True, "family": "depth", "kind": "better", "margin": 0.0},
        **{"difference": -1.0, "ci_low": -1.6, "ci_high": -0.4},
        **{"relative": -10.0, "relative_low": -16.0, "relative_high": -4.0},
        **{"paper_relative": -6.0, "paper_relative_other": None, "one_seed": False, "reason": ""},
        **{"verdict": "reproduced", "verdict_holm": "reproduced"},
        **{"verdict_nets": "reproduced", "verdict_configuration": "reproduced"},
    }
    return row | changes


def drawn_claims(catch: Catch, *rows: dict[str, Any]) -> tuple[Figure, Axes]:
    sentences = {row["claim"]: f"Sentence {row['claim']}." for row in rows}
    frame = pd.DataFrame(list(rows))
    figure = catch(forest, lambda: forest.primary_figure(frame, sentences))
    return figure, figure.axes[0]


def test_primary_claims_stand_beside_the_papers_effects(catch: Catch) -> None:
    other = claim("b", one_seed=True, paper_relative_other=-20.0, verdict="not decided")
    figure, axes = drawn_claims(catch, claim("a"), other, claim("c", primary=False))
    said = words(figure)
    assert {"Sentence a.", "Sentence b.", "reproduced"} <= set(said)
    assert "Sentence c." not in said
    assert any("with Holm" in text for text in said), "it differs from the verdict"
    points = {line.get_marker(): float(line.get_xdata()[0]) for line in axes.lines}
    assert points["o"] == -10.0
    crosses = [float(line.get_xdata()[0]) for line in axes.lines if line.get_marker() == "x"]
    assert sorted(crosses) == [-20.0, -6.0, -6.0]
    spans = [line for line in axes.lines if list(line.get_xdata()) == [-16.0, -4.0]]
    assert sorted(str(line.get_linestyle()) for line in spans) == ["-", "--"]
    hollow = [line for line in axes.lines if line.get_marker() == "o"]
    assert [to_hex(line.get_markerfacecolor()) == "#ffffff" for line in hollow] == [False, True]


def test_what_lies_beyond_is_pointed_at_and_what_has_no_number_says_why(catch: Catch) -> None:
    far = claim("far", relative=-91.4, relative_low=-93.0, relative_high=-90.0)
    untested = claim("no", relative=None, verdict="not testable here", reason="too few channels")
    counted = claim("count", kind="counts", relative=None, difference=-85.0, ci_low=-99, ci_high=-5)
    figure, axes = drawn_claims(catch, far, untested, counted)
    said = words(figure)
    assert "-91" in said
    assert "too few channels" in said
    assert "share of seeds that learn: -85 points [-99; -5]" in said
    low, high = axes.get_xlim()
    assert -60 < low < high < 60


def test_the_field_where_a_claim_holds_is_the_margin(catch: Catch) -> None:
    # A margin of 0.45 points where 10 points are 100%: 4.5%.
    numbers = {"difference": 0.2, "ci_low": -0.5, "ci_high": 0.9, "margin": 0.45}
    numbers |= {"relative": 2.0, "relative_low": -5.0, "relative_high": 9.0}
    _, axes = drawn_claims(catch, claim("same", kind="equal_within", **numbers))
    field = axes.collections[0].get_paths()[0].vertices
    assert float(np.min(field[:, 0])) == pytest.approx(-4.5)
    assert float(np.max(field[:, 0])) == pytest.approx(4.5)


def test_claims_are_drawn_in_their_order_and_not_at_all_without_primaries() -> None:
    rows = pd.DataFrame([claim("b", primary=False), claim("a", primary=False)])
    sentences = {"a": "First.", "b": "Second."}
    assert forest.primary_figure(rows, sentences) is None
    assert verdict_grid.verdicts_figure(rows[:0], sentences) is None
    figure = verdict_grid.verdicts_figure(rows, sentences)
    assert figure is not None
    assert figure.svg.index(b"First.") < figure.svg.index(b"Second.")


def test_the_grid_has_a_cell_for_each_question(catch: Catch) -> None:
    rows = [
        claim("p", verdict_nets="contradicted", verdict_configuration="not decided"),
        claim("s", primary=False, verdict_configuration="", verdict_holm="", family="lrn"),
    ]
    figure = catch(
        verdict_grid,
        lambda: verdict_grid.verdicts_figure(pd.DataFrame(rows), {"p": "One.", "s": "Two."}),
    )
    said = words(figure)
    assert [letter for letter in said if letter in {"R", "C", "?", "–"}] == ["C", "?", "R", "R"]
    assert {"depth", "lrn"} <= set(said)
    bold = {text.get_text(): text.get_weight() for text in figure.findobj(Text)}
    assert (bold["One."], bold["Two."]) == ("bold", "normal")


def test_errors_are_relative_to_net_a(tmp_path: Path, make_run: MakeRun, catch: Catch) -> None:
    for seed, (of_a, of_d) in enumerate([(20, 10), (20, 14)]):
        make_run("arch=A", f"seed={seed}", wrong=of_a)
        make_run("arch=D", f"seed={seed}", wrong=of_d)
    here = comparison(tmp_path)
    figure = catch(depth, lambda: depth.error_against_depth(here))
    lines = figure.axes[0].lines
    seeds = next(line for line in lines if line.get_marker() == "o")
    assert list(seeds.get_ydata()) == pytest.approx([-50.0, -30.0])
    mean = next(line for line in lines if line.get_marker() == "_")
    assert list(mean.get_ydata()) == pytest.approx([-40.0])
    paper = [float(line.get_ydata()[0]) for line in lines if line.get_marker() == "x"]
    assert paper == pytest.approx([0.0, 100 * (27.0 / 29.6 - 1)]), "Table 3"


@pytest.mark.parametrize("nets", [["A"], ["D", "E"]])
def test_depth_needs_a_and_another_net(tmp_path: Path, make_run: MakeRun, nets: list[str]) -> None:
    for net in nets:
        make_run(f"arch={net}")
    assert depth.error_against_depth(comparison(tmp_path)) is None


def test_a_line_bridges_no_test_scale(tmp_path: Path, make_run: MakeRun, catch: Catch) -> None:
    folder = tmp_path / "runs" / make_run("arch=D", "scale=S384")
    for q in (256, 320):
        (folder / "views" / f"dense-Q{q}.npz").unlink()
    other = tmp_path / "runs" / make_run("arch=E", "scale=S384")
    for view in (other / "views").iterdir():
        if view.stem not in ("dense-Q384", "centre-Q384"):
            view.unlink()
    here = comparison(tmp_path)
    figure = catch(curves, lambda: curves.curves(EXPERIMENTS["test_scale"], here))
    panels = {panel.get_title(): panel for panel in figure.axes}
    assert set(panels) == {"D, dense", "D, multi-crop"}, "E was tested at one Q"
    (line,) = (line for line in panels["D, dense"].lines if len(line.get_xdata()) > 2)
    open_at = np.isnan(np.asarray(line.get_ydata(), dtype=float))
    assert [224 + 32 * int(place) for place in np.flatnonzero(open_at)] == [256, 320]


def test_stages_stand_after_one_another(tmp_path: Path, make_run: MakeRun, catch: Catch) -> None:
    for scale in ("S256", "S384", "S256_on", "jitter"):
        make_run("arch=D", f"scale={scale}")
    here = comparison(tmp_path)
    figure = catch(learning, lambda: learning.learning_curves(here))
    (panel,) = figure.axes
    begins = {
        (to_hex(line.get_color()), line.get_linestyle()): float(line.get_xdata()[0])
        for line in panel.lines
        if line.get_linestyle() != ":"
    }
    colour = {scale: to_hex(shown) for scale, shown in OF_SCALE.items()}
    assert begins == {
        (colour["S256"], "-"): 1.0,
        (colour["S384"], "-"): 3.0,
        (colour["S256"], "--"): 3.0,
        (colour["jitter"], "-"): 5.0,
    }, "each stage has two epochs"


def test_a_panel_holds_at_most_six_lines(tmp_path: Path, make_run: MakeRun, catch: Catch) -> None:
    for seed in range(6):
        make_run("arch=D", f"seed={seed}")
    make_run("arch=E")
    here = comparison(tmp_path)
    crowded, single = catch(learning, lambda: learning.learning_curves(here)).axes
    assert (len(crowded.lines), len(crowded.collections)) == (2, 1), "mean, training, band"
    assert (len(single.lines), len(single.collections)) == (2, 0)


def test_one_epoch_is_no_curve(tmp_path: Path, make_run: MakeRun) -> None:
    folder = tmp_path / "runs" / make_run("arch=A")
    (folder / "log.csv").write_text("epoch,train_error,validation_error\n1,50,20\n")
    assert learning.learning_curves(comparison(tmp_path)) is None


def test_seeds_are_dots_and_one_seed_is_hollow(
    tmp_path: Path, make_run: MakeRun, catch: Catch
) -> None:
    for seed, wrong in enumerate((10, 14, 18)):
        make_run("arch=A", f"seed={seed}", wrong=wrong)
    make_run("arch=D", wrong=8)
    here = comparison(tmp_path)
    axes = catch(dots, lambda: dots.errors(here)).axes[0]
    shown = [line for line in axes.lines if line.get_marker() == "o"]
    several = [list(line.get_xdata()) for line in shown if len(line.get_xdata()) == 3]
    assert several == [pytest.approx([5.0, 7.0, 9.0])] * 3, "centre, dense, several scales"
    single = [line for line in shown if len(line.get_xdata()) == 1]
    assert {to_hex(line.get_markerfacecolor()) for line in single} == {"#ffffff"}
    assert [float(line.get_xdata()[0]) for line in single] == pytest.approx([4.0] * 3)


def test_a_net_that_did_not_learn_does_not_squeeze_the_others(
    tmp_path: Path, make_run: MakeRun, catch: Catch
) -> None:
    for arch, wrong in (("A", 12), ("B", 10), ("D", 8), ("E", 180)):
        make_run(f"arch={arch}", wrong=wrong)
    here = comparison(tmp_path)
    figure = catch(dots, lambda: dots.errors(here))
    assert figure.axes[0].get_xlim()[1] < 20
    assert words(figure).count("90") == 3


def test_one_number_is_no_figure(tmp_path: Path, make_run: MakeRun) -> None:
    make_run("arch=B-5x5")
    here = comparison(tmp_path)
    assert figures_of(EXPERIMENTS["filter_size"], here) == []
    make_run("arch=B")
    (figure,) = figures_of(EXPERIMENTS["filter_size"], comparison(tmp_path))
    assert figure.name == "experiment-filter_size"


def test_figures_fit_a_page_and_are_the_same_again(tmp_path: Path, make_run: MakeRun) -> None:
    for arch in ("A", "D", "E"):
        make_run(f"arch={arch}")
    here = comparison(tmp_path)
    found, again = figures(here), figures(here)
    assert [figure.name for figure in found] == ["error-against-depth", "errors", "learning-curves"]
    assert found == again
    frame = pd.DataFrame([claim("a")])
    for draw in (forest.primary_figure, verdict_grid.verdicts_figure):
        drawn = draw(frame, {"a": "A sentence."})
        assert drawn is not None
        assert drawn == draw(frame, {"a": "A sentence."})
        found.append(drawn)
    assert all(widths(figure) <= 1600 for figure in found)


def test_words_can_be_read(tmp_path: Path, make_run: MakeRun, catch: Catch) -> None:
    for arch in ("A", "D"):
        make_run(f"arch={arch}")
    here = comparison(tmp_path)
    drawn = [
        catch(depth, lambda: depth.error_against_depth(here)),
        catch(dots, lambda: dots.errors(here)),
        catch(learning, lambda: learning.learning_curves(here)),
        drawn_claims(catch, claim("a"))[0],
    ]
    for figure in drawn:
        assert figure.get_figwidth() == 8
        sizes = [text.get_fontsize() for text in figure.findobj(Text) if text.get_text()]
        assert min(sizes) >= 9


@pytest.mark.parametrize("words", [2, 6, 12])
def test_a_legend_fits_into_the_figure(words: int) -> None:
    figure = Figure(figsize=(9, 4), layout="constrained")
    figure.add_subplot()
    marks = {f"several words, number {n}": Line2D([], []) for n in range(words)}
    legend(figure, marks)
    figure.draw_without_rendering()
    (found,) = figure.legends
    assert [text.get_text() for text in found.get_texts()] == list(marks)
    assert found.get_window_extent().width <= figure.bbox.width
