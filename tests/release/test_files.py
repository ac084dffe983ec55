"""Exported files, loaded by those that they are for: torchvision, torch alone, onnxruntime."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from scipy.stats import binomtest
from torch import Tensor, nn
from torchvision.models.vgg import VGG as Theirs
from torchvision.models.vgg import cfgs, make_layers

import repro.export
import repro.predict
from repro.model import reading
from repro.model.vgg import VGG
from repro.release import graph
from repro.release.files import torchvision_name
from repro.release.trained import finished_run, opened
from tests.conftest import composed
from tests.release.conftest import Command, Made, stored

BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)
# torchvision's letters for its cfgs are the paper's.
FULL = [("A", "vgg11"), ("B", "vgg13"), ("D", "vgg16"), ("E", "vgg19")]
FULL += [(f"{arch}-BN", f"{name}_bn") for arch, name in FULL]


def images(count: int = 3, height: int = 28, width: int = 28) -> Tensor:
    random = np.random.default_rng(5)
    return torch.as_tensor(random.integers(0, 256, (count, 3, height, width), dtype=np.uint8))


def scores(folder: Path, crops: Tensor) -> Tensor:
    """What the run's own net says."""
    with opened(finished_run(folder), torch.device("cpu")) as trained, torch.inference_mode():
        found: Tensor = trained.net(trained.prepare(crops))
        return found.clone()


def export(way_in: Command, folder: Path, kind: str, out: Path, *more: str) -> str:
    words = [f"run={folder}", f"format={kind}", f"out={out}", *more]
    status, shown, error = way_in(repro.export, *words)
    assert (status, error) == (0, "")
    return shown


def narrow(letter: str, *, batch_norm: bool, classes: int) -> nn.Module:
    """torchvision's net at an eighth: three halvings less, and a sixteenth of the channels."""
    halvings = 0
    cfg: list[Any] = []
    for word in cfgs[letter]:
        halvings += word == "M"
        if word != "M" or halvings > 3:
            cfg.append(word if word == "M" else int(word) // 16)
    net = Theirs(make_layers(cfg, batch_norm), num_classes=classes, init_weights=False)
    hidden = [nn.Linear(32 * 49, 256), nn.ReLU(), nn.Dropout(), nn.Linear(256, 256), nn.ReLU()]
    net.classifier = nn.Sequential(*hidden, nn.Dropout(), nn.Linear(256, classes))
    return net


@pytest.mark.parametrize(("arch", "letter"), [("B", "B"), ("D-BN", "D")])
def test_torchvision_loads_what_is_exported_and_says_the_same(
    arch: str, letter: str, made: Made, way_in: Command, tmp_path: Path
) -> None:
    folder = made(f"arch={arch}", "recipe.input_range=1")
    export(way_in, folder, "torchvision", tmp_path / "net.pth")
    state = torch.load(tmp_path / "net.pth", weights_only=True)
    net = narrow(letter, batch_norm=arch.endswith("BN"), classes=3).eval()
    net.load_state_dict(state)
    crops = images()
    # By torchvision's own recipe: 0-1, then a mean and a standard deviation.
    mean = torch.tensor([120.5, 110.25, 99.0]).view(1, 3, 1, 1) / 255
    with torch.inference_mode():
        theirs = net(crops / 255 - mean)
    ours = scores(folder, crops)
    assert ours.std() > 0.01, "the images must differ to the net"
    torch.testing.assert_close(theirs, ours, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("arch", "name"), FULL)
def test_the_full_size_is_torchvisions_own(arch: str, name: str) -> None:
    from torchvision import models

    config = composed(f"arch={arch}", "data=imagenet", "size=paper")
    smaller = composed(f"arch={arch}", "data=imagenet", "size=half")
    net = reading.at_size(config.arch, config.size, channels=3, classes=1000)
    with torch.device("meta"):
        ours, theirs = VGG(net, 0.5), getattr(models, name)()
    shapes = [[(key, t.shape) for key, t in net.state_dict().items()] for net in (ours, theirs)]
    assert shapes[0] == shapes[1]
    assert torchvision_name(config) == name
    assert torchvision_name(smaller) is None


@pytest.mark.parametrize("arch", ["A-LRN", "C"])
def test_no_other_net_is_called_torchvisions(arch: str) -> None:
    config = composed(f"arch={arch}", "data=imagenet", "size=paper")
    assert torchvision_name(config) is None


@pytest.mark.parametrize(
    ("arch", "kind"),
    [
        ("A", "torchvision"),
        ("C", "safetensors"),
        ("alexnet", "torchvision"),
    ],
)
def test_the_cards_own_lines_load_the_file_without_this_suite(
    arch: str,
    kind: str,
    made: Made,
    way_in: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = made(f"arch={arch}")
    out = tmp_path / f"a net.{'pth' if kind == 'torchvision' else 'safetensors'}"
    export(way_in, folder, kind, out)
    monkeypatch.chdir(tmp_path)
    crops = images()
    room: dict[str, Any] = {"images": crops}
    blocks = BLOCK.findall((tmp_path / f"{out.name}.md").read_text())
    assert len(blocks) == 2
    for block in blocks:
        assert "repro" not in block
        exec(block, room)
    torch.testing.assert_close(
        room["posteriors"].detach(), scores(folder, crops).softmax(dim=1), rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("arch", ["A-LRN", "D-BN"])
def test_onnxruntime_says_the_same_of_decoded_images(
    arch: str, made: Made, way_in: Command, tmp_path: Path
) -> None:
    folder = made(f"arch={arch}", "recipe.input_range=1")
    assert "onnxruntime" in export(way_in, folder, "onnx", tmp_path / "net.onnx")
    onnx.checker.check_model(tmp_path / "net.onnx", full_check=True)
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx")
    for count in (1, 4):
        crops = images(count)
        posteriors, score_map = session.run(None, {"images": crops.numpy()})
        ours = scores(folder, crops)
        np.testing.assert_allclose(score_map[:, :, 0, 0], ours, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(posteriors, ours.softmax(dim=1), atol=1e-5)


def test_a_graph_that_says_something_else_is_not_written(
    made: Made, way_in: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = made("arch=A")
    real = graph.Whole.forward
    monkeypatch.setattr(
        graph.Whole,
        "forward",
        # As it is traced the graph is right; as it is tried torch has another image.
        lambda self, x: real(self, x if torch.jit.is_tracing() else 255 - x),
    )
    words = [f"run={folder}", "format=onnx", f"out={tmp_path / 'net.onnx'}"]
    status, _, error = way_in(repro.export, *words)
    assert status == 2
    assert "onnxruntime" in error
    assert list(tmp_path.iterdir()) == []


def test_the_card_tells_the_stored_errors(trained: Path, way_in: Command, tmp_path: Path) -> None:
    export(way_in, trained, "torchvision", tmp_path / "net.pth")
    card = (tmp_path / "net.pth.md").read_text()
    names = [f"dense-Q{q}{m}" for q in (224, 256, 288) for m in ("", "-mirrored")]
    mean, _, labels = stored(trained, *names)
    wrong = int((mean.argmax(axis=1) != labels).sum())
    low, high = binomtest(wrong, len(labels)).proportion_ci(0.95, method="wilson")
    row = next(line for line in card.splitlines() if line.startswith("| `multi_scale`"))
    cells = [cell.strip() for cell in row.split("|")[1:-1]]
    assert cells[1:] == ["224, 256, 288", "top-1", f"{100 * wrong / 18:.2f}",
                         f"{100 * low:.2f} to {100 * high:.2f}", "18"]  # fmt: skip
    assert "windows" not in card, "no such view is stored"
    for said in (
        "crop of 28 pixels",
        "`smoke+batch=8+learning_rate=0.0001`",
        "## Licence",
        "TO BE FILLED IN",
        "imagefolder",
    ):
        assert said in card
    assert "<b>" not in card
    assert "an &lt;b>ant" in card


def test_nothing_that_is_there_is_lost(made: Made, way_in: Command, tmp_path: Path) -> None:
    folder, out = made("arch=A"), tmp_path / "net.pth"
    words = [f"run={folder}", "format=torchvision", f"out={out}"]
    for path in (out, tmp_path / "net.pth.md"):
        path.write_text("mine")
        status, shown, error = way_in(repro.export, *words)
        assert (status, shown) == (2, "")
        assert str(path) in error
        assert [file.read_text() for file in tmp_path.iterdir()] == ["mine"]
        path.unlink()
    out.write_text("mine")
    export(way_in, folder, "torchvision", out, "overwrite=true")
    assert torch.load(out, weights_only=True)


def test_nothing_is_written_into_a_run(trained: Path, photographs: Path, way_in: Command) -> None:
    before = {path: path.read_bytes() for path in trained.rglob("*") if path.is_file()}
    out, more = trained / "weights.safetensors", "overwrite=true"
    for module, words in (
        (repro.export, ["format=safetensors", f"out={out}"]),
        (repro.export, ["format=safetensors", f"out={trained / 'views/net.safetensors'}"]),
    ):
        status, _, error = way_in(module, f"run={trained}", *words, more)
        assert (status, error.count("\n")) == (2, 1)
        assert "out=" in error
    assert {path: path.read_bytes() for path in trained.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run=x", "format=caffe", "out=a.onnx"], "torchvision, safetensors, onnx"),
        (["run=x", "format=onnx", "out=a.onnx"], "run="),
        (["run=x", "format=onnx", "out=f/a.onnx"], "out=f"),
    ],
)
def test_a_wrong_request_is_one_line(
    words: list[str], said: str, way_in: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "f").write_text("")
    status, shown, error = way_in(repro.export, *words)
    assert (status, shown, error.count("\n")) == (2, "", 1)
    assert said in error


@pytest.mark.parametrize("lost", ["weights.safetensors", "result.json"])
def test_a_run_without_its_net_is_refused(
    lost: str, made: Made, way_in: Command, tmp_path: Path
) -> None:
    folder = shutil.copytree(source := made("arch=A"), tmp_path / "runs" / source.name)
    (folder / lost).unlink()
    out = tmp_path / "net.pth"
    status, shown, error = way_in(repro.export, f"run={folder}", "format=torchvision", f"out={out}")
    assert (status, shown, error.count("\n")) == (2, "", 1)
    assert folder.name in error
    assert not out.exists()
