from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from repro.config.words import read
from repro.errors import RequestError
from repro.report.__main__ import DEFAULTS
from repro.report.admitted import admitted
from repro.report.measured import COLUMNS
from repro.report.settings import by_setting, command
from repro.report.write import write
from repro.store import views
from repro.store.runs import finished
from repro.store.views import Posteriors
from tests.conftest import Compose
from tests.report.conftest import MakeRun, posteriors

KEY = [column for column in COLUMNS if column not in ("value", "paper", "run")]


def report(tmp_path: Path) -> Path:
    write([tmp_path / "runs"], tmp_path / "out")
    return tmp_path / "out"


def table(folder: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(folder / "tables" / f"{name}.csv", dtype=str, keep_default_na=False)


def test_every_number_of_results_is_the_stores(tmp_path: Path, make_run: MakeRun) -> None:
    name = make_run("arch=D", wrong=30)
    make_run("arch=alexnet", wrong=7)
    rows = pd.read_csv(report(tmp_path) / "results.csv", dtype={"Q": str, "run": str})
    assert list(rows.columns) == COLUMNS
    assert not rows.duplicated(KEY).any()
    d = rows[rows.arch == "D"].set_index(["protocol", "metric"])
    assert d.loc[("single_scale", "top1_error"), "value"] == 15.0, "30 of 200"
    assert d.loc[("single_scale", "top5_error"), "value"] == 0.0, "the second best is right"
    assert d.loc[("multi_scale", "top1_error"), "Q"] == "224,256,288"
    assert d.loc[("single_scale", "top1_error"), "paper"] == 27.0, "Table 3"
    assert d.loc[("multi_scale", "top1_error"), "paper"] == 26.6, "Table 4"
    assert (
        d["paper"]
        .drop(index=[("single_scale", "top1_error"), ("multi_scale", "top1_error")])
        .isna()
        .all()
    )
    assert set(d.run) == {name.rsplit("-", 1)[1]}
    assert rows[rows.arch == "alexnet"].paper.isna().all()


def test_rows_stand_in_the_papers_order_and_open_ones_have_their_command(
    tmp_path: Path, make_run: MakeRun
) -> None:
    make_run("arch=D", wrong=30)
    make_run("arch=B-5x5", wrong=40)
    folder = report(tmp_path)
    table3 = table(folder, "table3")
    assert table3.net.tolist() == ["D"], "what nobody ran is no row, and B-5x5 not the table's"
    assert table(folder, "protocols").net.tolist() == ["D", "B-5x5"]
    d = table3.iloc[0]
    assert d["top-1 here (%)"] == "15.0 [10.7; 20.6]"  # Wilson's interval of 30 in 200
    assert d["top-1 paper (%)"] == "27.0"
    page = (folder / "comparison.md").read_text()
    commands = re.findall(r"^Not run: `python -m repro.run (.*)`$", page, flags=re.MULTILINE)
    runs = f"runs={tmp_path / 'runs'}"
    rest = "A-S256,A-LRN-S256,B-S256,C-S256,C-S384,C-jitter,D-S384,D-jitter,E-S256,E-S384,E-jitter"
    assert commands[0] == f"-m net={rest} {runs}", "Table 3: one line for all"
    tests = "'test=[multi_scale,multi_crop,multi_crop_dense]'"
    assert commands[2] == f"-m net=D-jitter,E-jitter {tests} {runs}", "Table 5"
    appendix = (folder / "appendix.md").read_text()
    assert set(commands) <= set(re.findall(r"^python -m repro.run (.*)$", appendix, re.MULTILINE))


def test_commands_can_be_pasted(tmp_path: Path, make_run: MakeRun) -> None:
    make_run("arch=A", "data.root=/my photos")
    (run,) = finished(tmp_path / "runs")
    words = shlex.split(command(run, ["net=D-S256"], ["crops_each_scale"]))
    assert words[:4] == ["python", "-m", "repro.run", "net=D-S256"]
    assert {"data.root=/my photos", "test=[crops_each_scale]"} < set(words)


def test_a_command_says_none_and_commas_as_hydra_takes_them(
    tmp_path: Path, make_run: MakeRun, compose: Compose
) -> None:
    make_run("arch=A", "scale.parent=null", "data.root='/a,b'")
    (line,) = by_setting(finished(tmp_path / "runs"))[0].made()
    again = compose(*shlex.split(line)[3:])
    assert again.data.root == "/a,b"
    assert again.scale.parent is None


@pytest.mark.parametrize(
    "words", [("scale=S384",), ("arch=blog-vgg11",), ("scale=S384", "finetune=fc")]
)
def test_nets_without_a_file_are_made_by_their_parts(
    tmp_path: Path, make_run: MakeRun, compose: Compose, words: tuple[str, ...]
) -> None:
    make_run(*words)
    (run,) = finished(tmp_path / "runs")
    (line,) = by_setting([run])[0].made()
    again = compose(*shlex.split(line)[3:])
    assert (again.arch, again.scale, again.finetune) == (
        run.config.arch,
        run.config.scale,
        run.config.finetune,
    )


def test_what_two_stores_call_by_one_name_is_told_apart(tmp_path: Path, make_run: MakeRun) -> None:
    make_run("arch=A", "recipe.name=mine", "recipe.learning_rate=0.02", wrong=10)
    (tmp_path / "runs").rename(tmp_path / "earlier")
    make_run("arch=A", "recipe.name=mine", "recipe.learning_rate=0.005", wrong=50)
    write([tmp_path / "earlier", tmp_path / "runs"], tmp_path / "out")
    found = pd.read_csv(tmp_path / "out" / "results.csv")
    assert found[found.protocol == "centre"].recipe.nunique() == 2


def test_a_data_set_of_ones_own_is_no_hindrance(tmp_path: Path, make_run: MakeRun) -> None:
    make_run("arch=A", "data.name=pets", "data.source=mnist5k")
    assert "data=pets" in (report(tmp_path) / "comparison.md").read_text()


def test_who_was_tested_on_other_images_is_left_out(
    tmp_path: Path, make_run: MakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = make_run("arch=A", digests={"test_images": "a" * 64})
    for arch in ("B", "C"):
        make_run(f"arch={arch}", digests={"test_images": "b" * 64})
    assert {run.config.arch.name for run in admitted([tmp_path / "runs"])} == {"B", "C"}
    line = "tested on other images than most runs of its setting"
    assert f"{odd}/result.json: {line}\n" in capsys.readouterr().err


def test_several_seeds_give_mean_spread_and_n(tmp_path: Path, make_run: MakeRun) -> None:
    for seed, wrong in enumerate((10, 14, 18)):
        make_run("arch=A", f"seed={seed}", wrong=wrong)
    row = table(report(tmp_path), "table3").iloc[0]
    assert row["top-1 here (%)"] == "7.0 ± 2.0 (n=3)"
    assert row["seeds"] == "3"


def test_settings_are_never_mixed(tmp_path: Path, make_run: MakeRun) -> None:
    make_run("arch=A", wrong=10)
    make_run("arch=A", "recipe.epochs=9", wrong=50)
    folder = report(tmp_path)
    values = {table.name: pd.read_csv(table) for table in (folder / "tables").glob("*table3.csv")}
    assert len(values) == 2
    assert sorted(frame["top-1 here (%)"].iloc[0] for frame in values.values()) == [
        "25.0 [19.5; 31.4]",
        "5.0 [2.7; 9.0]",
    ]
    assert "recipe quick+epochs=9" in (folder / "comparison.md").read_text()
    assert "recipe=quick" not in (folder / "comparison.md").read_text(), "the default is left out"
    assert "recipe.epochs=9" in (folder / "comparison.md").read_text()


def test_diverged_nets_are_results_and_leave_no_nan(tmp_path: Path, make_run: MakeRun) -> None:
    make_run("arch=A")
    ended = {"validation_error": None, "images_per_second": None, "epochs": 0}
    make_run("arch=E", outcome="diverged", reason="the loss is not finite", **ended)
    folder = report(tmp_path)
    rows = table(folder, "table3")
    assert rows[(rows.net == "E") & (rows.S == "256")]["top-1 here (%)"].item() == "diverged"
    page = (folder / "comparison.md").read_text()
    assert not re.search(r"\bnan\b|\bNone\b|\bNaN\b", page)


def test_only_diverged_nets_are_readable_too(tmp_path: Path, make_run: MakeRun) -> None:
    make_run("arch=E", outcome="diverged", validation_error=None, images_per_second=None)
    folder = report(tmp_path)
    appendix = (folder / "appendix.md").read_text()
    assert "*No run has anything to show for the figure learning-curves.*" not in appendix
    for page in (appendix, (folder / "comparison.md").read_text()):
        assert not re.search(r"\bnan\b|\bNone\b", page)


def test_the_page_is_one_file(tmp_path: Path, make_run: MakeRun) -> None:
    make_run("arch=A")
    page = (report(tmp_path) / "comparison.html").read_text()
    sources = re.findall(r'<img[^>]*src="([^"]*)"', page)
    assert sources
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    anchors = set(re.findall(r'id="([^"]+)"', page))
    assert set(re.findall(r'href="#([^"]+)"', page)) <= anchors


def test_the_same_store_gives_the_same_report(tmp_path: Path, make_run: MakeRun) -> None:
    make_run("arch=A")
    make_run("arch=B", wrong=4)
    first = {p.name: p.read_bytes() for p in report(tmp_path).rglob("*") if p.is_file()}
    second = {p.name: p.read_bytes() for p in report(tmp_path).rglob("*") if p.is_file()}
    assert first == second


def test_deviations_come_from_the_configuration(tmp_path: Path, make_run: MakeRun) -> None:
    make_run("arch=A", "recipe=paper")
    make_run("arch=D", "recipe=paper", "scale.smin=320", "scale.smax=320")
    make_run("arch=B", "recipe=paper", "recipe.batch=64", "init=he")
    folder = report(tmp_path)
    found = {p.name: pd.read_csv(p) for p in (folder / "tables").glob("*deviations.csv")}
    plain = next(frame for name, frame in found.items() if "batch" not in name)
    changed = next(frame for name, frame in found.items() if "batch" in name)
    assert not plain.here.str.contains("batch|initial learning rate|initialisation he").any()
    assert plain.here.str.contains("crop of 28 pixels").any()
    assert plain.here.str.contains("S=320").any()
    assert changed.here.str.contains("mini-batch of 64 images").any()
    assert changed.here.str.contains("initialisation he").any()


def test_other_initialisations_stand_beside_the_settings_own(
    tmp_path: Path, make_run: MakeRun
) -> None:
    for net in ("A-S256", "B-S256", "E-S256"):
        make_run(f"net={net}", wrong=10)
    make_run("net=E-S256-he", wrong=40)
    table3 = table(report(tmp_path), "table3").set_index("net")
    assert table3.loc["E", "top-1 here (%)"].startswith("5.0")
    every = table(tmp_path / "out", "protocols").set_index("net")
    assert every.loc["E, init he", "single scale (%)"].startswith("20.0")


def test_nets_that_start_from_a_share_the_setting_with_it(
    tmp_path: Path, make_run: MakeRun
) -> None:
    make_run("arch=A", wrong=10)
    for arch in ("B", "E"):
        make_run(f"arch={arch}", "init=from_A", wrong=20)
    folder = report(tmp_path)
    rows = table(folder, "table3")
    here = dict(zip(rows.net + rows.S, rows["top-1 here (%)"], strict=True))
    assert here["A256"].startswith("5.0")
    assert here["B256"].startswith("10.0")
    claims = pd.read_csv(folder / "claims.csv").set_index("claim")
    assert claims.loc["depth-A-B", "init"] == "from_A"
    page = (folder / "comparison.md").read_text()
    assert re.search(r"-m net=C-S256,\S+ init=from_A", page)
    # `experiments=lrn` would start A-LRN as the recipe does, which is another net.
    assert "net=A-LRN-S256 init=from_A" in page
    assert "experiments=lrn" not in page


def test_where_one_net_cannot_start_from_a_its_experiment_shows_the_recipes_own_start(
    tmp_path: Path, make_run: MakeRun
) -> None:
    make_run("arch=A")
    for arch in ("B", "C", "D"):
        make_run(f"arch={arch}", "init=from_A", wrong=90)
    for arch in ("B", "B-5x5"):
        make_run(f"arch={arch}", wrong=20)
    folder = report(tmp_path)
    rows = table(folder, "experiment-filter_size").set_index("net")
    assert list(rows.index) == ["B, init glorot, S=256", "B-5x5, init glorot, S=256"]
    assert all(error.startswith("10.0") for error in rows["error here (%)"])
    rows = table(folder, "experiment-depth").set_index("net")
    assert rows.loc["B, S=256", "error here (%)"].startswith("45.0")


def test_top_5_of_the_paper_stands_beside_as_many_classes_only(
    tmp_path: Path, make_run: MakeRun
) -> None:
    make_run("arch=A")
    assert not [name for name in table(report(tmp_path), "table3") if "top-5" in name]


def test_a_report_needs_no_torch_and_refuses_in_one_line(tmp_path: Path, make_run: MakeRun) -> None:
    make_run("arch=A")
    script = (
        "import sys; from repro import report; sys.argv[1:] = ['runs=runs', 'out=out']\n"
        "try: report.main()\nfinally: print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "False"
    assert f"{tmp_path / 'out' / 'comparison.html'}" in done.stdout


@pytest.mark.parametrize("empty", [False, True])
def test_an_empty_store_is_refused(tmp_path: Path, empty: bool) -> None:
    if empty:
        (tmp_path / "runs").mkdir()
    with pytest.raises(RequestError, match=r"python -m repro\.run -m arch=A,B,C,D,E"):
        report(tmp_path)
    assert not (tmp_path / "out").exists()


def test_other_folders_are_not_overwritten(tmp_path: Path, make_run: MakeRun) -> None:
    make_run("arch=A")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("mine")
    with pytest.raises(RequestError, match="is not a report's"):
        report(tmp_path)
    assert (tmp_path / "out" / "thesis.tex").read_text() == "mine"


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("run=x", "KEY=VALUE with one of runs=, out=, fuse="),
        ("--fast", "KEY=VALUE with one of runs=, out=, fuse="),
        ("runs", "runs= has no value: expected runs=VALUE"),
        ("out=", "out= has no value: expected out=VALUE"),
    ],
)
def test_options_are_checked(word: str, said: str) -> None:
    with pytest.raises(RequestError, match=said):
        read([word], DEFAULTS)


def test_ensembles_are_the_mean_of_their_members_posteriors(
    tmp_path: Path, make_run: MakeRun
) -> None:
    # Each net is sure of a wrong class for its first images; the mean of two is as wrong as the
    # sum of what they say: wrong only where both are, for they are sure by 0.51 against 0.55.
    make_run("arch=D", "scale=jitter", wrong=30)
    make_run("arch=E", "scale=jitter", wrong=10)
    write([tmp_path / "runs"], tmp_path / "out", ["D-jitter+E-jitter"])
    rows = pd.read_csv(tmp_path / "out" / "results.csv", dtype={"Q": str, "run": str})
    fused = rows[rows.protocol == "fusion:multi_scale"].iloc[0]
    assert (fused.arch, fused.scale) == ("D+E", "jitter+jitter")
    assert fused.Q == "256,384,512+256,384,512"
    assert fused.run.count("+") == 1
    assert fused.paper == 24.0, "Table 6, two nets, dense"
    # Images 10 to 29: D says 0.51 wrong and 0.1 right, E 0.05 and 0.55: right wins, 0.65 to 0.56.
    assert fused.value == 5.0
    assert {"fusion:single_scale", "fusion:centre"} <= set(rows.protocol)
    table6 = table(tmp_path / "out", "table6")
    assert table6["top-1 here (%)"].iloc[0] == "5.0 [2.7; 9.0]"
    page = (tmp_path / "out" / "comparison.md").read_text()
    assert re.search(r"Not run: `\S+ -m repro.run -m net=\S*D-jitter-fc", page)


def test_an_ensemble_of_what_was_not_run_is_refused(tmp_path: Path, make_run: MakeRun) -> None:
    make_run("arch=D")
    with pytest.raises(RequestError, match="there is no net F-S256, but"):
        write([tmp_path / "runs"], tmp_path / "out", ["D-S256+F-S256"])


def test_a_mean_does_not_hide_the_seeds_that_failed(tmp_path: Path, make_run: MakeRun) -> None:
    make_run("arch=A", "seed=0", wrong=10)
    make_run("arch=A", "seed=1", wrong=14)
    make_run("arch=A", "seed=2", outcome="diverged", validation_error=None, images_per_second=None)
    make_run("arch=E", wrong=180, outcome="did not learn", validation_error=90.0)
    folder = report(tmp_path)
    rows = table(folder, "table3")
    at_256 = rows[rows.S == "256"].set_index("net")["top-1 here (%)"]
    assert at_256["A"] == "6.0 ± 1.4 (n=2), 1 diverged"
    assert at_256["E"].endswith(", 1 did not learn")
    summary = table(folder, "summary").set_index("net")["test error, dense (%)"]
    assert summary["A"] == at_256["A"]


def test_a_net_that_is_not_the_papers_gets_no_number_of_the_papers(
    tmp_path: Path, make_run: MakeRun
) -> None:
    make_run("arch=D-BN")
    make_run("arch=B", "arch.blocks=[[conv3-64],[conv3-128],[conv3-256],[conv3-512],[conv3-512]]")
    folder = report(tmp_path)
    assert pd.read_csv(folder / "results.csv").paper.isna().all()
    departures = table(folder, "deviations").here
    assert departures.str.contains("D-BN: not a column of Table 1, batch normalisation").any()


def test_a_thousand_classes_are_not_imagenet(tmp_path: Path, make_run: MakeRun) -> None:
    counts = {"train": 9, "validation": 9, "test": 200, "mean": [0], "validation_is_test": False}
    make_run("arch=A", "size=paper", data=counts | {"classes": 1000})
    page = (report(tmp_path) / "comparison.md").read_text()
    assert "**A scale model, not ImageNet:**" in page


def test_without_a_net_at_256_the_summary_shows_the_others(
    tmp_path: Path, make_run: MakeRun
) -> None:
    make_run("arch=D", "scale=S384")
    write([tmp_path / "runs"], tmp_path / "out")
    assert table(tmp_path / "out", "summary").net.tolist() == ["D-S384"]


def test_images_that_were_left_out_are_counted(tmp_path: Path, make_run: MakeRun) -> None:
    counts = {"train": 4000, "validation": 500, "test": 200, "classes": 10, "smallest_side": 28}
    counts |= {"mean": [33.0], "validation_is_test": False}
    make_run("arch=A", data={**counts, "left_out": 3})
    page = " ".join((report(tmp_path) / "comparison.md").read_text().split())
    assert "10 classes. 3 image files could not be decoded and were left out." in page


def test_damaged_logs_and_pictures_are_left_out(tmp_path: Path, make_run: MakeRun) -> None:
    folder = tmp_path / "runs" / make_run("arch=A")
    (folder / "log.csv").write_text("")
    (folder / "crops.png").write_text("no picture")
    page = (report(tmp_path) / "appendix.md").read_text()
    assert "*No run has anything to show for the figure learning-curves.*" in page
    assert "*No run has anything to show for the figure training-crops.*" in page


def test_views_of_different_images_have_no_mean(
    tmp_path: Path, make_run: MakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "runs" / make_run("arch=A")
    other = posteriors(3, 200)
    other = Posteriors(other.posteriors, other.labels, np.char.add("x", other.ids))
    (folder / "views" / "dense-Q224.npz").write_bytes(views.encode(other))
    found = pd.read_csv(report(tmp_path) / "results.csv")
    assert "single_scale" in set(found.protocol)
    assert "multi_scale" not in set(found.protocol)
    said = capsys.readouterr().err
    assert re.search("^left out: multi_scale of A-S256.*: the views show different images", said)


def test_a_report_with_something_beside_it_is_kept(tmp_path: Path, make_run: MakeRun) -> None:
    make_run("arch=A")
    (report(tmp_path) / "notes.txt").write_text("mine")
    with pytest.raises(RequestError, match="holds notes.txt, which is not a report's"):
        report(tmp_path)
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"


def test_a_report_is_replaced_from_within(
    tmp_path: Path, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run("arch=A")
    monkeypatch.chdir(report(tmp_path))
    write([tmp_path / "runs"], Path("."))
    assert (tmp_path / "out" / "comparison.html").is_file()


@pytest.mark.parametrize("members", ["A-S256", "A-S256+A-S256"])
def test_an_ensemble_has_several_nets(tmp_path: Path, make_run: MakeRun, members: str) -> None:
    make_run("arch=A")
    with pytest.raises(RequestError, match="expected two nets or more, each once"):
        write([tmp_path / "runs"], tmp_path / "out", [members])


def test_a_reason_is_text_and_no_markup(tmp_path: Path, make_run: MakeRun) -> None:
    make_run("arch=A")
    folder = tmp_path / "runs" / make_run("arch=B")
    (folder / "result.json").unlink()
    (folder / "failed.json").write_text('{"reason": "no <b>such</b> file"}')
    page = (report(tmp_path) / "comparison.html").read_text()
    assert "no &lt;b>such&lt;/b> file" in page.replace("&gt;", ">")


def test_one_name_with_two_contents_is_two_rows(tmp_path: Path, make_run: MakeRun) -> None:
    # As after a file of one's own in conf/arch/ was edited.
    one, other = "arch.blocks=[[conv3-64],[conv3-128]]", "arch.blocks=[[conv3-64]]"
    make_run("arch.name=mine", "size=tiny", one, "seed=0", wrong=10)
    make_run("arch.name=mine", "size=tiny", one, "seed=1", wrong=14)
    make_run("arch.name=mine", "size=tiny", other, "seed=0", wrong=50)
    folder = report(tmp_path)
    rows = pd.read_csv(folder / "results.csv", dtype={"Q": str, "run": str})
    assert not rows.duplicated(KEY).any()
    assert rows.arch.nunique() == 2
    assert set(table(folder, "summary")["test error, centre crop (%)"]) == {
        "6.0 ± 1.4 (n=2)",
        "25.0 [19.5; 31.4]",
    }


def test_commands_say_changed_values_as_they_were(tmp_path: Path, make_run: MakeRun) -> None:
    make_run("arch=A", "recipe.learning_rate=1e30", "recipe.clip=2")
    page = (report(tmp_path) / "comparison.md").read_text()
    assert "recipe.learning_rate=1e+30 recipe.clip=2.0" in page


def test_an_ensemble_in_another_order_is_the_papers(tmp_path: Path, make_run: MakeRun) -> None:
    make_run("arch=D", "scale=jitter", wrong=30)
    make_run("arch=E", "scale=jitter", wrong=10)
    write([tmp_path / "runs"], tmp_path / "out", ["E-jitter+D-jitter"])
    rows = pd.read_csv(tmp_path / "out" / "results.csv", dtype=str)
    fused = rows[rows.protocol == "fusion:multi_scale"]
    assert fused.arch.tolist() == ["D+E"] * 2, "top-1 and top-5"
    assert table(tmp_path / "out", "table6")["top-1 paper (%)"].tolist().count("24.0") == 1


def test_nets_without_a_common_seed_are_no_ensemble(tmp_path: Path, make_run: MakeRun) -> None:
    make_run("arch=D", "seed=0")
    make_run("arch=E", "seed=1")
    with pytest.raises(RequestError, match="no seed and no protocol in common"):
        write([tmp_path / "runs"], tmp_path / "out", ["D-S256+E-S256"])


def test_what_diverged_names_no_setting_and_is_not_asked_for_again(
    tmp_path: Path, make_run: MakeRun
) -> None:
    make_run("net=E-S256", wrong=20)
    diverged = {"outcome": "diverged", "validation_error": None, "images_per_second": None}
    for net in ("A-S256-he", "E-S256-he"):
        make_run(f"net={net}", **diverged)
    make_run("net=D-S256", **diverged)
    folder = report(tmp_path)
    table3 = table(folder, "table3").set_index("net")
    assert table3.loc["E", "top-1 here (%)"].startswith("10.0")
    every = table(folder, "protocols").set_index("net")
    assert every.loc["E, init he", "single scale (%)"] == "diverged"
    assert table(folder, "table6")["top-1 here (%)"].iloc[0] == "a member diverged"
    page = (folder / "comparison.md").read_text()
    asked = re.findall(r"-m net=(\S+)", page)
    assert any("E-S384" in nets.split(",") for nets in asked)
    assert not any("D-S256" in nets.split(",") for nets in asked)
