"""Weight files of every format against the nets that they were written from."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from repro.errors import RequestError
from repro.model.reading import at_size
from repro.model.vgg import VGG, weights
from repro.store.runs import read_config, read_result
from repro.weights import convention
from repro.weights.convention import METADATA, Convention
from repro.weights.read import read
from tests.golden_store import golden_runs
from tests.weights import conftest as files


@pytest.mark.parametrize(("letter", "norm"), [("A", False), ("D", True), ("E", False)])
def test_torchvisions_state_dict(letter: str, norm: bool, tmp_path: Path) -> None:
    theirs = files.torchvisions(letter, norm)
    net = files.spec(f"{letter}-BN" if norm else letter)
    torch.save(theirs.state_dict(), tmp_path / "x")
    found, images = read(tmp_path / "x", net), files.photographs()
    assert found.format == "torchvision"
    expected = files.said(theirs, files.torchvision_input(images))
    assert files.same(files.scores(found, net, images), expected)


def parallel(net: nn.Module) -> object:
    """The features alone in DataParallel, as the first examples of PyTorch had it."""
    net.features = nn.DataParallel(net.features)
    return {"state_dict": net.state_dict(), "epoch": 3}


def averaged(net: nn.Module) -> object:
    """As torchvision's references save it: options, optimiser, a moving average of the weights."""
    average = torch.optim.swa_utils.AveragedModel(net)
    other = {name: values + 1 for name, values in net.state_dict().items()}
    return {"model": other, "model_ema": average.state_dict(), "args": argparse.Namespace(lr=0.1)}


CHECKPOINTS = {
    "all parallel": lambda net: nn.DataParallel(net).state_dict(),
    "features parallel": parallel,
    "references": lambda net: {"model": net.state_dict(), "args": argparse.Namespace(lr=0.1)},
    "average": averaged,
    "timm": lambda net: {
        "state_dict": {name: values + 1 for name, values in net.state_dict().items()},
        "state_dict_ema": net.state_dict(),
    },
}


@pytest.mark.parametrize("kind", CHECKPOINTS)
def test_checkpoints_that_people_have(kind: str, tmp_path: Path) -> None:
    theirs = files.torchvisions()
    torch.save(CHECKPOINTS[kind](theirs), tmp_path / "x")
    found = read(tmp_path / "x", files.spec())
    for name, values in files.torchvisions().state_dict().items():
        assert torch.equal(found.tensors[name], values)
    assert ("moving average" in found.format) == (kind in ("average", "timm"))


@pytest.mark.parametrize(("letter", "older"), [("D", True), ("E", False)])
def test_caffe(letter: str, older: bool, tmp_path: Path) -> None:
    theirs, net = files.torchvisions(letter), files.spec(letter)
    files.write_caffe(theirs, tmp_path / "x.caffemodel", older=older)
    found, images = read(tmp_path / "x.caffemodel", net), files.photographs()
    for name, values in theirs.state_dict().items():
        assert torch.equal(found.tensors[name], values)
    expected = files.said(theirs, files.caffe_input(images))
    assert files.same(files.scores(found, net, images), expected)


@pytest.mark.parametrize("norm", [False, True])
def test_timm(norm: bool, tmp_path: Path) -> None:
    vgg = pytest.importorskip("timm.models.vgg")
    torch.manual_seed(1)
    width = files.WIDTH
    cfg = [v if v == "M" else int(v * width) for v in vgg.cfgs["vgg16"]]
    theirs = vgg.VGG(cfg, files.CLASSES, norm_layer=nn.BatchNorm2d if norm else None)
    hidden = int(4096 * width)
    theirs.pre_logits = vgg.ConvMlp(int(512 * width), hidden, 7)
    theirs.head = vgg.ClassifierHead(hidden, files.CLASSES)
    theirs.eval()
    for values in theirs.parameters():
        nn.init.normal_(values, std=0.1 if values.dim() > 1 else 0.01)
    net, images = files.spec("D-BN" if norm else "D", crop=224), files.photographs(224)
    save_file(theirs.state_dict(), tmp_path / "x.safetensors")
    torch.save(theirs.state_dict(), tmp_path / "x.pth")
    expected = files.said(theirs, files.torchvision_input(images))
    for name in ("x.safetensors", "x.pth"):
        found = read(tmp_path / name, net)
        assert found.format == "timm"
        assert files.same(files.scores(found, net, images), expected)


@pytest.mark.parametrize(
    ("words", "values"),
    [
        ("caffe", files.caffe_input),
        ("torchvision", files.torchvision_input),
        ("RGB:-1..1", lambda images: images / 127.5 - 1),
        ("RGB:0..1:0.485/0.456/0.406:0.229/0.224/0.225", files.torchvision_input),
    ],
)
def test_a_user_says_the_input(words: str, values: object, tmp_path: Path) -> None:
    images = files.photographs()
    found = convention.parse(words).inputs(files.CPU)(images)
    torch.testing.assert_close(found, values(images), atol=1e-4, rtol=1e-5)  # type: ignore[operator]
    # Against what the file tells.
    torch.save(files.torchvisions().state_dict(), tmp_path / "x")
    said = read(tmp_path / "x", files.spec(), words)
    torch.testing.assert_close(said.convention.inputs(files.CPU)(images), found)


def test_safetensors_say_their_input_and_classes_or_it_is_asked_for(tmp_path: Path) -> None:
    theirs, net, path = files.torchvisions(), files.spec(), tmp_path / "weights.safetensors"
    save_file(theirs.state_dict(), path)
    with pytest.raises(RequestError, match="weights_input="):
        read(path, net)
    own = Convention("RGB", 255.0, (120.0, 110.5, 100.0), (1.0, 1.0, 1.0))
    says = {METADATA: json.dumps(own.tree), "classes": json.dumps(list("abcdefg"))}
    save_file(theirs.state_dict(), path, says)
    found, images = read(path, net), files.photographs()
    assert found.classes == tuple("abcdefg")
    values = images.float() - torch.tensor([120.0, 110.5, 100.0])[:, None, None]
    assert files.same(files.scores(found, net, images), files.said(theirs, values))


def test_weights_in_a_runs_folder_want_that_runs_input(tmp_path: Path) -> None:
    folder = next(golden_runs().glob("*/result.json")).parent
    config, _ = read_config(folder)
    result = read_result(folder)
    assert result is not None
    classes = result["data"]["classes"]
    net = at_size(config.arch, config.size, channels=config.data.channels, classes=classes)
    here = tmp_path / folder.name
    here.mkdir()
    for name in ("config.yaml", "result.json"):
        (here / name).write_bytes((folder / name).read_bytes())
    (here / "weights.safetensors").write_bytes(weights(VGG(net, 0)))
    found = read(here / "weights.safetensors", net)
    scale = config.recipe.input_range
    assert found.convention.input_range == scale
    mean = [value * scale / 255 for value in result["data"]["mean"]]
    assert found.convention.mean == pytest.approx(mean)
    # What is no run tells nothing.
    (here / "config.yaml").write_text("model: vgg11\n")
    with pytest.raises(RequestError, match="weights_input="):
        read(here / "weights.safetensors", net)


@pytest.mark.parametrize("norm", [False, True])
def test_the_recipe_of_the_page_converts_onnx(
    norm: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnx")
    page = Path("docs/weights.md").read_text()
    (recipe,) = re.findall(r"```python\n(import onnx.*?)```", page, flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    theirs, net = files.torchvisions(norm=norm), files.spec("D-BN" if norm else "D")
    torch.onnx.export(
        theirs,
        (torch.zeros(1, 3, files.CROP, files.CROP),),
        "vgg16.onnx",
        dynamo=False,
        # Else batch normalisation is folded into the convolutions.
        training=torch.onnx.TrainingMode.PRESERVE,
    )
    exec(recipe, {})
    found, images = read(Path("vgg16.safetensors"), net, "torchvision"), files.photographs()
    expected = files.said(theirs, files.torchvision_input(images))
    assert files.same(files.scores(found, net, images), expected)
