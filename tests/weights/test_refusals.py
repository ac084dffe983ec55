"""Files that are not the wanted net, damaged files and hostile ones: one line each, and no more."""

from __future__ import annotations

import contextlib
import os
import pickle
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from repro.errors import RequestError
from repro.model.layers import Net
from repro.weights.read import read
from tests.weights import conftest as files


def refused(path: Path, net: Net | None = None) -> str:
    with pytest.raises(RequestError) as caught:
        read(path, net or files.spec(), "caffe")
    line = str(caught.value)
    assert line.startswith(f"weights={path}: ")
    assert "\n" not in line
    assert len(line) < 700
    return line


@pytest.mark.parametrize("kind", files.FORMATS)
def test_another_net_and_a_damaged_file(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "x"
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
    monkeypatch.setattr(torch, "__version__", torch.torch_version.TorchVersion("2.9.1"))
    assert "CVE-2026-24747" in refused(path)


def test_numbers_that_are_none(tmp_path: Path) -> None:
    tensors = files.torchvisions().state_dict()
    for part, said in (("classifier", "features only"), ("features.0.weight", "features.0.weight")):
        for name in tensors:
            if name.startswith(part):
                tensors[name].fill_(float("nan"))
        torch.save(tensors, tmp_path / "x")
        assert said in refused(tmp_path / "x")


def test_hdf5_that_points_elsewhere(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    path, other, place = tmp_path / "x.h5", tmp_path / "other", "layers/dense/vars/1"
    files.write_keras(files.torchvisions(), path)
    with h5py.File(path, "r+") as file:
        values = file[place][()]
        other.write_bytes(values.tobytes())
        del file[place]
        where = [(str(other), 0, values.nbytes)]
        file.create_dataset(place, values.shape, "f4", external=where)
    assert "elsewhere" in refused(path)
