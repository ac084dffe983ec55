"""Weight files against the nets that they were written from; what is hostile is a line."""

import argparse
import contextlib
import hashlib
import json
import os
import pickle
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn
from torchvision.models import VGG16_Weights

from repro.errors import RequestError
from repro.model.layers import Spec
from repro.model.reading import spec_of
from repro.model.vgg import VGG, encoded
from repro.store.runs import read_config, read_result
from repro.weights.contents import METADATA, Convention, parse
from repro.weights.read import locate, read
from tests.golden_store import golden_runs
from tests.weights import conftest as files


@pytest.mark.parametrize("letter", "ADE")
@pytest.mark.parametrize("kind", files.FORMATS)
def test_each_format_gives_its_nets_answers(kind: str, letter: str, tmp_path: Path) -> None:
    theirs, net, wants = files.torchvisions(letter), files.spec(letter), files.FORMATS[kind]
    files.write(kind, theirs, tmp_path / "x")
    if kind == "safetensors":
        with pytest.raises(RequestError, match="weights_input="):
            read(tmp_path / "x", net)
    said = "torchvision" if kind == "safetensors" else None
    found, images = read(tmp_path / "x", net, said), files.photographs()
    assert found.format == kind.removeprefix("older ")
    assert files.same(files.scores(found, net, images), files.said(theirs, wants(images)))


def parallel(net: nn.Module) -> object:
    """The features alone in DataParallel, as the first examples of PyTorch had it."""
    net.features = nn.DataParallel(net.features)
    return {"state_dict": net.state_dict(), "epoch": 3}


def more(net: nn.Module) -> object:
    return {name: values + 1 for name, values in net.state_dict().items()}


def averaged(net: nn.Module) -> object:
    """As torchvision's references save it: options, optimiser, a moving average of the weights."""
    average = torch.optim.swa_utils.AveragedModel(net).state_dict()
    return {"model": more(net), "model_ema": average, "args": argparse.Namespace(lr=0.1)}


CHECKPOINTS = {
    "batch normalisation": lambda net: net.state_dict(),
    "features parallel": parallel,
    "average": averaged,
    "timm": lambda net: {"state_dict": more(net), "state_dict_ema": net.state_dict()},
}


@pytest.mark.parametrize("kind", CHECKPOINTS)
def test_checkpoints_that_people_have(kind: str, tmp_path: Path) -> None:
    theirs = files.torchvisions(norm=True)
    torch.save(CHECKPOINTS[kind](files.torchvisions(norm=True)), tmp_path / "x")
    found = read(tmp_path / "x", files.spec("D-BN"))
    for name, values in theirs.state_dict().items():
        assert torch.equal(found.tensors[name], values)
    assert ("moving average" in found.format) == (kind in ("average", "timm"))


def test_timm(tmp_path: Path) -> None:
    vgg = pytest.importorskip("timm.models.vgg")
    torch.manual_seed(1)
    width = files.WIDTH
    cfg = [v if v == "M" else int(v * width) for v in vgg.cfgs["vgg16"]]
    theirs = vgg.VGG(cfg, files.CLASSES, norm_layer=nn.BatchNorm2d)
    theirs.pre_logits = vgg.ConvMlp(int(512 * width), hidden := int(4096 * width), 7)
    theirs.head = vgg.ClassifierHead(hidden, files.CLASSES)
    theirs.eval()
    for values in theirs.parameters():
        nn.init.normal_(values, std=0.1 if values.dim() > 1 else 0.01)
    net, images = files.spec("D-BN", crop=224), files.photographs(224)
    save_file(theirs.state_dict(), tmp_path / "x.safetensors")
    torch.save(theirs.state_dict(), tmp_path / "x.pth")
    expected = files.said(theirs, files.torchvision_input(images))
    for name in ("x.safetensors", "x.pth"):
        found = read(tmp_path / name, net)
        assert found.format == "timm"
        assert files.same(files.scores(found, net, images), expected)


def test_a_user_says_the_input() -> None:
    images = files.photographs()
    for words, values in (
        ("RGB:-1..1", images / 127.5 - 1),
        ("BGR:0..255:103.939/116.779/123.68", files.caffe_input(images)),
        ("RGB:0..1:0.485/0.456/0.406:0.229/0.224/0.225", files.torchvision_input(images)),
    ):
        found = parse(words).inputs(files.CPU)(images)
        torch.testing.assert_close(found, values, atol=1e-4, rtol=0)


def test_safetensors_may_say_their_input_and_classes(tmp_path: Path) -> None:
    own = Convention("RGB", 255.0, (120.0, 110.5, 100.0), (1.0, 1.0, 1.0))
    says = {METADATA: json.dumps(own.tree), "classes": json.dumps(list("abcdefg"))}
    save_file(files.torchvisions().state_dict(), tmp_path / "x", says)
    found = read(tmp_path / "x", files.spec())
    assert found.classes == tuple("abcdefg")
    assert found.convention == own
    # Scores stand in the order that is asked for, of some classes or of all.
    last, rows = [*found.tensors][-1], [6, 5, 4, 3, 2, 1, 0]
    for count in (2, 7):
        asked = found.of_classes("gfedcba"[:count]).tensors[last]
        assert torch.equal(asked, found.tensors[last][rows[:count]])
    assert found.of_classes("hijklmn") is found, "other names are the user's own"


def test_weights_in_a_runs_folder_want_that_runs_input(tmp_path: Path) -> None:
    folder = next(golden_runs().glob("*/result.json")).parent
    here = Path(shutil.copytree(folder, tmp_path / folder.name))
    config, result = read_config(here)[0], read_result(here)
    assert result is not None
    classes = result["data"]["classes"]
    net = spec_of(config.arch, config.size, channels=config.data.channels, classes=classes)
    (here / "weights.safetensors").write_bytes(encoded(VGG(net, 0)))
    wanted, scale = read(here / "weights.safetensors", net).convention, config.recipe.input_range
    assert wanted.input_range == scale
    assert wanted.mean == pytest.approx([value * scale / 255 for value in result["data"]["mean"]])
    # What is no run tells nothing.
    (here / "config.yaml").write_text("model: vgg11\n")
    with pytest.raises(RequestError, match="weights_input="):
        read(here / "weights.safetensors", net)


def test_the_recipe_of_the_page_converts_onnx(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnx")
    page = Path("docs/weights.md").read_text()
    (recipe,) = re.findall(r"```python\n(import onnx.*?)```", page, flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    theirs, net = files.torchvisions(norm=True), files.spec("D-BN")
    example = torch.zeros(1, 3, files.CROP, files.CROP)
    # Else batch normalisation is folded into the convolutions.
    training = torch.onnx.TrainingMode.PRESERVE
    torch.onnx.export(theirs, (example,), "vgg16.onnx", dynamo=False, training=training)
    exec(recipe, {})
    found, images = read(Path("vgg16.safetensors"), net, "torchvision"), files.photographs()
    expected = files.said(theirs, files.torchvision_input(images))
    assert files.same(files.scores(found, net, images), expected)


def test_torchvisions_file_is_fetched_once_by_its_address_and_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, asked = VGG16_Weights.DEFAULT.url, []
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))

    def download(url: str, place: str, prefix: str, progress: bool) -> None:
        asked.append((url, prefix))
        if len(asked) == 1:
            raise OSError("no route\nto host")
        Path(place).write_bytes(b"weights")

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    with pytest.raises(RequestError, match="nothing is fetched"):
        locate("torchvision:vgg16", progress=False, fetch=False)
    for name, said in (("resnet50", "vgg19_bn"), ("vgg16", "no route to"), ("vgg16", "damaged")):
        with pytest.raises(RequestError, match=said):
            locate(f"torchvision:{name}", progress=False)
    digest = SimpleNamespace(hexdigest=lambda: "397923af" + "0" * 56)
    monkeypatch.setattr(hashlib, "file_digest", lambda *_: digest)
    path = locate("torchvision:vgg16", progress=False)
    assert path == tmp_path / "checkpoints" / url.rsplit("/", 1)[1]
    assert asked == [(url, "397923af")] * 2


# --- what is refused -----------------------------------------------------------------------------


def refused(path: Path, net: Spec | None = None) -> str:
    with pytest.raises(RequestError) as caught:
        read(path, net or files.spec(), "caffe")
    line = str(caught.value)
    assert line.startswith(f"weights={path}: ")
    assert "\n" not in line
    assert len(line) < 700
    return line


@pytest.mark.parametrize("kind", [*files.FORMATS, "Keras"])
def test_another_net_and_a_damaged_file(kind: str, tmp_path: Path) -> None:
    path = keras_file(tmp_path) if kind == "Keras" else tmp_path / "x"
    if kind != "Keras":
        files.write(kind, files.torchvisions(), path)
    assert "16 weight layers: expected 19" in refused(path, files.spec("E"))
    assert "7 classes: expected 10" in refused(path, files.spec(classes=10))
    assert "expected 32x3x3x3" in refused(path, files.spec(width=0.5))
    # Where it was folded into the convolutions, the plain net is the right one.
    assert "arch=D takes" in refused(path, files.spec("D-BN"))
    content = path.read_bytes()
    for share in (0.001, 0.3, 0.7, 0.999):
        path.write_bytes(content[: int(share * len(content))])
        refused(path)
    # The structure stands at a file's ends; between there are weights.
    places = st.one_of(st.integers(0, 3000), st.integers(-3000, -1))

    @settings(max_examples=15, database=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.lists(st.tuples(places, st.binary(min_size=1, max_size=8)), min_size=1, max_size=5))
    def check(changes: list[tuple[int, bytes]]) -> None:
        damaged = bytearray(content)
        for place, new in changes:
            damaged[place : place + len(new)] = new
        path.write_bytes(damaged)
        # What is no RequestError fails the test.
        with contextlib.suppress(RequestError):
            read(path, files.spec(), "caffe")

    check()


def test_what_is_no_weight_file(tmp_path: Path) -> None:
    path = tmp_path / "vgg16.pth"
    for content in (b"", b"version https://git-lfs.github.com/spec/v1\n", b"\x08\x07\x12\x07"):
        path.write_bytes(content)
        assert "ONNX" in refused(path)
    path.write_bytes(b"\n\n<html></html>")
    for place in (path, tmp_path, tmp_path / "nowhere"):
        refused(place)


class Runs:
    """What runs a command when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.mark}",)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_runs_nothing(
    zipped: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, mark, state = tmp_path / "x.pth", tmp_path / "ran", files.torchvisions().state_dict()
    for content in ({**state, "extra": Runs(mark)}, files.torchvisions()):
        torch.save(content, path, _use_new_zipfile_serialization=zipped)
        assert "net.state_dict()" in refused(path)
    path.write_bytes(pickle.dumps(Runs(mark)))
    refused(path)
    assert not mark.exists()
    torch.save(state, path)
    monkeypatch.setattr(torch, "__version__", torch.torch_version.TorchVersion("2.5.1"))
    assert "CVE-2026-24747" in refused(path)


def test_numbers_that_are_none(tmp_path: Path) -> None:
    tensors = files.torchvisions().state_dict()
    for part, said in (("classifier", "features only"), ("features.0.weight", "features.0.weight")):
        for name in tensors:
            if name.startswith(part):
                tensors[name].fill_(float("nan"))
        torch.save(tensors, tmp_path / "x")
        assert said in refused(tmp_path / "x")


def keras_file(folder: Path) -> Path:
    from tests.weights.test_keras import kerass, save

    return save(kerass(), "weights", folder)


def test_hdf5_that_points_elsewhere(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    path, other, place = keras_file(tmp_path), tmp_path / "other", "layers/dense/vars/1"
    with h5py.File(path, "r+") as file:
        values = file[place][()]
        other.write_bytes(values.tobytes())
        del file[place]
        where = [(str(other), 0, values.nbytes)]
        file.create_dataset(place, values.shape, "f4", external=where)
    assert "elsewhere" in refused(path)
