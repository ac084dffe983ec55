"""ONNX's graphs: what they do between the weights is read too, and must be what our net does."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from repro.errors import RequestError
from repro.model.vgg import VGG
from repro.weights.convention import CAFFE, METADATA, TORCHVISION, Convention
from repro.weights.read import read
from tests.weights import conftest as files

onnx = pytest.importorskip("onnx")
CONV1, RELU1, CONV2, POOL1, FC6 = 0, 1, 2, 4, 32
"""Places of D's nodes in the graph of `files.onnx_model`."""


def put(graph: Any, place: int, *nodes: Any) -> None:
    """Nodes between others of a graph."""
    after = list(graph.node)[place:]
    del graph.node[place:]
    graph.node.extend([*nodes, *after])


def node(kind: str, takes: str, gives: str, **attributes: Any) -> Any:
    return onnx.helper.make_node(kind, takes.split(), gives.split(), **attributes)


def attribute(graph: Any, place: int, name: str, value: Any) -> None:
    for each in [each for each in graph.node[place].attribute if each.name == name]:
        graph.node[place].attribute.remove(each)
    graph.node[place].attribute.append(onnx.helper.make_attribute(name, value))


def skip(graph: Any) -> None:
    put(graph, 4, node("Add", "n1 n3", "sum"))
    graph.node[5].input[0] = "sum"


def branch(graph: Any) -> None:
    graph.node[POOL1].input[0] = "n1"


def unused(graph: Any) -> None:
    put(graph, 2, node("Relu", "n1", "aside"))


def no_relu(graph: Any) -> None:
    graph.node[CONV2].input[0] = "n0"
    del graph.node[RELU1]


def relu_late(graph: Any) -> None:
    graph.node[POOL1].input[0] = "n2"
    graph.node[5].input[0] = "n3"
    graph.node[3].input[0] = "n4"
    moved = graph.node[3]
    put(graph, 5, moved)
    del graph.node[3]


def extra_lrn(size: int, **parameters: float) -> Callable[[Any], None]:
    def change(graph: Any) -> None:
        put(graph, 2, node("LRN", "n1", "normalised", size=size, **parameters))
        graph.node[3].input[0] = "normalised"

    return change


def features(graph: Any) -> None:
    graph.output[0].name = "n30"


def two_inputs(graph: Any) -> None:
    kind = onnx.TensorProto.FLOAT
    graph.input.append(onnx.helper.make_tensor_value_info("more", kind, [1]))


def computed(graph: Any) -> None:
    graph.node[CONV1].input[1] = "image"


def given_twice(graph: Any) -> None:
    graph.node[RELU1].output[0] = "n0"


def short_flattening(graph: Any) -> None:
    put(graph, 5, node("Flatten", "n4", "flat"))
    graph.node[6].input[0] = "flat"


def changed(place: int, name: str, value: Any) -> Callable[[Any], None]:
    return lambda graph: attribute(graph, place, name, value)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (skip, "Add, which gives sum, takes n1 and n3: expected n3"),
        (branch, "MaxPool, which gives n4, takes n1: expected n3"),
        (unused, "Conv, which gives n2, takes n1: expected aside"),
        (no_relu, "conv3/1p1 after conv3/1p1: expected ReLU, as in arch=D"),
        (relu_late, "maxpool2/2 after conv3/1p1: expected ReLU"),
        (changed(CONV2, "strides", [2, 2]), "conv3/2p1 after ReLU: expected conv3/1p1"),
        (changed(CONV2, "strides", [1, 2]), "conv3/1,2p1"),
        (changed(CONV2, "pads", [0, 0, 0, 0]), "conv3/1p0"),
        (changed(CONV2, "pads", [2, 2, 0, 0]), "conv3/1p2,2,0,0"),
        (changed(CONV2, "dilations", [2, 2]), "conv3/1p1 dilated by 2"),
        (changed(CONV2, "group", 4), "conv3/1p1g4"),
        (changed(CONV2, "auto_pad", "SAME_UPPER"), "pads by itself"),
        (changed(CONV2, "kernel_shape", [1, 1]), "another kernel than its weights"),
        (changed(POOL1, "kernel_shape", [3, 3]), "maxpool3/2 after ReLU: expected maxpool2/2"),
        (changed(POOL1, "strides", [1, 1]), "maxpool2/1"),
        (changed(POOL1, "pads", [0, 0, 1, 1]), "maxpool2/2p0,0,1,1"),
        (changed(FC6, "alpha", 0.5), "scales or turns"),
        (changed(FC6, "transA", 1), "scales or turns"),
        (extra_lrn(5), "has LRN of n=5, alpha/n=0.0001, beta=0.75, k=1 after ReLU"),
        (extra_lrn(5, alpha=5e-4, bias=2.0), "has LRN after ReLU: expected conv3/1p1"),
        (features, "gives n30: expected"),
        (two_inputs, "has 2 inputs"),
        (computed, "takes image and image"),
        (given_twice, "gives what is there"),
        (short_flattening, "flattening after maxpool2/2"),
    ],
)
def test_another_graph_over_the_same_weights_is_refused(
    change: Callable[[Any], None], found: str, tmp_path: Path
) -> None:
    model = files.onnx_model(files.torchvisions())
    change(model.graph)
    (tmp_path / "x").write_bytes(model.SerializeToString())
    with pytest.raises(RequestError) as caught:
        read(tmp_path / "x", files.spec())
    assert found in str(caught.value)


def test_an_operation_of_the_files_own_is_refused(tmp_path: Path) -> None:
    model = files.onnx_model(files.torchvisions())
    model.graph.node[RELU1].domain = "mine"
    (tmp_path / "x").write_bytes(model.SerializeToString())
    with pytest.raises(RequestError, match="Relu of mine"):
        read(tmp_path / "x", files.spec())
    model.graph.node[RELU1].domain = ""
    model.functions.add(name="Relu")
    (tmp_path / "x").write_bytes(model.SerializeToString())
    with pytest.raises(RequestError, match="functions of its own"):
        read(tmp_path / "x", files.spec())


def test_batch_normalisation_by_another_epsilon_is_refused(tmp_path: Path) -> None:
    model = files.onnx_model(files.torchvisions(norm=True))
    attribute(model.graph, 1, "epsilon", 1e-3)
    (tmp_path / "x").write_bytes(model.SerializeToString())
    with pytest.raises(
        RequestError, match=r"batch normalisation \(epsilon 0.001\) after conv3/1p1"
    ):
        read(tmp_path / "x", files.spec("D-BN"))


def test_what_changes_nothing_may_stand_in_the_chain(tmp_path: Path) -> None:
    """Dropout, Identity, a soft-max, and a flattening by the shape of the map."""
    theirs = files.torchvisions()
    model = files.onnx_model(theirs)
    graph = model.graph
    flatten = next(place for place, each in enumerate(graph.node) if each.op_type == "Flatten")
    before, after = graph.node[flatten].input[0], graph.node[flatten].output[0]
    del graph.node[flatten]
    for name, value in (("zero", 0), ("first", [0]), ("rest", [-1])):
        graph.initializer.append(onnx.numpy_helper.from_array(np.array(value, np.int64), name))
    put(
        graph,
        flatten,
        node("Identity", before, "same"),
        node("Shape", "same", "shape"),
        node("Gather", "shape zero", "count", axis=0),
        node("Unsqueeze", "count first", "counts"),
        node("Concat", "counts rest", "sides", axis=0),
        node("Reshape", "same sides", after),
    )
    last = graph.output[0].name
    graph.node.extend([node("Dropout", last, "kept mask"), node("Softmax", "kept", "shares")])
    graph.output[0].name = "shares"
    (tmp_path / "x").write_bytes(model.SerializeToString())
    found, images = read(tmp_path / "x", files.spec()), files.photographs()
    with torch.inference_mode():
        expected = theirs(files.torchvision_input(images))
    assert files.same(files.scores(found, files.spec(), images), expected)


def test_what_torch_writes_of_torchvisions_net(tmp_path: Path) -> None:
    theirs, out = files.torchvisions("A"), io.BytesIO()
    # As in their own, which has seven cells a side there.
    theirs.avgpool = nn.AdaptiveAvgPool2d((2, 2))
    images = files.photographs()
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        torch.onnx.export(theirs, (files.torchvision_input(images),), out, dynamo=False)
        expected = theirs(files.torchvision_input(images))
    (tmp_path / "x").write_bytes(out.getvalue())
    found = read(tmp_path / "x", files.spec("A"))
    assert files.same(files.scores(found, files.spec("A"), images), expected)


def exported(net: VGG, wanted: Convention) -> Any:
    """The graph that `repro.export` writes, to be changed."""
    pytest.importorskip("onnxruntime")
    from repro.release.graph import graph

    content, _ = graph(net, wanted, {METADATA: wanted.text()})
    return onnx.load_model_from_string(content)


def own(arch: str) -> VGG:
    torch.manual_seed(4)
    net = VGG(files.spec(arch), 0.5).eval()
    for values in net.state_dict().values():
        # Biases stay equal, as in a net that was not trained: the exporter writes them once.
        if values.dim() > 1:
            nn.init.kaiming_normal_(values)
        elif values.is_floating_point():
            values.fill_(0.5)
    return net


@pytest.mark.parametrize(
    ("arch", "wanted"),
    [
        ("A", CAFFE),
        ("A-LRN", TORCHVISION),
        ("A-BN", Convention("RGB", 255.0, (120.5, 110.0, 99.0), (1.0, 1.0, 1.0))),
        ("B-5x5", Convention("RGB", 1.0, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))),
    ],
)
def test_what_was_exported_here_is_the_same_net(
    arch: str, wanted: Convention, tmp_path: Path
) -> None:
    runtime = pytest.importorskip("onnxruntime")
    net, images = own(arch), files.photographs()
    content = exported(net, wanted).SerializeToString()
    (tmp_path / "x").write_bytes(content)
    found = read(tmp_path / "x", net.spec)
    assert found.convention == wanted
    session = runtime.InferenceSession(content)
    score_map = session.run(["score_map"], {"images": images.numpy()})[0]
    expected = torch.from_numpy(score_map[:, :, 0, 0])
    assert files.same(files.scores(found, net.spec, images), expected)
    for name, values in net.state_dict().items():
        assert torch.equal(found.tensors[name], values)


def other_constant(model: Any) -> None:
    """The mean of the graph's subtraction."""
    constants = [each for each in model.graph.node if each.op_type == "Constant"]
    mean = next(each for each in constants if each.attribute[0].t.dims == [1, 3, 1, 1])
    values = onnx.numpy_helper.to_array(mean.attribute[0].t) + 0.5
    mean.attribute[0].t.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float32)))


def other_order(model: Any) -> None:
    gather = next(each for each in model.graph.node if each.op_type == "Gather")
    swapped = onnx.numpy_helper.from_array(np.array([0, 1, 2], np.int64))
    constant = next(each for each in model.graph.node if each.output[0] == gather.input[1])
    constant.attribute[0].t.CopyFrom(swapped)


def other_axis(model: Any) -> None:
    gather = next(each for each in model.graph.node if each.op_type == "Gather")
    gather.attribute[0].i = 2


def other_words(model: Any) -> None:
    model.metadata_props[0].value = TORCHVISION.text()


def no_words(model: Any) -> None:
    del model.metadata_props[:]


def broken_words(model: Any) -> None:
    model.metadata_props[0].value = '{"order": "RGB"}'


def bare(model: Any) -> None:
    """The metadata, and nothing in the graph that does what they say."""
    nodes = model.graph.node
    first = next(place for place, each in enumerate(nodes) if each.op_type == "Conv")
    nodes[first].input[0] = "images"
    del nodes[:first]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (other_constant, "something else to images"),
        (other_order, "something else to images"),
        (other_axis, "something else to images"),
        (other_words, "something else to images"),
        (bare, "something else to images"),
        (no_words, "Cast, which these nets do not have"),
        (broken_words, "its vgg_repro.input is none"),
    ],
)
def test_metadata_that_say_another_input_than_the_graph_are_refused(
    change: Callable[[Any], None], words: str, tmp_path: Path
) -> None:
    model = exported(own("A"), CAFFE)
    change(model)
    (tmp_path / "x").write_bytes(model.SerializeToString())
    with pytest.raises(RequestError, match=words):
        read(tmp_path / "x", files.spec("A"))
