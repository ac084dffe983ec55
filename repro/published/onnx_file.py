"""ONNX: the weights of a graph that is one chain of these nets' layers (`vgg16-7.onnx`).

Layers are told by the graph's operations, in their order, never by names. What is kept in other
files is not read.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from repro.errors import RequestError
from repro.published.convention import TORCHVISION
from repro.published.found import Found, Layer, Norm, library, tensor

WITHOUT_WEIGHTS = {
    *("Relu", "MaxPool", "LRN", "Dropout", "Softmax", "Identity"),
    *("Flatten", "Reshape", "Shape", "Gather", "Unsqueeze", "Concat", "Constant"),
}
"""Operations of these nets that have no weights, and those that flatten the last map."""


def read(path: Path) -> Found:
    """The weights of the graph's convolutions and FC layers, as the graph applies them.

    Raises:
        RequestError: onnx is missing; weights lie elsewhere; an operation these nets do not have.
        Exception: onnx's own, where the file is damaged.
    """
    onnx = library("onnx", "onnx", "onnx")
    graph = onnx.load(path, load_external_data=False).graph
    chain = _Chain(onnx, {each.name: each for each in graph.initializer})
    for node in graph.node:
        chain.add(node)
    return Found("ONNX", tuple(chain.layers), TORCHVISION)


class _Chain:
    """The layers so far, and the initialisers that no layer has taken."""

    def __init__(self, onnx: Any, initialisers: dict[str, Any]) -> None:
        self.onnx, self.initialisers = onnx, initialisers
        self.layers: list[Layer] = []

    def add(self, node: Any) -> None:
        """One more operation of the graph."""
        match node.op_type:
            case "Conv":
                self._weighted(node, transposed=False)
            case "Gemm":
                self._weighted(node, transposed=not self._attribute(node, "transB", 0))
                scales = (self._attribute(node, "alpha", 1.0), self._attribute(node, "beta", 1.0))
                if scales != (1.0, 1.0) or self._attribute(node, "transA", 0):
                    raise RequestError(f"its Gemm {node.name} scales or transposes its input")
            case "MatMul":
                self._weighted(node, transposed=True)
            case "Add":
                self._bias(node)
            case "BatchNormalization":
                self._norm(node)
            case "AveragePool" if set(self._attribute(node, "kernel_shape", [0])) == {1}:
                pass
            case kind if kind not in WITHOUT_WEIGHTS:
                raise RequestError(f"its graph has {kind}, which these nets do not have")

    def _weighted(self, node: Any, *, transposed: bool) -> None:
        weight = self._values(node.input[1])
        if transposed:
            weight = weight.t()
        bias = self._values(node.input[2]) if len(node.input) > 2 else None
        self.layers.append(Layer(node.input[1], weight, bias))

    def _bias(self, node: Any) -> None:
        name = next((each for each in node.input if each in self.initialisers), None)
        if name is None or not self.layers or self.layers[-1].bias is not None:
            raise RequestError("its graph has an Add that is no layer's bias")
        self.layers[-1] = replace(self.layers[-1], bias=self._values(name).flatten())

    def _norm(self, node: Any) -> None:
        if not self.layers or self.layers[-1].norm is not None:
            raise RequestError("its graph has a BatchNormalization that follows no convolution")
        norm = Norm(*(self._values(name) for name in node.input[1:5]))
        self.layers[-1] = replace(self.layers[-1], norm=norm)

    def _values(self, name: str) -> Tensor:
        if name not in self.initialisers:
            raise RequestError(f"its graph computes {name}, or uses it twice: expected weights")
        stored = self.initialisers.pop(name)
        if stored.data_location == self.onnx.TensorProto.EXTERNAL or stored.external_data:
            raise RequestError(
                f"its {name} lies in another file, which is not read: save all in one, as with "
                "torch.onnx.export(..., external_data=False)"
            )
        return tensor(self.onnx.numpy_helper.to_array(stored))

    def _attribute(self, node: Any, name: str, otherwise: Any) -> Any:
        for each in node.attribute:
            if each.name == name:
                return self.onnx.helper.get_attribute_value(each)
        return otherwise
