"""Files that are not the wanted net, damaged files and hostile ones: one line each, and no more."""

from __future__ import annotations

import contextlib
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from repro.errors import RequestError
from repro.model.layers import Net
from repro.weights.read import read
from tests.weights import conftest as files

FORMATS = ("caffe", "keras", "torch", "older torch", "safetensors")


def write(kind: str, path: Path, norm: bool = False) -> None:
    theirs = files.torchvisions(norm=norm)
    match kind:
        case "caffe":
            files.write_caffe(theirs, path)
        case "keras":
            write_keras(theirs, path)
        case "torch":
            torch.save(theirs.state_dict(), path)
        case "older torch":
            torch.save(theirs.state_dict(), path, _use_new_zipfile_serialization=False)
        case "safetensors":
            save_file(theirs.state_dict(), path)


def write_keras(theirs: torch.nn.Module, path: Path) -> None:
    """The newer layout, without Keras."""
    h5py = pytest.importorskip("h5py")
    counts = {"conv2d": 0, "dense": 0}
    with h5py.File(path, "w") as file:
        for part in files.weighted(theirs):
            kind = "conv2d" if isinstance(part, torch.nn.Conv2d) else "dense"
            name = f"{kind}_{counts[kind]}" if counts[kind] else kind
            counts[kind] += 1
            weight = part.weight.detach()
            weight = weight.permute(2, 3, 1, 0) if kind == "conv2d" else weight.t()
            file[f"layers/{name}/vars/0"] = weight.numpy()
            file[f"layers/{name}/vars/1"] = part.bias.detach().numpy()


def refused(path: Path, net: Net | None = None) -> str:
    with pytest.raises(RequestError) as caught:
        read(path, net or files.spec(), "caffe")
    line = str(caught.value)
    assert line.startswith(f"weights={path}: ")
    assert "\n" not in line
    assert len(line) < 700
    return line


@pytest.mark.parametrize("kind", FORMATS)
def test_another_net_or_another_number_of_classes(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "x"
    write(kind, path)
    assert "16 weight layers: expected 19" in refused(path, files.spec("E"))
    assert "7 classes: expected 10" in refused(path, files.spec(classes=10))
    assert "expected 32x3x3x3" in refused(path, files.spec(width=0.5))
    # Where it was folded into the convolutions, the plain net is the right one.
    assert "arch=D takes" in refused(path, files.spec("D-BN"))


@pytest.mark.parametrize("kind", FORMATS)
def test_damaged(kind: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("damaged") / "x"
    write(kind, path)
    content = path.read_bytes()
    for share in (0.001, 0.3, 0.7, 0.999):
        path.write_bytes(content[: int(share * len(content))])
        refused(path)
    # The structure stands at a file's ends; between there are weights.
    last = len(content)
    places = st.one_of(st.integers(0, min(3000, last - 1)), st.integers(last - 3000, last))

    @settings(
        max_examples=15,
        database=None,
        suppress_health_check=[HealthCheck.too_slow],
        deadline=None,
    )
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
    refused(path)
    refused(tmp_path)
    refused(tmp_path / "nowhere")


class Runs:
    """What runs a command when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.mark}",)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_runs_nothing(zipped: bool, tmp_path: Path) -> None:
    path, mark = tmp_path / "x.pth", tmp_path / "ran"
    content = {**files.torchvisions().state_dict(), "extra": Runs(mark)}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    assert "net.state_dict()" in refused(path)
    path.write_bytes(pickle.dumps(Runs(mark)))
    refused(path)
    torch.save(files.torchvisions(), path)
    assert "net.state_dict()" in refused(path)
    assert not mark.exists()


def test_pickles_need_a_torch_that_reads_them_safely(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("torch", tmp_path / "x")
    monkeypatch.setattr(torch, "__version__", torch.torch_version.TorchVersion("2.9.1"))
    assert "CVE-2026-24747" in refused(tmp_path / "x")


def test_features_only_and_numbers_that_are_none(tmp_path: Path) -> None:
    tensors = files.torchvisions().state_dict()
    tensors["features.0.weight"][0] = float("inf")
    torch.save(tensors, tmp_path / "x")
    assert "features.0.weight" in refused(tmp_path / "x")
    tensors = files.torchvisions().state_dict()
    for name, values in tensors.items():
        if name.startswith("classifier."):
            values.fill_(float("nan"))
    torch.save(tensors, tmp_path / "x")
    assert "features only" in refused(tmp_path / "x")


def test_hdf5_that_points_elsewhere(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    path, other, place = tmp_path / "x.h5", tmp_path / "other", "layers/dense/vars/1"
    write("keras", path)
    with h5py.File(path, "r+") as file:
        values = file[place][()]
        other.write_bytes(values.tobytes())
        del file[place]
        where = [(str(other), 0, values.nbytes)]
        file.create_dataset(place, values.shape, "f4", external=where)
    assert "elsewhere" in refused(path)
