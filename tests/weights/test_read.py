"""Weight files of every format against the nets that they were written from."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from repro.errors import RequestError
from repro.weights import convention
from repro.weights.convention import METADATA, Convention
from repro.weights.read import read
from tests.weights import conftest as files


@pytest.mark.parametrize("letter", ["A", "B", "D", "E"])
@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_torchvisions_state_dict(letter: str, norm: bool, prefix: str, tmp_path: Path) -> None:
    theirs = files.torchvisions(letter, norm)
    net = files.spec(f"{letter}-BN" if norm else letter)
    tensors = {prefix + name: values for name, values in theirs.state_dict().items()}
    torch.save({"state_dict": tensors, "epoch": 3} if prefix else tensors, tmp_path / "x")
    found = read(tmp_path / "x", net)
    images = files.photographs()
    with torch.inference_mode():
        expected = theirs(files.torchvision_input(images))
    assert found.format == "torchvision"
    assert files.same(files.scores(found, net, images), expected)


def test_torchs_older_file_and_the_convention_that_a_user_names(tmp_path: Path) -> None:
    theirs, net = files.torchvisions(), files.spec()
    path = tmp_path / "weights.h5"
    torch.save(theirs.state_dict(), path, _use_new_zipfile_serialization=False)
    images = files.photographs()
    with torch.inference_mode():
        expected = theirs(files.caffe_input(images))
    assert files.same(files.scores(read(path, net, "caffe"), net, images), expected)


def test_jcjohnsons_names_tell_caffes_input(tmp_path: Path) -> None:
    theirs, net = files.torchvisions(), files.spec()
    numbers = {"0": "1", "3": "4", "6": "6"}
    tensors = {}
    for name, values in theirs.state_dict().items():
        part, number, kind = name.split(".")
        number = numbers[number] if part == "classifier" else number
        tensors[f"{part}.{number}.{kind}"] = values
    torch.save(tensors, tmp_path / "vgg16.pth")
    found, images = read(tmp_path / "vgg16.pth", net), files.photographs()
    with torch.inference_mode():
        expected = theirs(files.caffe_input(images))
    assert files.same(files.scores(found, net, images), expected)


@pytest.mark.parametrize("older", [True, False])
@pytest.mark.parametrize("letter", ["D", "E"])
def test_caffe(letter: str, older: bool, tmp_path: Path) -> None:
    theirs, net = files.torchvisions(letter), files.spec(letter)
    files.write_caffe(theirs, tmp_path / "x.caffemodel", older=older)
    found, images = read(tmp_path / "x.caffemodel", net), files.photographs()
    with torch.inference_mode():
        expected = theirs(files.caffe_input(images))
    assert files.same(files.scores(found, net, images), expected)
    assert found.layers[0] == "layer0"


def test_caffe_as_protobuf_writes_it(tmp_path: Path) -> None:
    theirs, net = files.torchvisions("A"), files.spec("A")
    (tmp_path / "x").write_bytes(files.caffe_message(theirs).SerializeToString())
    found = read(tmp_path / "x", net)
    assert found.layers[-1] == "layer10"
    for name, values in theirs.state_dict().items():
        assert torch.equal(found.tensors[name], values)


@pytest.mark.parametrize("older", [True, False])
@pytest.mark.parametrize("compressed", [True, False])
def test_matconvnet(older: bool, compressed: bool, tmp_path: Path) -> None:
    theirs, net = files.torchvisions(), files.spec()
    files.write_matconvnet(theirs, tmp_path / "x.mat", older=older, compressed=compressed)
    found, images = read(tmp_path / "x.mat", net), files.photographs()
    with torch.inference_mode():
        expected = theirs(images.float() - torch.tensor(files.MEAN)[:, None, None])
    assert files.same(files.scores(found, net, images), expected)
    assert found.classes is not None
    assert found.classes[6] == "class 6"


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("matmul", [False, True])
def test_onnx(norm: bool, matmul: bool, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    theirs, net = files.torchvisions(norm=norm), files.spec("D-BN" if norm else "D")
    model = files.onnx_model(theirs, matmul=matmul)
    onnx.save(model, tmp_path / "x.onnx")
    found, images = read(tmp_path / "x.onnx", net), files.photographs()
    runtime = pytest.importorskip("onnx.reference").ReferenceEvaluator(model)
    graded = runtime.run(None, {"image": files.torchvision_input(images).numpy()})[0]
    assert files.same(files.scores(found, net, images), torch.from_numpy(graded))


@pytest.mark.parametrize("norm", [False, True])
def test_timm(norm: bool, tmp_path: Path) -> None:
    vgg = pytest.importorskip("timm.models.vgg")
    torch.manual_seed(1)
    width = files.WIDTH
    cfg = [v if v == "M" else int(v * width) for v in vgg.cfgs["vgg16"]]
    layer = nn.BatchNorm2d if norm else None
    theirs = vgg.VGG(cfg, files.CLASSES, norm_layer=layer).eval()
    hidden = int(4096 * width)
    theirs.pre_logits = vgg.ConvMlp(int(512 * width), hidden, 7).eval()
    theirs.head = vgg.ClassifierHead(hidden, files.CLASSES).eval()
    for values in theirs.parameters():
        nn.init.normal_(values, std=0.1 if values.dim() > 1 else 0.01)
    net = files.spec("D-BN" if norm else "D", crop=224)
    save_file(theirs.state_dict(), tmp_path / "x.safetensors")
    torch.save(theirs.state_dict(), tmp_path / "x.pth")
    images = files.photographs(224)
    with torch.inference_mode():
        expected = theirs(files.torchvision_input(images))
    for name in ("x.safetensors", "x.pth"):
        found = read(tmp_path / name, net)
        assert found.format == "timm"
        assert files.same(files.scores(found, net, images), expected)


def test_safetensors_say_their_input_or_it_is_asked_for(tmp_path: Path) -> None:
    theirs, net, path = files.torchvisions(), files.spec(), tmp_path / "weights.safetensors"
    save_file(theirs.state_dict(), path)
    with pytest.raises(RequestError, match="what input it wants"):
        read(path, net)
    own = Convention("RGB", 255.0, (120.0, 110.5, 100.0), (1.0, 1.0, 1.0))
    assert convention.parse(own.text()) == own
    save_file(theirs.state_dict(), path, {METADATA: own.text()})
    found, images = read(path, net), files.photographs()
    with torch.inference_mode():
        expected = theirs(images.float() - torch.tensor([120.0, 110.5, 100.0])[:, None, None])
    assert files.same(files.scores(found, net, images), expected)


def test_weights_in_a_runs_folder_want_that_runs_input(tmp_path: Path) -> None:
    folder = next(Path("tests/golden/runs").glob("*/result.json")).parent
    from repro.model.reading import at_size
    from repro.model.vgg import VGG
    from repro.model.weights import weights
    from repro.store.runs import read_config, read_result

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
    assert found.convention.input_range == config.recipe.input_range
    assert found.convention.mean == pytest.approx(
        [value * config.recipe.input_range / 255 for value in result["data"]["mean"]]
    )
