"""What a report says of stores whose every number is known."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from repro.errors import RequestError
from repro.report.measured import COLUMNS
from repro.report.write import write
from tests.report.conftest import DIVERGED, MakeRun

KEY = [column for column in COLUMNS if column not in ("value", "paper", "run")]
HOLE = r"\b(nan|NaN|NaT|None(?! of))\b"


def report(tmp_path: Path, *fuse: str) -> Path:
    write([tmp_path / "runs"], tmp_path / "out", fuse)
    return tmp_path / "out"


def table(folder: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(folder / "tables" / f"{name}.csv", dtype={"S": str, "Q": str})


def words(folder: Path) -> str:
    return " ".join((folder / "comparison.md").read_text().split())


def test_every_number_of_results_is_the_stores(tmp_path: Path, make_run: MakeRun) -> None:
    name = make_run("arch=D", wrong=30)
    make_run("arch=alexnet", wrong=7)
    rows = pd.read_csv(report(tmp_path) / "results.csv", dtype={"Q": str, "run": str})
    assert list(rows.columns) == COLUMNS
    assert not rows.duplicated(KEY).any()
    d = rows[rows.arch == "D"].set_index(["protocol", "metric"])
    single, multi = ("single_scale", "top1_error"), ("multi_scale", "top1_error")

    def of(key: tuple[str, str], column: str) -> list[object]:
        # Older pandas gives a series of one.
        return list(np.ravel(d.loc[key, column]))

    assert of(single, "value") == [15.0], "30 of 200"
    assert of(("single_scale", "top5_error"), "value") == [0.0], "the second best is right"
    assert of(multi, "Q") == ["224,256,288"]
    assert of(single, "paper") + of(multi, "paper") == [27.0, 26.6], "Tables 3 and 4"
    assert d["paper"].drop(index=[single, multi]).isna().all()
    assert set(d.run) == {name.rsplit("-", 1)[1]}
    assert rows[rows.arch == "alexnet"].paper.isna().all()


def test_tables_hold_numbers_in_the_papers_order(tmp_path: Path, make_run: MakeRun) -> None:
    for seed, wrong in enumerate((10, 14, 18)):
        make_run("arch=A", f"seed={seed}", wrong=wrong)
    make_run("arch=D", "data.name=my_pets", "data.source=mnist5k", wrong=30)
    make_run("arch=D", wrong=30)
    make_run("arch=B-5x5", wrong=40)
    write([tmp_path / "runs"], folder := tmp_path / "out", latex=True)
    (name,) = [file.stem for file in (folder / "tables").glob("mnist5k*table3.csv")]
    table3 = table(folder, name).set_index("net")
    assert table3.index.tolist() == ["A", "D"], "what nobody ran is no row, B-5x5 not the table's"
    numbers = table3[["mean", "sd", "n", "low", "high", "paper"]]
    # Student's interval of 5, 7 and 9 over three seeds; Wilson's of 30 in 200.
    assert numbers.loc["A"].tolist() == pytest.approx([7.0, 2.0, 3, 2.03, 11.97, 29.6], abs=0.01)
    assert numbers.loc["D"].drop("sd").tolist() == pytest.approx([15, 1, 10.7, 20.6, 27], abs=0.05)
    page = (folder / "comparison.md").read_text()
    assert re.search(r"\| A \| 256 \| single scale \| 256 \| 7\.0 ± 2\.0 \| 3 \| 29\.6 \|", page)
    assert "15.0 [10.7; 20.6] | 1 | 27.0" in page
    assert "15.0 [10.7; 20.6]" in (folder / "tables" / f"{name}.tex").read_text()
    (other,) = (folder / "tables").glob("my_pets*deviations.tex")
    assert r"my\_pets" in other.read_text()


def test_settings_are_never_mixed(tmp_path: Path, make_run: MakeRun) -> None:
    make_run("arch=A", wrong=10)
    make_run("arch=A", "recipe.epochs=9", wrong=50)
    folder = report(tmp_path)
    means = [pd.read_csv(one)["mean"].item() for one in (folder / "tables").glob("*table3.csv")]
    assert sorted(means) == [5.0, 25.0]
    page = (folder / "comparison.md").read_text()
    header = next(line for line in page.splitlines() if line.startswith("| claim |"))
    assert header.count("recipe quick") == 2, "the grid has a column for each setting"
    assert "recipe quick, epochs 9" in header
    assert page.count("| block 1 |") == 1, "what is the same for all settings stands once"
    assert page.count("-m repro.run experiments=blog") == 1


def test_what_failed_is_a_result_and_leaves_no_hole(tmp_path: Path, make_run: MakeRun) -> None:
    make_run("arch=D", reason="the loss is not finite", epochs=0, **DIVERGED)
    assert not re.search(HOLE, words(report(tmp_path)))
    make_run("arch=A", "seed=0", wrong=10)
    make_run("arch=A", "seed=1", wrong=14)
    make_run("arch=A", "seed=2", **DIVERGED)
    make_run("arch=E", wrong=180, outcome="did not learn", validation_error=90.0)
    rows = table(folder := report(tmp_path), "table3").set_index("net")
    assert rows.loc["A", ["mean", "n", "note"]].tolist() == [6.0, 2, "1 diverged"]
    assert (np.isnan(rows.loc["D", "mean"]), rows.loc["D", "note"]) == (True, "1 diverged")
    assert rows.loc["E", "note"] == "1 did not learn"
    page = words(folder)
    assert not re.search(HOLE, page)
    assert re.search(r"\| 6\.0 ± 1\.4 \| 2 \| 29\.6 \| 1 diverged \|", page)


def test_the_page_is_one_file_that_answers_first(tmp_path: Path, make_run: MakeRun) -> None:
    make_run("arch=A", wrong=20)
    make_run("arch=D", wrong=60)
    first = {p.name: p.read_bytes() for p in report(tmp_path).rglob("*") if p.is_file()}
    second = {p.name: p.read_bytes() for p in report(tmp_path).rglob("*") if p.is_file()}
    assert first == second, "the same store gives the same report"
    page = second["comparison.html"].decode()
    sources = re.findall(r'<img[^>]*src="([^"]*)"', page)
    assert sources
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    anchors = re.findall(r'id="([^"]+)"', page)
    assert len(anchors) == len(set(anchors))
    assert set(re.findall(r'href="#([^"]+)"', page)) <= set(anchors)
    places = ["primary claims:", "| claim |", "## The verdicts", "## Table 3", "## Other people"]
    places += ["## Experiment", "## Limits", "\n# Details"]
    text = second["comparison.md"].decode()
    found = [text.index(word) for word in places]
    assert found == sorted(found)
    assert "one seed: it holds for these nets" in text, "where the verdict stands"


def test_nets_that_start_in_another_way_are_named_so(tmp_path: Path, make_run: MakeRun) -> None:
    make_run("arch=A", wrong=10)
    for arch in ("B", "C", "D"):
        make_run(f"arch={arch}", "init=from_A", wrong=90)
    for arch in ("B", "B-5x5"):
        make_run(f"arch={arch}", wrong=20)
    folder = report(tmp_path)
    here = table(folder, "table3").set_index("net")["mean"]
    assert (here["A"], here["B"]) == (5.0, 45.0)
    every = table(folder, "protocols").set_index(["net", "test"])
    assert every.loc[("B, init glorot", "single scale"), "mean"] == 10.0
    assert pd.read_csv(folder / "claims.csv").set_index("claim").init["depth-A-B"] == "from_A"
    assert re.search(r"E-S256,\S+ init=from_A", words(folder))
    # Where one net cannot start from A, its experiment shows the recipe's own start.
    rows = table(folder, "experiment-filter_size").set_index("net")
    assert rows["mean"].to_dict() == {"B, init glorot": 10.0, "B-5x5, init glorot": 10.0}
    assert table(folder, "experiment-depth").set_index("net").loc["B", "mean"] == 45.0


def test_what_is_not_a_reports_is_refused_and_stays(tmp_path: Path, make_run: MakeRun) -> None:
    with pytest.raises(RequestError, match=r"python -m repro\.run"):
        report(tmp_path)
    assert not (tmp_path / "out").exists()
    make_run("arch=A")
    folder = report(tmp_path)
    for notes in (folder / "notes.txt", folder / "figures" / "poster.svg"):
        notes.write_text("mine")
        with pytest.raises(RequestError, match=re.escape(str(notes.relative_to(folder)))):
            report(tmp_path)
        assert notes.read_text() == "mine"
        notes.unlink()


def test_ensembles_are_the_mean_of_their_members_posteriors(
    tmp_path: Path, make_run: MakeRun
) -> None:
    make_run("arch=D", "scale=jitter", wrong=30)
    make_run("arch=E", "scale=jitter", wrong=10)
    rows = pd.read_csv(
        report(tmp_path, "E-jitter+D-jitter") / "results.csv", dtype={"Q": str, "run": str}
    )
    fused = rows[rows.protocol == "fusion:multi_scale"].iloc[0]
    assert (fused.arch, fused.scale) == ("D+E", "jitter+jitter"), "the paper's order"
    assert fused.Q == "256,384,512+256,384,512"
    assert fused.run.count("+") == 1
    assert fused.paper == 24.0, "Table 6, two nets, dense"
    # Images 10 to 29: D says 0.51 wrong and 0.1 right, E 0.05 and 0.55: right wins, 0.65 to 0.56.
    assert fused.value == 5.0
    assert {"fusion:single_scale", "fusion:centre"} <= set(rows.protocol)
    assert table(tmp_path / "out", "table6")["mean"].iloc[0] == 5.0
    write([tmp_path / "runs"], tmp_path / "both", ["E-jitter+D-jitter", "D-jitter+E-jitter"])
    assert len(pd.read_csv(tmp_path / "both" / "results.csv")) == len(rows)


def test_an_ensemble_that_cannot_be_is_refused(tmp_path: Path, make_run: MakeRun) -> None:
    make_run("arch=A", "seed=0")
    make_run("arch=B", "seed=1")
    for fuse in ("A-S256+F-S256", "A-S256", "A-S256+A-S256", "A-S256+B-S256"):
        with pytest.raises(RequestError, match=re.escape(f"fuse={fuse}")):
            report(tmp_path, fuse)
    with pytest.raises(RequestError, match="no finished run of D-S256: there are A-S256, B-S256"):
        report(tmp_path, "A-S256+D-S256")


def test_what_is_not_the_papers_gets_no_number_of_the_papers(
    tmp_path: Path, make_run: MakeRun
) -> None:
    counts = {"train": 9, "validation": 9, "test": 200, "mean": [0], "validation_is_test": False}
    data = counts | {"classes": 1000, "left_out": 3}
    make_run("arch=D-BN", "size=paper", data=data)
    make_run("arch=B", "arch.blocks=[[conv3-64],[conv3-128]]", "size=paper", data=data)
    folder = report(tmp_path)
    assert pd.read_csv(folder / "results.csv").paper.isna().all()
    assert table(folder, "deviations").here.str.contains("D-BN: not a column of Table 1").any()
    assert "A scale model, not ImageNet" in words(folder), "a thousand classes are not ImageNet"
    assert "3 image files could not be decoded" in words(folder)


def test_claims_on_starts_alone_are_reported(tmp_path: Path, make_run: MakeRun) -> None:
    for seed in range(7):
        for start in ("normal", "glorot"):
            make_run(f"net=E-S256-{start}", f"seed={seed}")
    assert "13 primary claims" in words(report(tmp_path))


def test_two_settings_that_a_file_name_cannot_tell_apart_have_files_of_their_own(
    tmp_path: Path, make_run: MakeRun
) -> None:
    for clip in ("1.5", "15"):
        for arch in "AB":
            make_run(f"arch={arch}", f"recipe.clip={clip}")
    folder = report(tmp_path)
    assert len(list(folder.glob("tables/*table3.csv"))) == 2
    assert len(list(folder.glob("figures/*errors.png"))) == 2


def test_one_name_with_two_contents_is_two_rows(tmp_path: Path, make_run: MakeRun) -> None:
    # As after a file of one's own in conf/arch/ was edited.
    one, other = "arch.blocks=[[conv3-64],[conv3-128]]", "arch.blocks=[[conv3-64]]"
    make_run("arch.name=mine", "size=tiny", one, "seed=0", wrong=10)
    (tmp_path / "runs").rename(tmp_path / "earlier")
    make_run("arch.name=mine", "size=tiny", other, "seed=0", wrong=50)
    write([tmp_path / "earlier", tmp_path / "runs"], folder := tmp_path / "out")
    rows = pd.read_csv(folder / "results.csv", dtype={"Q": str, "run": str})
    assert not rows.duplicated(KEY).any()
    assert rows.arch.nunique() == 2
    every = table(folder, "protocols")
    assert sorted(every[every.test == "centre"]["mean"]) == [5.0, 25.0]
