"""Files that are not the wanted net, damaged files and hostile ones: one line each, and no more."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import resource
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from repro.errors import RequestError
from repro.model.layers import Net
from repro.weights.read import read
from tests.weights import conftest as files

FORMATS = ("caffe", "keras", "torch", "older torch", "safetensors", "matconvnet", "onnx")


def write(kind: str, path: Path) -> None:
    theirs = files.torchvisions()
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
        case "matconvnet":
            files.write_matconvnet(theirs, path)
        case "onnx":
            path.write_bytes(files.onnx_model(theirs).SerializeToString())


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
    assert "has 16 weight layers: expected 19, as in arch=E" in refused(path, files.spec("E"))
    assert "7" in (line := refused(path, files.spec(classes=10)))
    assert "10" in line
    assert "classes" in line
    assert "expected 32x3x3x3" in refused(path, _wider())
    assert "batch normalisation" in refused(path, files.spec("D-BN"))


def _wider() -> Net:
    from repro.config.choices import choice
    from repro.config.schema import Arch
    from repro.model import reading

    arch = Arch(**choice("arch", "D"))
    return reading.read(arch, width=0.5, crop=files.CROP, channels=3, classes=files.CLASSES)


def test_a_net_of_much_more_weights_is_refused_by_its_size(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with path.open("wb") as file:
        file.write(b"\x0a")
        file.truncate(553_432_081)
    assert "it has 553.4 MB" in refused(path)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("share", [0.001, 0.3, 0.7, 0.999])
def test_truncated(kind: str, share: float, tmp_path: Path) -> None:
    path = tmp_path / "x"
    write(kind, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    refused(path)


@pytest.mark.parametrize("kind", FORMATS)
def test_bytes_changed_at_random_give_one_line_or_a_net(
    kind: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("damaged") / "x"
    write(kind, path)
    if kind == "matconvnet":
        files.write_matconvnet(files.torchvisions(), path, compressed=False)
    content = path.read_bytes()
    # The structure stands at a file's ends; between there are weights.
    places = st.one_of(
        st.integers(0, min(3000, len(content) - 1)), st.integers(len(content) - 3000, len(content))
    )

    @settings(
        # MATLAB's are each read in a process of their own.
        max_examples=2 if kind == "matconvnet" else 25,
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


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no weight file"),
        (b"version https://git-lfs.github.com/spec/v1\n", "no weight file"),
        (b"MATLAB 7.3 MAT-file, Platform: GLNXA64", "save it with -v7"),
        (b"\n\n<html></html>", "damaged"),
    ],
)
def test_what_is_no_weight_file(content: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "vgg16.pth"
    path.write_bytes(content)
    assert words in refused(path)


def test_no_file_and_a_folder(tmp_path: Path) -> None:
    assert "No such file" in refused(tmp_path / "x")
    assert "Is a directory" in refused(tmp_path)


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
    assert "more than tensors" in refused(path)
    path.write_bytes(pickle.dumps(Runs(mark)))
    assert "not opened" in refused(path)
    assert not mark.exists()


def test_a_whole_module_is_not_opened(tmp_path: Path) -> None:
    torch.save(files.torchvisions(), tmp_path / "x")
    assert "state_dict()" in refused(tmp_path / "x")
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), tmp_path / "y")
    assert "TorchScript" in refused(tmp_path / "y")


def test_pickles_need_a_torch_that_reads_them_safely(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("torch", tmp_path / "x")
    monkeypatch.setattr(torch, "__version__", torch.torch_version.TorchVersion("2.9.1"))
    assert "CVE-2026-24747" in refused(tmp_path / "x")


def test_a_compressed_archive_is_not_expanded(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}q\x00.")
        archive.writestr("archive/data/0", bytes(2**24))
    assert "compressed" in refused(tmp_path / "x")
    with zipfile.ZipFile(tmp_path / "x", "w") as archive:
        archive.writestr("model.weights.h5", b"")
    assert "model.weights.h5" in refused(tmp_path / "x")


def test_the_pickle_that_is_looked_at_is_the_one_that_torch_opens(tmp_path: Path) -> None:
    hostile = b"\x80\x02ctorch\ndevice\n."
    for names in (("x/DATA.PKL", "x/y/data.pkl"), ("x/DATA.PKL", "x/data.pkl"), ("x/DATA.PKL",)):
        with zipfile.ZipFile(tmp_path / "x", "w") as archive:
            for name in names:
                content = hostile if "DATA" in name else b"\x80\x02}q\x00."
                archive.writestr(name, content)
            archive.writestr("x/version", b"3\n")
        assert "it is an archive of " in refused(tmp_path / "x")


def test_what_lies_beside_a_file_and_is_no_run_is_not_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    write("safetensors", path)
    before = read(path, files.spec(), "caffe")
    (tmp_path / "config.yaml").write_text("model: vgg11\n")
    assert read(path, files.spec(), "caffe").convention == before.convention


def test_tensors_that_are_more_than_their_bytes(tmp_path: Path) -> None:
    tensors = files.torchvisions().state_dict()
    tensors["classifier.0.weight"] = torch.zeros(1).expand(10**6, 10**6)
    torch.save(tensors, tmp_path / "x")
    assert "more numbers than the file has bytes" in refused(tmp_path / "x")
    tensors["classifier.0.weight"] = torch.eye(8).to_sparse()
    torch.save(tensors, tmp_path / "x")
    assert "more than tensors" in refused(tmp_path / "x")
    tensors["classifier.0.weight"] = torch.ones(256, 128, dtype=torch.int32)
    torch.save(tensors, tmp_path / "x")
    assert "no plain tensor" in refused(tmp_path / "x")


def test_features_only(tmp_path: Path) -> None:
    tensors = files.torchvisions().state_dict()
    for name, values in tensors.items():
        if name.startswith("classifier."):
            values.fill_(torch.nan)
    torch.save(tensors, tmp_path / "x")
    assert "features only" in refused(tmp_path / "x")
    tensors["features.0.weight"][0, 0, 0, 0] = torch.inf
    torch.save(tensors, tmp_path / "x")
    assert "features.0.weight" in refused(tmp_path / "x")


@pytest.mark.parametrize("way", ["link", "soft link", "external", "virtual", "chunks", "missing"])
def test_hdf5_that_points_elsewhere_or_is_not_plain(way: str, tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    path, secret = tmp_path / "x.h5", tmp_path / "secret"
    write("keras", path)
    write("keras", secret)
    name = "layers/conv2d/vars/0"
    with h5py.File(path, "r+") as file:
        shape = file[name].shape
        del file[name]
        if way == "link":
            file[name] = h5py.ExternalLink(str(secret), name)
        elif way == "soft link":
            file["layers/conv2d/vars/2"] = file["layers/conv2d_1/vars/0"]
            file[name] = h5py.SoftLink("/layers/conv2d/vars/2")
        elif way == "external":
            size = int(np.prod(shape)) * 4
            file.create_dataset(name, shape, "f4", external=[(str(secret), 0, size)])
        elif way == "virtual":
            layout = h5py.VirtualLayout(shape, "f4")
            layout[...] = h5py.VirtualSource(str(secret), name, shape)
            file.create_virtual_dataset(name, layout)
        elif way == "chunks":
            file.create_dataset(name, shape, "f4", chunks=shape, compression="gzip")
        else:
            file.create_dataset(name, shape, "f4")
    words = {"missing": "no data", "chunks": "compressed"}.get(way, "not read")
    assert words in refused(path)


def test_hdf5_that_repeats_one_array_or_holds_itself(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        big = file.create_dataset("big", data=np.zeros((512, 512), np.float32))
        for number in range(1000):
            file[f"layers/dense_{number}/vars/0"] = big
    assert "more numbers than the file has bytes" in refused(path)
    with h5py.File(path, "w") as file:
        file["layers/itself"] = file["/"]
    assert "more groups" in refused(path)


def test_matlab_that_expands(tmp_path: Path) -> None:
    element = struct.pack("<II", 14, 2**26) + bytes(2**26)
    packed = zlib.compress(element)
    header = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM"
    path = tmp_path / "x.mat"
    path.write_bytes(header + struct.pack("<II", 15, len(packed)) + packed)
    assert "expands" in refused(path)


def test_matlab_over_which_scipy_crashes(tmp_path: Path) -> None:
    """scipy 1.17 ends the process that reads this; found by changing bytes at random."""
    path = tmp_path / "x.mat"
    files.write_matconvnet(files.torchvisions(), path, compressed=False)
    damaged = bytearray(path.read_bytes())
    for place in (2761, 2762, 2765):
        damaged[place] = 255
    path.write_bytes(damaged)
    assert "damaged" in refused(path)


@pytest.mark.parametrize("way", ["external", "twice", "other"])
def test_onnx_that_points_elsewhere_or_has_other_operations(way: str, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    model: Any = files.onnx_model(files.torchvisions())
    graph = model.graph
    if way == "external":
        (tmp_path / "secret").write_bytes(bytes(10**6))
        stored = graph.initializer[0]
        name = stored.name
        stored.ClearField("raw_data")
        stored.data_location = onnx.TensorProto.EXTERNAL
        stored.external_data.add(key="location", value="secret")
        graph.node[0].input[1] = name
    elif way == "twice":
        graph.node[2].input[1] = graph.node[0].input[1]
    else:
        graph.node[1].op_type = "Sigmoid"
    (tmp_path / "x").write_bytes(model.SerializeToString())
    words = {"external": "another file", "other": "Sigmoid"}.get(way, "a weight 4x3x3x3")
    assert words in refused(tmp_path / "x")


@pytest.mark.parametrize("change", ["short", "type", "three", "negative"])
def test_caffe_layers_that_are_not_these_nets(change: str, tmp_path: Path) -> None:
    kernel = torch.zeros(4, 3, 3, 3)
    blobs = [files.blob(kernel, older=True), files.blob(torch.zeros(4), older=True)]
    kind = 4
    if change == "short":
        blobs[0] = blobs[0][:-8]
        blobs[0] = files.blob(kernel, older=True).replace(files.varint(432), files.varint(428), 1)[
            :-4
        ]
    elif change == "type":
        kind = 6
    elif change == "three":
        blobs += [blobs[1]]
    else:
        shape = files.field(7, files.field(1, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01" * 2))
        blobs[0] = shape + files.field(5, b"\0\0\0\0")
    layer = files.field(4, b"conv1_1") + files.field(5, kind)
    layer += b"".join(files.field(6, each) for each in blobs)
    (tmp_path / "x").write_bytes(files.field(2, layer))
    assert "its layer conv1_1 has" in refused(tmp_path / "x")


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write("keras", tmp_path / "x")
    for name in [each for each in sys.modules if each == "h5py" or each.startswith("h5py.")]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "h5py", None)
    assert "pip install 'vgg-repro[keras]'" in refused(tmp_path / "x")


EMPTY = 300_000
"""Messages of two bytes each."""


def crowded(where: str) -> bytes:
    """A protobuf that would be hundreds of times as large in protobuf's own parser."""
    field = files.field
    match where:
        case "Caffe layers":
            return b"\x12\0" * EMPTY
        case "Caffe blobs":
            return field(2, b"\x32\0" * EMPTY)
        case "Caffe sides":
            return field(2, field(5, 4) + field(6, field(7, field(1, b"\x01" * EMPTY))))
        case "ONNX nodes":
            return b"\x08\x08" + field(7, b"\x0a\0" * EMPTY)
        case "ONNX attributes":
            return b"\x08\x08" + field(7, field(11, field(1, b"x")) + field(1, b"\x2a\0" * EMPTY))
    return b"\x08\x08" + field(7, field(5, b"\x6a\0" * EMPTY))


@pytest.mark.parametrize(
    "where",
    ["Caffe layers", "Caffe blobs", "Caffe sides", "ONNX nodes", "ONNX attributes", "ONNX tensors"],
)
def test_a_protobuf_of_many_messages(where: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(crowded(where))
    assert "more than 100,000 fields" in refused(tmp_path / "x")


def test_hdf5_whose_groups_or_names_are_large_without_end(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        below = file.create_group("bottom")
        for level in range(5):
            group = file.create_group(f"level{level}")
            for place in range(30):
                group[str(place)] = below
            below = group
    assert "more groups or entries" in refused(path)
    with h5py.File(path, "w") as file:
        # Each stands elsewhere in the file, and all may be the same.
        names = np.array(["x" * 50_000] * 150, object)
        file.attrs.create("layer_names", names, dtype=h5py.string_dtype())
    assert "than those of any net, or longer" in refused(path)
    with h5py.File(path, "w") as file:
        file.create_group("x").attrs["weight_names"] = np.array([b"y"])
        file["x/y"] = np.zeros(3, np.float32)
        file.attrs["layer_names"] = np.array([b"x"] * 5000)
    assert "more than those of any net" in refused(path)
    with h5py.File(path, "w") as file:
        kind = h5py.string_dtype()
        for number, shape in enumerate([(2, 2), (2,)]):
            file.create_dataset(f"layers/dense/vars/{number}", shape, kind)
    assert "expected floating-point" in refused(path)


def archive(path: Path, pickled: bytes, entries: int = 0) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", pickled)
        for number in range(entries):
            file.writestr(f"archive/{number}", b"")


def test_archives_and_pickles_that_are_large_without_end(tmp_path: Path) -> None:
    path = tmp_path / "x"
    archive(path, b"\x80\x02}.", entries=10_500)
    assert "more than 10,000 entries" in refused(path)
    archive(path, b"\x80\x02" + b"]" * EMPTY + b".")
    assert "more in it than any net's" in refused(path)
    # Two gigabytes of zeros, and what else torch would make for a pickle that is no state dict.
    archive(path, b"\x80\x02cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R.")
    assert "more than tensors" in refused(path)
    # A pair of the pair before, forty times: its hash takes 2^40 steps.
    pairs = (b"h%ch%c\x86q%c" % (n, n, n + 1) for n in range(40))
    archive(path, b"\x80\x02}K\x01q\0" + b"".join(pairs) + b"Ns.")
    assert "more in it than any net's" in refused(path)
    torch.save({}, path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes()[:15] + b"\x80\x02" + b"]" * EMPTY)
    assert "more in it than any net's" in refused(path)


@pytest.mark.parametrize("way", ["many", "header", "depth", "words"])
def test_safetensors_of_many_tensors_or_words(way: str, tmp_path: Path) -> None:
    entry = {"dtype": "F32", "shape": [0, 3, 3, 3], "data_offsets": [0, 0]}
    header = json.dumps({f"features.{n}.weight": entry for n in range(11_000)}).encode()
    if way == "header":
        header = header[:-1] + b" " * 2**22 + b"}"
    elif way == "depth":
        header = b'{"__metadata__":' + b"[" * 10**6
    elif way == "words":
        says = {"vgg_repro.input": "[" * 10**6}
        header = json.dumps({"features.0.weight": entry, "__metadata__": says}).encode()
    (tmp_path / "x").write_bytes(struct.pack("<Q", len(header)) + header)
    words = {"many": "11,000 tensors", "header": "its header", "words": "vgg_repro.input is none"}
    assert words.get(way, "damaged") in refused(tmp_path / "x")


def test_names_of_any_length_are_shortened(tmp_path: Path) -> None:
    save_file({"a" * 10**6: torch.zeros(1)}, tmp_path / "x")
    assert "expected features.0.weight" in refused(tmp_path / "x")


def test_hostile_sizes_take_no_memory(tmp_path: Path) -> None:
    """A header that promises terabytes is refused before anything is made for it."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    entry = {"dtype": "F32", "shape": [10**6, 10**6], "data_offsets": [0, 4 * 10**12]}
    header = json.dumps({"features.0.weight": entry}).encode()
    (tmp_path / "x").write_bytes(struct.pack("<Q", len(header)) + header)
    refused(tmp_path / "x")
    if sys.platform == "linux":
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000
