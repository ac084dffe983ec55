"""Nets that others trained, from their file to the report, held against torchvision's own net."""

import copy
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torchvision.transforms import functional

import repro
import repro.export
import repro.predict
import repro.verify
from repro.config.command import command
from repro.data.images import decode
from repro.data.rescale import rescale
from repro.report import figure
from repro.report.write import write
from repro.run import performing
from repro.run.interruption import Stop
from repro.weights.contents import synsets
from repro.weights.read import read
from tests.conftest import only
from tests.golden_store import golden_runs
from tests.release.conftest import Command, photograph, way_in
from tests.weights import conftest as files

__all__ = ["way_in"]
CLASSES, EACH = files.CLASSES, 4
SIZE = ["size=eighth", f"size.crop={files.CROP}", "size.poolings=5", f"size.width={files.WIDTH}"]
SIZE += ["threads=1", "progress=false"]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Test images only: val/CLASS/*."""
    root = tmp_path_factory.mktemp("photos")
    for label in range(CLASSES):
        for n in range(EACH):
            photograph(root / f"val/class{label}/{n}.png", 80 + 7 * n, 90 + n, 100 * label + n)
    return root


@pytest.fixture(scope="module")
def theirs(photos: Path) -> nn.Module:
    """torchvision's narrow D, its last layer such that its answers differ from image to image."""
    net = files.torchvisions("D")
    last = net.classifier[-1]
    crops = torch.stack([crop(file) for file in sorted(photos.glob("val/*/*"))])
    with torch.no_grad():
        scores = net(files.torchvision_input(crops)) - last.bias
        share = 2 / scores.std(dim=0).mean()
        last.weight *= share
        last.bias.copy_(-share * scores.mean(dim=0))
    return net


def crop(file: Path) -> torch.Tensor:
    """The centre crop at Q=384, the one test scale of a net of jittered S."""
    image = rescale(decode(file, 3), round(384 * files.CROP / 224))
    return functional.center_crop(image, [files.CROP, files.CROP])


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory, theirs: nn.Module) -> Path:
    path = tmp_path_factory.mktemp("weights") / "vgg16.pth"
    torch.save(theirs.state_dict(), path)
    return path


def words(photos: Path, file: Path, runs: Path, *more: str) -> list[str]:
    data = ["data=imagefolder", f"data.root={photos}", f"runs={runs}"]
    return ["arch=D", f"weights={file}", *SIZE, *data, *more]


@pytest.fixture(scope="module")
def tested(tmp_path_factory: pytest.TempPathFactory, photos: Path, file: Path) -> Path:
    runs = tmp_path_factory.mktemp("published") / "runs"
    tests = "test=[single_scale,multi_scale,centre]"
    assert command(words(photos, file, runs, tests, "seed=4", "recipe=paper")) == 0
    return only(runs)


def test_posteriors_are_those_of_torchvisions_net(
    tested: Path, photos: Path, theirs: nn.Module
) -> None:
    view = np.load(tested / "views" / "centre-Q384.npz")
    assert len(view["ids"]) == CLASSES * EACH
    for name, found in zip(view["ids"], view["posteriors"], strict=True):
        image = crop(photos / str(name))
        with torch.inference_mode():
            expected = theirs(files.torchvision_input(image[None])).softmax(dim=1)[0]
        assert np.abs(found - expected.numpy()).max() < 1e-3
    assert view["posteriors"].std(axis=0).max() > 0.1, "images differ"


def test_the_run_is_named_after_the_file_and_not_after_a_recipe(
    tested: Path, photos: Path, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tested.name.startswith("D-published-jitter-")
    assert not {"log.csv", "crops.png"} & {path.name for path in tested.iterdir()}
    moved = tmp_path / "elsewhere.pth"
    moved.write_bytes(file.read_bytes())
    # The same net elsewhere, by another recipe and seed: it is finished already.
    again = words(photos, moved, tested.parent, "test=[centre]", "recipe=quick", "seed=1")
    assert command(again) == 0
    assert "is not trained" not in capsys.readouterr().err
    assert only(tested.parent) == tested
    assert command([*again, "weights_input=caffe", "dry_run=true"]) == 0
    assert tested.name not in capsys.readouterr().out, "another input makes another run"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (["arch=E"], "expected 19"),
        (["weights=nowhere.pth"], "weights=nowhere.pth"),
        (["weights_input=keras"], "weights_input=keras"),
        (["weights=null", "weights_input=caffe"], "weights=FILE"),
        (["weights=null", "data.test_only=true"], "train"),
        (["data=mnist5k"], "data=imagenet data.root=FOLDER"),
        (["data.first_classes=5"], "7 classes: expected 5"),
    ],
)
def test_what_is_wrong_is_a_line_before_any_work(
    changed: list[str],
    message: str,
    photos: Path,
    file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command(words(photos, file, tmp_path / "runs", *changed)) == 2
    shown = capsys.readouterr().err
    assert message in shown
    assert shown.count("\n") == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("place", ["", "val"])
def test_a_part_of_imagenet_is_known_by_its_synsets(
    place: str, photos: Path, theirs: nn.Module, tmp_path: Path
) -> None:
    # Tench, tabby and toilet tissue, by torchvision's own numbers.
    part = {"n01440764": 0, "n02123045": 281, "n15075141": 999}
    assert list(synsets()) == sorted(set(synsets()))
    for name, folder in zip(part, sorted(photos.glob("val/*")), strict=False):
        shutil.copytree(folder, tmp_path / "photos" / place / name)
    net = copy.deepcopy(theirs)
    net.classifier[-1] = nn.Linear(net.classifier[-1].in_features, 1000)
    torch.save(net.state_dict(), tmp_path / "vgg16.pth")
    asked = words(tmp_path / "photos", tmp_path / "vgg16.pth", tmp_path / "runs", "test=[centre]")
    assert command(asked) == 0
    run = repro.load(only(tmp_path / "runs"))
    assert list(run.result["data"]["class_names"]) == list(part)
    assert "3 of its 1000 classes" in run.result["reason"]
    assert len(run.ids) == 3 * EACH
    for name, found in zip(run.ids, run.posteriors("centre-Q384"), strict=True):
        image = crop(tmp_path / "photos" / str(name))
        with torch.inference_mode():
            whole = net(files.torchvision_input(image[None])).softmax(dim=1)[0, [*part.values()]]
        assert np.abs(found - (whole / whole.sum()).numpy()).max() < 1e-3


def test_the_size_is_the_papers_and_the_scales_are_the_authors(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command(["arch=D", "weights=x", "--cfg", "job"]) == 0
    shown = capsys.readouterr().out
    assert "name: paper\n  crop: 224" in shown
    assert "name: jitter" in shown
    assert command(["weights=x", "net=D-S256", "size=half", "--cfg", "job"]) == 0
    shown = capsys.readouterr().out
    assert "name: half" in shown
    assert "name: S256" in shown


def test_a_file_that_changes_in_between_is_not_taken(
    photos: Path,
    file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    copy = tmp_path / "copy.pth"
    copy.write_bytes(file.read_bytes())
    perform = performing.perform

    def late(request: object, stop: Stop) -> None:
        copy.write_bytes(file.read_bytes() + b"x")
        perform(request, stop)  # type: ignore[arg-type]

    monkeypatch.setattr(performing, "perform", late)
    assert command(words(photos, copy, tmp_path / "runs", "test=[centre]")) == 1
    assert "has changed since the command was given" in capsys.readouterr().err


def test_the_report_has_a_section_of_its_own(
    tested: Path, photos: Path, tmp_path: Path, theirs: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figure, "png", lambda chart: b"PNG")
    caffe = tmp_path / "d.caffemodel"
    files.write_caffe(theirs, caffe)
    store = tmp_path / "runs"
    assert command(words(photos, caffe, store, "test=[single_scale]")) == 0
    golden = golden_runs()
    write([golden], tmp_path / "alone")
    write([golden, tested.parent, store], tmp_path / "both")
    alone, both = (pd.read_csv(tmp_path / n / "results.csv", dtype=str) for n in ("alone", "both"))
    others = both[both.recipe == "published"]
    assert both[both.recipe != "published"].reset_index(drop=True).equals(alone)
    key = [name for name in both.columns if name not in ("value", "paper", "run")]
    assert not both.duplicated(key).any()
    assert others.init.str.startswith("published-").all()
    single = others[(others.protocol == "single_scale") & (others.metric == "top1_error")]
    assert list(single.paper) == ["25.6", "25.6"]
    for table in (tmp_path / "alone/claims.csv", *(tmp_path / "alone/tables").glob("*.csv")):
        beside = tmp_path / "both" / table.relative_to(tmp_path / "alone")
        assert beside.read_bytes() == table.read_bytes()
    page = (tmp_path / "both" / "comparison.md").read_text()
    assert page.count("Published nets") == 1
    assert "Published nets" not in (tmp_path / "alone" / "comparison.md").read_text()


def test_it_is_verified_asked_and_exported(
    tested: Path, photos: Path, file: Path, tmp_path: Path, way_in: Command
) -> None:
    code, shown, _ = way_in(repro.verify, f"run={tested}", "images=9")
    assert code == 0, shown
    code, shown, _ = way_in(repro.predict, f"run={tested}", str(photos / "val/class0/0.png"))
    assert code == 0
    assert "class" in shown
    out = tmp_path / "d.safetensors"
    assert way_in(repro.export, f"run={tested}", "format=safetensors", f"out={out}")[0] == 0
    net = files.spec()
    images = files.photographs()
    exported, published = read(out, net), read(file, net)
    assert files.same(files.scores(exported, net, images), files.scores(published, net, images))
    card = out.with_name(f"{out.name}.md").read_text()
    assert "a file by torchvision that others published" in card
    assert "divided by 0.229, 0.224, 0.225" in card


ASKED = ["arch=D", *SIZE[:4]]
"""What `repro.predict` has to be told of the file."""
ROW = re.compile(r"^ +\d +([\d.]+)%  (.*)$", re.MULTILINE)


def test_a_file_is_asked_without_a_run(
    tested: Path, photos: Path, file: Path, theirs: nn.Module, tmp_path: Path, way_in: Command
) -> None:
    image = photos / "val/class3/1.png"
    words = [f"weights={file}", *ASKED, "test=centre", "top=7", str(image)]
    status, shown, error = way_in(repro.predict, *words)
    assert (status, error) == (0, "")
    assert "weights of a file by torchvision, SHA-256" in shown
    assert "classes: the file has no names; numbers from 0\n" in shown
    both = torch.stack([crop(image), crop(image).flip(-1)])
    with torch.inference_mode():
        expected = theirs(files.torchvision_input(both)).softmax(dim=1).mean(dim=0)
    found = {int(name): float(share) / 100 for share, name in ROW.findall(shown)}
    assert list(found) == expected.argsort(descending=True).tolist()
    assert [found[label] for label in range(CLASSES)] == pytest.approx(expected.tolist(), abs=1e-3)
    # A run that was made of the file says the same, by another protocol too.
    tables = [
        ROW.findall(way_in(repro.predict, *of, "test=multi_scale", "top=7", str(image))[1])
        for of in ([f"weights={file}", *ASKED], [f"run={tested}"])
    ]
    assert [share for share, _ in tables[0]] == [share for share, _ in tables[1]] != []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run=x", "weights=FILE", "arch=D"], "run= or weights="),
        (["weights=FILE"], "arch="),
        (["run=x", "size.width=0.5"], "size.width=0.5"),
        (["weights=FILE", "arch=D", "data.root=x"], "data.root=x"),
        (["weights=FILE", "arch=D,E"], "arch=D,E"),
        (["weights=FILE", "arch=D", "size.wdth=1"], "size.wdth"),
        (["weights=FILE", "arch=D", "test=each_scale"], "single_scale, multi_scale"),
        (["weights=FILE", "arch=E"], "expected 19"),
        (["weights=torchvision:vgg61", "arch=D"], "vgg11,"),
        (["weights=FILE", *ASKED, "weights_input=keras"], "weights_input=keras"),
    ],
)
def test_a_file_that_cannot_be_asked_is_a_line(
    words: list[str], said: str, photos: Path, file: Path, way_in: Command
) -> None:
    words = [word.replace("FILE", str(file)) for word in words]
    status, shown, error = way_in(repro.predict, *words, str(photos / "val/class0/0.png"))
    assert (status, shown, error.count("\n")) == (2, "", 1)
    assert said in error
