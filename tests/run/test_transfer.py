"""Descriptors on other data (Appendix B): from the command to the scores and the report."""

import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.svm import LinearSVC

import repro
from repro.config.command import command, requests_of
from repro.errors import RequestError
from repro.paper import numbers
from repro.protocol.measures import TEST
from repro.release.trained import finished_run
from repro.report.table11 import charts
from repro.report.transfer import Transfers
from repro.report.transfer_claims import claims, row_of
from repro.report.write import write
from repro.run import transfer
from repro.run.resolving import resolve
from repro.store.runs import finished, read_run
from tests.conftest import only, plan
from tests.data.test_targets import voc
from tests.protocol.test_measures import vocap

KINDS = ("BACKGROUND_Google", "ant", "bee")
WORDS = ["size=tiny", "threads=1", "progress=false", "workers=0", "data=caltech101"]
WIDTH = "size.width=0.05"
"""A changed size has a name of its own."""
CLAIM = {
    **{"claim": "x", "kind": "better", "seeds": 1, "tests": "transfer_stacked", "section": "B"},
    **{"data": ["caltech101"], "metric": "recall_error"},
}
BOTH = "test=[transfer_stacked,transfer_averaged,transfer_pixels]"


@pytest.fixture(scope="module", autouse=True)
def small_c() -> Iterator[None]:
    """For larger ones liblinear may stop before it has converged."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transfer, "COSTS", (0.01, 0.1))
        yield


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Caltech-101 of three classes that differ a little in colour."""
    place, random = tmp_path_factory.mktemp("target"), np.random.default_rng(0)
    for label, kind in enumerate(KINDS):
        for n in range(34):
            pixels = random.integers(0, 200, (24, 30 + n % 3, 3))
            pixels[..., label] += 25
            file = place / "caltech101" / "101_ObjectCategories" / kind / f"image_{n:04d}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).save(file)
    return place


def asked(root: Path, runs: Path, *words: str) -> int:
    return command([*WORDS, f"data.root={root}", f"runs={runs}", *words])


@pytest.fixture(scope="module")
def tested(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Path:
    """A store with A, B and C (of seed 3) at random, the others' descriptors with A's too."""
    runs = tmp_path_factory.mktemp("transfer") / "runs"
    assert asked(root, runs, WIDTH, "arch=A", "weights=random", BOTH) == 0
    for words in ([WIDTH, "arch=B"], [WIDTH, "arch=C", "seed=3"]):
        words += ["weights=random", "test=[transfer_stacked]"]
        assert asked(root, runs, *words) == 0
        assert asked(root, runs, *words, f"stack={only(runs, 'A')}") == 0
    return runs


def rows_of(folder: Path, *names: str) -> list[np.ndarray]:
    return [np.load(folder / "views" / f"{name}.npz")["descriptors"] for name in names]


NAMES = [f"descriptor-Q{q}-mirrored" for q in (256, 384, 512)]


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize(
    ("arch", "test"),
    [("A", "transfer_stacked"), ("A", "transfer_averaged"), ("B", "transfer_stacked+")],
)
def test_scores_follow_from_the_stored_descriptors(tested: Path, arch: str, test: str) -> None:
    """Each net's are of length one, and so are those of two nets together."""
    nets = [only(tested, f"{arch}-"), only(tested, "A-")][: 1 + test.endswith("+")]
    each = [np.array(rows_of(net, *NAMES)) for net in nets]
    nets_own = [unit(np.mean(v, axis=0) if "averaged" in test else np.hstack(v)) for v in each]
    rows, (file,) = unit(np.hstack(nets_own)), nets[0].glob(f"scores-{test.replace('+', '+*')}.npz")
    assert rows.shape == (102, 205 * (1 if "averaged" in test else 3) * len(nets))
    found = np.load(file)
    for split, part in enumerate(found["parts"]):
        train, out = (part == 1) | (part == 2), part == 3
        machine = LinearSVC(C=found["chosen"][split], dual=True, random_state=0)
        machine.fit(rows[train], found["labels"][train])
        expected = machine.decision_function(rows[out])
        assert found[f"scores-{split}"] == pytest.approx(expected, abs=1e-3)


def test_only_what_is_missing_or_damaged_is_computed(
    tested: Path, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = shutil.copytree(tested, tmp_path / "runs")
    words = [root, runs, WIDTH, "arch=A", "weights=random", BOTH]
    before = {file: file.read_bytes() for file in runs.rglob("*.npz")}
    folder = only(runs, "A-")
    (folder / "views" / f"{NAMES[1]}.npz").unlink()
    (folder / "scores-transfer_averaged.npz").write_bytes(b"PK")
    # Scores of another run under this one's name.
    shutil.copy(only(runs, "B-") / "scores-transfer_stacked.npz", folder)
    tests: list[str] = []
    classify = transfer.classify
    monkeypatch.setattr(
        transfer, "classify", lambda test, *rest: tests.append(test) or classify(test, *rest)
    )
    assert asked(*words) == 0
    assert tests == ["transfer_stacked", "transfer_averaged"]
    for file, content in before.items():
        if "384" not in file.name:
            assert file.read_bytes() == content, file
    assert asked(*words) == 0
    assert len(tests) == 2


def test_a_run_brings_its_own_net(
    trained: Path, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = only(trained, "B-5x5-")
    grey = [
        root,
        tmp_path / "runs",
        f"weights={folder}",
        "test=[transfer_stacked]",
        "data.channels=1",
    ]
    assert asked(*grey, "arch=D") == 2
    assert "arch=D contradicts" in capsys.readouterr().err
    # Its size too: tiny is not asked for.
    assert command([*WORDS[1:], f"data.root={root}", f"runs={grey[1]}", *grey[2:]]) == 0
    found = repro.results(grey[1])
    assert set(found.arch) == {"B-5x5"}
    assert found.seed.tolist() == [0]
    whole = only(tmp_path / "runs", "B-5x5-")
    # A plan counts the classes of the target, not those that the net was trained on.
    assert plan([*WORDS[1:], f"runs={tmp_path / 'none'}", *grey[2:], "tflops=1"]) == 0
    assert "9,144 test images in 102 classes" in capsys.readouterr().out
    # By a link it is the same net.
    (tmp_path / "latest").symlink_to(folder)
    linked = [*grey[3:], f"weights={tmp_path / 'latest'}", "dry_run=true"]
    assert command([*WORDS[1:], f"data.root={root}", f"runs={grey[1]}", *linked]) == 0
    # Named by its file it is the same net.
    named = ["arch=B-5x5", "scale=S256", f"weights={folder / 'weights.safetensors'}"]
    assert asked(root, tmp_path / "file", *grey[3:], *named) == 0
    assert repro.results(tmp_path / "file").equals(found)
    assert (whole / "weights.safetensors").read_bytes() == (
        folder / "weights.safetensors"
    ).read_bytes()
    # Its claims are those of a net that is not trained out.
    group = Transfers([run for run in [read_run(whole)] if run])
    found = row_of(CLAIM | {"pairs": [["B-5x5", "B-5x5"]]}, group, *group.trainings)
    assert found is not None
    assert found["verdict_holm"] == "not testable here"
    assert re.match("not trained out: B-5x5 (has|of seed)", found["reason"])


def test_descriptors_that_are_not_scored_or_of_ones_own_data_are_reported(
    tested: Path, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = shutil.copytree(tested, tmp_path / "runs")
    every = list(runs.glob("*/scores-*.npz"))
    every[0].write_bytes(b"PK")
    write([runs], tmp_path / "kept", archive=True)
    for file in every:
        file.unlink()
    write([runs], tmp_path / "none")
    assert not (tmp_path / "none" / "tables" / "table11.csv").exists()
    words = [WIDTH, "arch=A", "weights=random", "test=[transfer_stacked]"]
    assert asked(root, runs, *words, "data.name=mine", "data.source=caltech101") == 0
    write([runs], tmp_path / "mine")
    assert "mine" in set(pd.read_csv(tmp_path / "mine" / "tables" / "table11.csv").data)
    twice = [WIDTH, "arch=B", "weights=random", "test=[transfer_stacked]"]
    assert asked(root, runs, *twice, f"stack={only(runs, 'B-')}") == 2
    # Two nets, one of which is not among the runs.
    alone = shutil.copytree(only(tested, "B-"), tmp_path / "alone" / only(tested, "B-").name)
    capsys.readouterr()
    write([alone.parent], tmp_path / "third")
    assert "its partner is not among the runs" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["weights=null"], "weights=random"),
        (["test=[transfer_stacked,centre]"], "command of their own"),
        (["test=[centre]"], "weights=random"),
        (["data=mnist5k", "data.channels=3"], "target set"),
        (["arch.fc=[FC-classes]"], "no hidden FC layer"),
        (["stack=nowhere"], "stack=nowhere"),
        (["weights_input=caffe"], "weights_input="),
        (["arch=E", "init=from_A"], "init=from_A"),
        (["data.root=."], "101_ObjectCategories"),
    ],
)
def test_what_is_wrong_is_a_line_before_any_work(
    words: list[str], message: str, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    usual = ["weights=random", "test=[transfer_stacked]"]
    assert asked(root, tmp_path / "runs", *usual, *words) == 2
    shown = capsys.readouterr().err
    assert message in shown
    assert shown.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_tests_of_one_descriptor_are_all_wanted(root: Path, tmp_path: Path) -> None:
    tests = "test=[transfer_stacked],[transfer_averaged]"
    words = [*WORDS, f"data.root={root}", f"runs={tmp_path}", "weights=random", tests]
    assert len(requests_of(words, lambda config, _: resolve(config))) == 2


def test_what_descriptors_are_not_for_is_a_line(
    tested: Path, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(RequestError, match="descriptors only"):
        finished_run(only(tested, "A"))
    words = ["weights=random", "test=[transfer_stacked]", f"stack={only(tested, 'A')}"]
    for word, said in (
        ("data.enlarge=40", "by another data="),
        ("size.width=0.25", "another size"),
    ):
        assert asked(root, tmp_path / "runs", *words, word) == 2
        assert said in capsys.readouterr().err


def test_without_scikit_learn_the_line_says_what_to_install(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(transfer, "find_spec", lambda name: None)
    words = ["weights=random", "test=[transfer_stacked]"]
    assert asked(root, tmp_path / "runs", *words) == 2
    assert "vgg-repro[transfer]" in capsys.readouterr().err
    assert asked(root, tmp_path / "runs", *words, "dry_run=true") == 0
    assert "then SVMs: transfer_stacked" in capsys.readouterr().out


def test_a_plan_counts_all_images_and_both_orientations(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["arch=A", "size=tiny", "weights=random", f"runs={tmp_path}", "tflops=1"]
    out = tmp_path / "plan.csv"
    for data, images, scales in (("caltech101", 9_144, 3), ("voc2007", 9_963, 5)):
        asked = [f"data={data}", "test=[transfer_averaged]", f"out={out}"]
        assert plan([*words, *asked]) == 0
        (row,) = pd.read_csv(out).to_dict("records")
        assert row["test_images"] == images
        assert row["training_flops"] == 0
        assert row["testing_flops"] > 2 * scales * images * row["forward_flops"]


def test_voc_of_several_classes_leaves_difficult_images_out(tmp_path: Path) -> None:
    root = voc(tmp_path)
    words = ["weights=random", "data=voc2007", "data.verify=false", "test=[transfer_pixels]"]
    assert asked(root, tmp_path / "runs", *words) == 0
    found = repro.results(tmp_path / "runs").set_index("metric").value
    with np.load(only(tmp_path / "runs", "A-") / "scores-transfer_pixels.npz") as file:
        labels, scores = file["labels"][file["parts"][0] == TEST], file["scores-0"]
    assert labels.tolist() == [[-1, 1], [1, -1], [0, -1], [-1, 1]]
    assert len(np.unique(scores)) == scores.size, "no ties"
    precisions = [vocap(own, truth) for own, truth in zip(scores.T, labels.T, strict=True)]
    eleven, area = 100 - 100 * np.mean(precisions, axis=0)
    assert abs(eleven - area) > 1, "these scores tell the two apart"
    assert found.to_dict() == pytest.approx({"ap11_error": eleven, "ap_area_error": area}, abs=1e-3)


def test_a_report_and_its_archive_say_the_same(tested: Path, tmp_path: Path) -> None:
    write([tested], tmp_path / "report", archive=True, latex=True)
    write([tmp_path / "report"], tmp_path / "again")
    for file in ("results.csv", "claims.csv", "tables/table11.csv"):
        one, two = (tmp_path / name / file for name in ("report", "again"))
        assert one.read_bytes() == two.read_bytes()
    found = pd.read_csv(tmp_path / "report" / "results.csv", dtype=str)
    nets = ["A:random"] * 2 + ["A:random+B:random", "A:random+C:random", "B:random", "C:random"]
    assert sorted(found.arch) == [*nets, "pixels"]
    assert found[found.arch == "A:random+C:random"].seed.isna().all(), "theirs differ"
    assert set(found.metric) == {"recall_error"}
    folder = only(tested, "A-")
    with np.load(folder / "scores-transfer_averaged.npz") as file:
        recalls = []
        for split, part in enumerate(file["parts"]):
            best, labels = file[f"scores-{split}"].argmax(axis=1), file["labels"][part == 3]
            recalls.append(np.mean([(best[labels == k] == k).mean() for k in range(3)]))
    mean = float(found[found.protocol == "transfer_averaged"].value.iloc[0])
    assert mean == pytest.approx(100 - 100 * np.mean(recalls), abs=1e-3)
    page = (tmp_path / "report" / "comparison.md").read_text()
    assert "| A:random |" in page
    assert "| VGG D & E |" in page.replace("\\", "")
    table = pd.read_csv(tmp_path / "report" / "tables" / "table11.csv")
    assert set(table[table.n.notna()].net) == {
        *("A:random", "B:random", "C:random"),
        *("A:random+B:random", "A:random+C:random", "pixels"),
    }
    (picture,) = (tmp_path / "report" / "figures").iterdir()
    assert f"figures/{picture.name}" in page
    (drawn,) = charts([Transfers([run for run in map(read_run, tested.glob("*-*")) if run])])
    assert sorted(drawn.marks.x) == pytest.approx(sorted(table[table.n.notna()]["mean"]), abs=1e-3)


def test_two_nets_of_one_training_and_seed_count_once(
    tested: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = read_run(only(tested, "A-"))
    assert run is not None
    # As of another machine.
    other = replace(run, name="A-again", identity="0" * 10)
    nets = [one.runs for one in Transfers([run, other]).tested if one.seeds]
    assert nets == [(run,)] * 2, "stacked and averaged"
    assert "of A-again: " in capsys.readouterr().err


def test_claims_on_descriptors_are_paired_by_seed_and_image(tested: Path) -> None:
    """B at random against pixels, by hand; a side of another seed is none."""
    runs = [run for run in map(read_run, sorted(tested.glob("[ABC]-*"))) if run]
    group = Transfers(runs)
    row = CLAIM | {"pairs": [["C:random", "B:random"]]}
    assert row_of(row, group) is None, "seeds 3 and 0"
    assert row_of(row | {"pairs": [["A:random+C:random", "A:random"]]}, group) is None
    both = "A:random+B:random"
    found = row_of(row | {"pairs": [["A+B", "B:random"], [both, "B:random"]]}, group)
    errors = {one.net: one.found.errors["recall_error"] for one in group.tested if "B" in one.net}
    gap = (errors[both] - errors["B:random"]).mean()
    assert found is not None
    assert found["difference"] == pytest.approx(gap, abs=1e-3)
    assert found["ci_low"] <= gap <= found["ci_high"]
    below = found["ci_high"] < 0, found["ci_low"] > 0
    assert found["verdict"] == {(True, False): "reproduced", (False, True): "contradicted"}.get(
        below, "not decided"
    )
    tests = {"tests": ["transfer_stacked", "transfer_pixels"], "pairs": [["B:random", "pixels"]]}
    of_pixels = row_of(row | tests | {"seeds": 5}, group)
    assert of_pixels is not None
    assert of_pixels["reason"] == "1 of 5 seeds"
    tests["pairs"] = [["B:random", "pixels"], ["C:random", "pixels"]]
    assert row_of(row | tests, group) is None, "no seed of both pairs"


def test_each_training_has_claims_of_its_own_and_what_was_not_run_is_named(tested: Path) -> None:
    """The nets of a store at random, as if A and B had been trained in one way, C in another."""
    recipes = {"A": "cifar, he, S256", "B": "cifar, he, S256", "C": "photos, he, S256"}
    runs = []
    for run in finished(tested):
        known = {"run": "x", "data": "cifar10", "recipe": recipes[run.config.arch.name], "seed": 0}
        known |= {"learnt": True, "train_errors": [50.0, 40.0, 30.0, 30.0]}
        published = {**(run.published or {}), "trained": known}
        runs.append(replace(run, result={**run.result, "published": published}))
    group = Transfers(runs)
    assert group.trainings[0] == "cifar10, cifar, he, S256"
    claim = CLAIM | {"pairs": [["B", "A"], ["C", "A"]]}
    rows = [row_of(claim, group, training) for training in group.trainings]
    assert rows[1:] == [None] * len(rows[1:]), "C has no A to stand beside"
    found = rows[0]
    assert found is not None
    words = "B - A; not run: C - A; of cifar10, cifar, he, S256; splits: "
    assert found["pooled"].startswith(words)
    assert (found["n_seeds"], found["n_images"]) == (1, 12)
    assert row_of(claim | {"complete": True}, group, group.trainings[0]) is None
    files = []
    for run in runs:
        theirs = {**(run.published or {}), "trained": None, "format": "torchvision"}
        theirs["sha256"] = run.identity * 8
        files.append(replace(run, result={**run.result, "published": theirs}))
    group = Transfers(files)
    assert group.trainings == ["a file of torchvision"], "of two nets together too"
    both = CLAIM | {"pairs": [["A+B", "A"], ["A+B", "B"]], "complete": True}
    assert row_of(both, group, *group.trainings) is not None


def test_the_papers_differences_are_those_of_table_11() -> None:
    known = {claim["claim"]: claim for claim in claims()}
    for data, name in (
        ("caltech101", "e-features-beat-d"),
        ("voc2007", "d-and-e-features-equal-on-voc"),
    ):
        d, e = (numbers.transferred(net, data) for net in "DE")
        assert known[name]["paper_difference"] == pytest.approx(d - e)
    both = numbers.transferred("D+E", "caltech101")
    gaps = [numbers.transferred(net, "caltech101") - both for net in "DE"]
    assert known["two-nets-features-help"]["paper_difference"] == pytest.approx(sum(gaps) / 2)
