"""A localisation run, from its classification run to the report, on a folder made on the spot."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save
from torchvision.ops import box_iou

import repro
from repro.config.command import command
from repro.data.images import decode
from repro.data.inputs import Inputs
from repro.data.rescale import rescale
from repro.errors import RequestError
from repro.model.reading import locating, spec_of
from repro.model.vgg import VGG, load_weights
from repro.report import charts, obstacles
from repro.report.settings import Comparison
from repro.report.write import write
from repro.run.boxes import regression
from repro.run.loop import Training
from repro.store.expected import sha256
from repro.store.runs import Run, as_json, digest_of, finished
from repro.store.views import damage
from tests.data.test_boxes import xml
from tests.report.conftest import judged

LIGHT = ["size=tiny", "recipe=smoke", "recipe.train_images=40", "recipe.batch=16", "threads=1"]
LIGHT += ["data=imagefolder", "progress=false", "arch=A"]


@pytest.fixture(scope="module")
def located(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store and its data: rectangles of two colours on black, located in three ways."""
    root, random = tmp_path_factory.mktemp("located"), np.random.default_rng(0)
    for part, count in (("train", 20), ("val", 4), ("test", 6)):
        for label, name in enumerate("ab"):
            (root / "data" / part / name).mkdir(parents=True)
            for n in range(count):
                pixels = np.zeros((40, 50, 3), dtype=np.uint8)
                left, top = random.integers(0, 25, 2).tolist()
                right, bottom = left + 15 + n % 9, top + 12
                pixels[top : bottom + 1, left : right + 1, 2 * label] = 255
                Image.fromarray(pixels).save(root / "data" / part / name / f"{n}.png")
                ends = f"{left} {top} {right} {bottom}"
                xml(root / "data", f"{part}/{name}/{n}.png", ends, name=name, size=(50, 40))
    assert command([*words(root), "-m", "boxes=shared,per_class", "finetune=fc"]) == 0
    assert command([*words(root), "boxes=per_class", "test=[box,box_dense,box_several]"]) == 0
    return root


def words(root: Path) -> list[str]:
    return [*LIGHT, f"data.root={root / 'data'}", f"runs={root / 'runs'}"]


def run_of(root: Path, boxes: str, finetune: str = "all", store: str = "runs") -> Run:
    wanted = boxes, finetune
    every = finished(root / store)
    return next(run for run in every if (run.config.boxes, run.config.finetune) == wanted)


def test_it_starts_from_its_classification_run(located: Path) -> None:
    parent = run_of(located, "none")
    before = load_file(parent.folder / "weights.safetensors")
    for boxes, finetune in (("shared", "fc"), ("per_class", "fc"), ("per_class", "all")):
        run = run_of(located, boxes, finetune)
        assert run.result["parents"] == {"boxes": parent.identity}
        after = load_file(run.folder / "weights.safetensors")
        moved = [key for key in before if not torch.equal(before[key], after[key])]
        assert any(key.startswith("features") for key in moved) == (finetune == "all")
        assert after["classifier.6.weight"].shape[0] == (4 if boxes == "shared" else 8)
    assert len(finished(located / "runs")) == 4
    assert command([*words(located), "boxes=shared", "finetune=fc"]) == 0, "it is there"


def test_stored_boxes_are_the_nets_and_the_truth_that_of_the_pixels(located: Path) -> None:
    run = run_of(located, "per_class")
    size, mean = run.config.size, tuple(run.result["data"]["mean"])
    spec = spec_of(run.config.arch, size, channels=3, classes=2)
    net = VGG(locating(spec, "per_class"), 0.0).eval()
    load_weights(net, run.folder)
    ways = (torch.device("cpu"), torch.float32, torch.contiguous_format)
    prepare = Inputs(mean, run.config.recipe.input_range, *ways)
    view, errors = np.load(run.folder / "views" / "box-Q256.npz"), []
    for n, (id, label) in enumerate(zip(view["ids"], view["labels"].tolist(), strict=True)):
        image = decode(located / "data" / id, 3)
        shown = rescale(image, round(256 * size.crop / 224))
        height, width = shown.shape[1:]
        top, left = round((height - size.crop) / 2), round((width - size.crop) / 2)
        with torch.no_grad():
            crop = shown[None, :, top : top + size.crop, left : left + size.crop]
            found = net(prepare(crop))[0].view(2, 4)[label] / 8 + torch.tensor([0.5, 0.5, 1, 1])
        x, y, w, h = (size.crop * found).tolist()
        ends = np.array([left + x - w / 2, top + y - h / 2, left + x + w / 2, top + y + h / 2])
        ends /= [width, height, width, height]
        assert view["boxes"][n, 0] == pytest.approx(ends, abs=1e-3)
        rows, columns = np.nonzero(image.sum(dim=0).numpy())
        truth = [
            columns.min() / 50,
            rows.min() / 40,
            (columns.max() + 1) / 50,
            (rows.max() + 1) / 40,
        ]
        assert view["truth"][view["owners"] == n][0] == pytest.approx(truth)
        looks = np.array([ends, view["constants"][0], view["constants"][1 + label]])
        errors.append(box_iou(*map(torch.tensor, (looks, np.array([truth]))))[:, 0] <= 0.5)
    frame = repro.results(located / "runs")
    own = frame[frame.run == run.identity].set_index("protocol")
    assert {*own.metric, *own.finetune} == {"box_error", "per_class:all"}
    values = own.value[["box", "box_constant", "box_constant_per_class"]].tolist()
    assert values == pytest.approx((100 * np.mean(errors, axis=0)).tolist(), abs=1e-3)


def test_cells_are_scored_by_the_net_that_it_began_from(
    located: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copytree(located / "data", tmp_path / "data")
    shutil.copytree(located / "runs", tmp_path / "runs")
    more = ["boxes=shared", "finetune=fc", "test=[box_several]"]
    shutil.rmtree(run_of(tmp_path, "shared", "fc").folder)
    with monkeypatch.context() as patch:
        patch.setattr(Training, "_end_epoch", Training._stop)
        assert command([*words(tmp_path), *more]) == 75
    parent = run_of(tmp_path, "none")
    # As of another machine: whole, and another net.
    weights = load_file(parent.folder / "weights.safetensors")
    content = save({key: -values for key, values in weights.items()})
    (parent.folder / "weights.safetensors").write_bytes(content)
    result = parent.result | {"digests": parent.result["digests"] | {"weights": sha256(content)}}
    result["digests"]["result"] = digest_of(result)
    (parent.folder / "result.json").write_bytes(as_json(result))
    assert command([*words(tmp_path), *more]) == 1
    assert "is another net than the one that A-" in capsys.readouterr().err


def test_a_view_is_bound_to_its_run_and_its_net_names_no_class(located: Path) -> None:
    one, other = run_of(located, "per_class"), run_of(located, "per_class", "fc")
    file = one.folder / "views" / "box-Q256.npz"
    assert damage(file, one.tested) is None
    assert "weights" in (damage(file, other.tested) or "")
    stranger = {**one.result, "digests": {**one.result["digests"], "boxes": "0" * 64}}
    assert "true boxes" in (damage(file, replace(one, result=stranger).tested) or "")
    with pytest.raises(RequestError, match="gives boxes"):
        repro.load(one.folder)


def test_the_report_says_that_nothing_was_localised_or_what_was(
    located: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(obstacles, "AHEAD", 101.0)
    write([located / "runs"], tmp_path / "report")
    page = (tmp_path / "report" / "comparison.md").read_text()
    assert page.count("No table: a constant box is not beaten by 101 points") == 2
    claims = pd.read_csv(tmp_path / "report" / "claims.csv")
    assert claims.verdict.tolist() == ["not testable here"] * 2
    assert claims.reason.str.startswith("a constant box is not beaten").all()
    assert not list((tmp_path / "report").glob("*/*table8*"))
    assert not list((tmp_path / "report").glob("*/*box-errors*"))
    monkeypatch.setattr(obstacles, "AHEAD", -101.0)
    both = "A-S256-per_class+A-S256-per_class-fc"
    write([located / "runs"], tmp_path / "fused", fuse=[both], archive=True)
    write([tmp_path / "fused"], tmp_path / "again", fuse=[both])
    for name in ("results.csv", "tables/table8.csv", "tables/table9.csv"):
        texts = [(tmp_path / report / name).read_text() for report in ("fused", "again")]
        assert texts[0] == texts[1], "kept ranks say the same"
    table = pd.read_csv(tmp_path / "again" / "tables" / "table8.csv")
    assert table.net[:2].tolist() == ["best constant box", "best constant box of the class"]
    assert table.n.isna().tolist() == [True, True, False, False, False, False]
    assert table.low[0] < table.high[0]
    assert table.low[0] <= table["mean"][0] <= table.high[0]
    assert len(table) == 6
    assert "figures/box-errors.png" in (tmp_path / "again" / "comparison.md").read_text()
    drawn = charts.located(Comparison(finished(located / "runs"), [both]), [8])
    assert drawn is not None
    assert drawn.marks.y[:2].tolist() == table.net[:2].tolist()
    assert drawn.marks.x[:2].tolist() == pytest.approx(table["mean"][:2].tolist(), abs=1e-3)
    assert sorted(drawn.marks.x) == pytest.approx(sorted(table["mean"]), abs=1e-3)
    results = pd.read_csv(tmp_path / "again" / "results.csv")
    fused = results[results.protocol == "fusion:box_dense"]
    assert fused.finetune.tolist() == ["per_class:all+per_class:fc"]


def test_each_number_is_that_of_the_first_store_that_has_it(
    located: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    both = ["A-S256-per_class+A-S256-per_class-fc"]
    write([located / "runs"], tmp_path / "kept", both, archive=True)
    whole = (tmp_path / "kept" / "results.csv").read_bytes()
    some = shutil.copytree(located / "runs", tmp_path / "some")
    for view in run_of(tmp_path, "per_class", store="some").folder.glob("views/*"):
        view.unlink()
    for order in ([some, tmp_path / "kept"], [tmp_path / "kept", some]):
        write(order, tmp_path / "out", both)
        assert (tmp_path / "out" / "results.csv").read_bytes() == whole
    assert "other weights" not in capsys.readouterr().err
    # Another net of that name gives none.
    other = run_of(tmp_path, "shared", "fc", store="some")
    other.result["digests"]["weights"] = "0" * 64
    other.result["digests"]["result"] = digest_of(other.result)
    (other.folder / "result.json").write_bytes(as_json(other.result))
    write([tmp_path / "kept", some], tmp_path / "out", both)
    assert (tmp_path / "out" / "results.csv").read_bytes() == whole
    assert f"{other.folder} has other weights" in capsys.readouterr().err


@pytest.mark.parametrize("falls", [True, False])
def test_a_claim_on_boxes_needs_classifiers_that_are_trained_out(
    located: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, falls: bool
) -> None:
    monkeypatch.setattr(obstacles, "AHEAD", -101.0)
    shutil.copytree(located / "runs", tmp_path / "runs")
    for run in finished(tmp_path / "runs"):
        last = 20 if falls and not run.config.locates else 30
        epochs = [f"{n},{error},30" for n, error in enumerate((50, 40, 30, last), 1)]
        log = "\n".join(["epoch,train_error,validation_error", *epochs]).encode()
        (run.folder / "log.csv").write_bytes(log)
        run.result["outcome"], run.result["digests"]["log"] = "trained", sha256(log)
        run.result["digests"]["result"] = digest_of(run.result)
        (run.folder / "result.json").write_bytes(as_json(run.result))
    rows = judged(tmp_path)
    found = (rows.verdict == "not testable here").tolist(), set(rows.reason)
    words = "the training error of A-S256 falls by 10.00 points in its last epoch, more than 1"
    undecided = "one seed says nothing about the configuration"
    assert found == ([falls] * 2, {f"not trained out: {words}" if falls else undecided})


def test_the_objective_by_hand() -> None:
    outputs = torch.tensor([[0, 0, -9, 0, 0, 0, -4.8, -4.8]]).repeat(2, 1).requires_grad_()
    # Right: boxes of 0.4 by 0.4 and 0.5 by 0.4 of the crop; wrong: one without width.
    targets = torch.tensor([[1, 0, 0, -4, -4.8], [0, 0, 0, -4, -4]])
    loss, wrong = regression(outputs, targets)
    assert loss.item() == pytest.approx((0.8**2 + 5**2 + 4**2) / 2)
    assert int(wrong) == 1
    loss.backward()  # type: ignore[no-untyped-call]
    assert outputs.grad is not None
    assert (outputs.grad[0, :4] == 0).all(), "other classes learn nothing"
    shared, _ = regression(outputs[:, 4:], targets)
    assert shared.item() == pytest.approx(3 * 0.8**2 / 2)


@pytest.mark.parametrize(
    ("given", "key"),
    [
        (["boxes=some"], "boxes=some"),
        (["boxes=shared", "data=mnist5k"], "data=mnist5k"),
        (["boxes=shared", "test=[single_scale]"], "test=single_scale"),
        (["test=[box]"], "test=box"),
        (["boxes=shared", "data.on_device=true"], "data.on_device"),
    ],
)
def test_what_cannot_be_located_is_refused(
    located: Path, capsys: pytest.CaptureFixture[str], given: list[str], key: str
) -> None:
    assert command([*words(located), *given]) == 2
    assert key in capsys.readouterr().err
