"""Exported files, loaded by those that they are for: torchvision, torch alone, onnxruntime."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from scipy.stats import binomtest
from torch import Tensor, nn
from torchvision import models
from torchvision.models.vgg import cfgs, make_layers

import repro.export
from repro.model import reading
from repro.model.vgg import VGG
from repro.release import graph
from repro.release.files import torchvision_name
from repro.release.trained import finished_run, opened
from tests.conftest import composed
from tests.release.conftest import Command, Made, stored

BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)
# torchvision's letters for its cfgs are the paper's.
FULL = {"A": "vgg11", "B-BN": "vgg13_bn", "D": "vgg16", "E": "vgg19", "A-LRN": None, "C": None}


def images(count: int = 3) -> Tensor:
    random = np.random.default_rng(5)
    return torch.as_tensor(random.integers(0, 256, (count, 3, 28, 28), dtype=np.uint8))


def scores(folder: Path, crops: Tensor) -> Tensor:
    """What the run's own net says."""
    with opened(finished_run(folder), torch.device("cpu")) as trained, torch.inference_mode():
        found: Tensor = trained.net(trained.prepare(crops))
        return found.clone()


def export(way_in: Command, folder: Path, kind: str, out: Path, *more: str, status: int = 0) -> str:
    """What is said where a net is exported, or refused with a line."""
    words = [f"run={folder}", f"format={kind}", f"out={out}", *more]
    found, shown, error = way_in(repro.export, *words)
    assert (found, bool(shown), error.count("\n")) == (status, status == 0, int(status == 2))
    return shown + error


def refused(*arguments: Any) -> str:
    return export(*arguments, status=2)


def test_torchvision_loads_what_is_exported_and_says_the_same(
    made: Made, way_in: Command, tmp_path: Path
) -> None:
    folder = made("arch=D-BN", "recipe.input_range=1")
    export(way_in, folder, "torchvision", tmp_path / "net.pth")
    # torchvision's net at an eighth: three halvings less, and a sixteenth of the channels.
    cfg = [word if word == "M" else int(word) // 16 for word in cfgs["D"]]
    for _ in range(3):
        cfg.remove("M")
    net = models.VGG(make_layers(cfg, batch_norm=True), init_weights=False).eval()
    hidden = [nn.Linear(32 * 49, 256), nn.ReLU(), nn.Dropout(), nn.Linear(256, 256), nn.ReLU()]
    net.classifier = nn.Sequential(*hidden, nn.Dropout(), nn.Linear(256, 3)).eval()
    net.load_state_dict(torch.load(tmp_path / "net.pth", weights_only=True))
    # By torchvision's own recipe: 0-1, then a mean and a standard deviation.
    colour = json.loads((folder / "result.json").read_text())["data"]["mean"]
    mean = torch.tensor(colour).view(1, 3, 1, 1) / 255
    with torch.inference_mode():
        theirs = net(images() / 255 - mean)
    assert theirs.std() > 0.01, "the images must differ to the net"
    torch.testing.assert_close(theirs, scores(folder, images()), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("arch", FULL)
def test_the_full_size_is_torchvisions_own(arch: str) -> None:
    config = composed(f"arch={arch}", "data=imagenet", "size=paper")
    name = FULL[arch]
    assert torchvision_name(config) == name
    assert torchvision_name(composed(f"arch={arch}", "data=imagenet", "size=half")) is None
    if name is not None:
        with torch.device("meta"):
            theirs = getattr(models, name)(init_weights=False).state_dict()
            net = reading.spec_of(config.arch, config.size, channels=3, classes=1000)
            ours = VGG(net, 0.5).state_dict()
        assert [(key, t.shape) for key, t in ours.items()] == [
            (k, t.shape) for k, t in theirs.items()
        ]


@pytest.mark.parametrize(("arch", "kind"), [("C", "safetensors"), ("alexnet", "torchvision")])
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
    room: dict[str, Any] = {"images": images()}
    blocks = BLOCK.findall((tmp_path / f"{out.name}.md").read_text())
    assert len(blocks) == 2
    for block in blocks:
        assert "repro" not in block
        exec(block, room)
    ours = scores(folder, images()).softmax(dim=1)
    torch.testing.assert_close(room["posteriors"].detach(), ours, rtol=1e-4, atol=1e-6)


def test_onnxruntime_says_the_same_of_decoded_images_or_nothing_is_written(
    made: Made, trained: Path, way_in: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, out = made("arch=D-BN", "recipe.input_range=1"), tmp_path / "net.onnx"
    real = graph.Whole.forward
    with monkeypatch.context() as patch:
        # As it is traced the graph is right; as it is tried torch has another image.
        wrong = lambda self, x: real(self, x if torch.jit.is_tracing() else 255 - x)  # noqa: E731
        patch.setattr(graph.Whole, "forward", wrong)
        assert "onnxruntime" in refused(way_in, trained, "onnx", out)
    assert list(tmp_path.iterdir()) == []
    assert "onnxruntime" in export(way_in, folder, "onnx", out)
    onnx.checker.check_model(out, full_check=True)
    session = onnxruntime.InferenceSession(out)
    for count in (1, 4):
        ours = scores(folder, images(count))
        posteriors, score_map = session.run(None, {"images": images(count).numpy()})
        np.testing.assert_allclose(score_map[:, :, 0, 0], ours, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(posteriors, ours.softmax(dim=1), atol=1e-5)


def test_the_card_tells_the_stored_errors(trained: Path, way_in: Command, tmp_path: Path) -> None:
    export(way_in, trained, "torchvision", tmp_path / "net.pth")
    card = (tmp_path / "net.pth.md").read_text()
    names = [f"dense-Q{q}{m}" for q in (224, 256, 288) for m in ("", "-mirrored")]
    mean, _, labels = stored(trained, *names)
    wrong = int((mean.argmax(axis=1) != labels).sum())
    low, high = binomtest(wrong, len(labels)).proportion_ci(0.95, method="wilson")
    row = next(line for line in card.splitlines() if line.startswith("| `multi_scale`"))
    errors = f"{100 * wrong / 18:.2f} | {100 * low:.2f} to {100 * high:.2f} | 18 |"
    assert row.endswith(f"| 224, 256, 288 | top-1 | {errors}")
    assert "windows" not in card, "no such view is stored"
    recipe = "`smoke+batch=8+learning_rate=0.0001+train_images=none`"
    for said in ("crop of 28 pixels", recipe, "TO BE FILLED IN", "imagefolder", "an &lt;b>ant"):
        assert said in card
    assert "<b>" not in card


def test_nothing_that_is_there_is_lost(
    trained: Path, made: Made, way_in: Command, tmp_path: Path
) -> None:
    out = tmp_path / "net.pth"
    for path in (out, tmp_path / "net.pth.md"):
        path.write_text("mine")
        assert str(path) in refused(way_in, trained, "torchvision", out)
        assert [file.read_text() for file in tmp_path.iterdir()] == ["mine"]
        path.unlink()
    out.write_text("mine")
    export(way_in, trained, "torchvision", out, "overwrite=true")
    assert torch.load(out, weights_only=True)
    # No run's folder is written into, whatever is asked for.
    before = {path: path.read_bytes() for path in trained.rglob("*") if path.is_file()}
    for name in ("weights.safetensors", "views/net.safetensors"):
        said = refused(way_in, trained, "safetensors", trained / name, "overwrite=true")
        assert "out=" in said
    assert {path: path.read_bytes() for path in trained.rglob("*") if path.is_file()} == before
