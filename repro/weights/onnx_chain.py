"""A graph of ONNX, followed node by node: each operation must take what the one before gave.

Beside this chain stand its weights, constants, and what is computed from shapes and constants
alone, to flatten the last map. All else is another net.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from repro.errors import RequestError
from repro.model import layers as spec
from repro.model.normalisation import BatchNorm
from repro.model.vgg import build
from repro.weights import onnx_front, operations
from repro.weights.convention import Convention
from repro.weights.found import Layer, Norm, tensor
from repro.weights.onnx_front import Front
from repro.weights.onnx_nodes import Node, Stored

BESIDE = ("Shape", "Gather", "Unsqueeze", "Squeeze", "Concat", "Slice", "Cast", "Identity")
"""Operations on shapes and constants."""
NORMALISED: Any = next(iter(build(spec.LRN(1))))
"""Our local response normalisation; ONNX divides alpha by n as torch does."""
EPSILON = BatchNorm(1).eps
CLOSE = 1e-6
"""Relative; the graph's attributes are float32."""


class Chain:
    """What a graph does so far: its layers, and a word for each operation."""

    def __init__(self, images: str, constants: dict[str, Stored], told: Convention | None) -> None:
        self.last = images
        """What the next operation must take."""
        self.constants = constants
        self.front = None if told is None else Front(told)
        self.layers: list[Layer] = []
        self.words: list[str] = []
        self.maps, self.beside = {images}, set[str]()
        """What the chain has given; what follows from shapes and constants."""
        self.scores = set[str]()
        """What the chain has given since its last weights."""

    def add(self, node: Node) -> None:
        """One more node of the graph.

        Raises:
            RequestError: it does not take what the node before gave, or these nets lack it.
        """
        known = (self.constants, self.maps, self.beside)
        again = any(name in names for name in node.outputs for names in known)
        if not node.outputs or not node.outputs[0] or again:
            raise RequestError(f"its graph has a {node.kind} that gives what is there, or nothing")
        if self._stands_beside(node):
            return
        taken = [name for name in node.inputs if name and not self._is_beside(name)]
        if taken != [self.last] or (node.inputs[0] != self.last and node.kind != "Add"):
            raise RequestError(
                f"its graph is no chain: {node.kind}, which gives {node.outputs[0]}, takes "
                f"{' and '.join(taken) or 'no map'}: expected {self.last}, which the operation "
                "before it gives"
            )
        self._apply(node)
        self.last = node.outputs[0]
        self.maps.add(self.last)
        self.scores.add(self.last)

    def end(self, outputs: Sequence[str]) -> None:
        """No node is left.

        Args:
            outputs: what the graph gives: the chain's end, and maybe the class score map before.

        Raises:
            RequestError: it gives something else.
        """
        if self.last not in outputs or not self.scores.issuperset(outputs):
            raise RequestError(
                f"its graph gives {', '.join(outputs) or 'nothing'}: expected {self.last}, which "
                "its last operation gives"
            )

    def _is_beside(self, name: str) -> bool:
        return name in self.constants or name in self.beside

    def _stands_beside(self, node: Node) -> bool:
        """Whether a node works on shapes and constants alone; they are noted then."""
        given, inputs = node.outputs[0], [name for name in node.inputs if name]
        stored = node.tensor("value") if node.kind == "Constant" else None
        if node.kind == "Identity" and inputs and inputs[0] in self.constants:
            stored = self.constants[inputs[0]]
        if stored is not None:
            self.constants[given] = stored
            return True
        on_shapes = node.kind in BESIDE and inputs and all(map(self._is_beside, inputs))
        if (
            node.kind == "Constant"
            or on_shapes
            or (node.kind == "Shape" and inputs[0] in self.maps)
        ):
            self.beside.add(given)
            return True
        return False

    def _apply(self, node: Node) -> None:
        if self.front is not None and not self.layers and node.kind in onnx_front.KINDS:
            others = [name for name in node.inputs if name != self.last]
            self.front.add(node, self._values(others[0]) if others else None)
            return
        match node.kind:
            case "Conv":
                self._conv(node)
            case "Gemm" | "MatMul":
                self._matrix(node)
            case "Add":
                self._bias(node)
            case "BatchNormalization":
                self._norm(node)
            case "MaxPool":
                self.words.append(_pool(node))
            case "LRN":
                self.words.append(_lrn(node))
            case "Relu":
                self.words.append(operations.RELU)
            case "Softmax":
                self.words.append(operations.SOFTMAX)
            case "Flatten" | "Reshape" | "Squeeze":
                self._flattening(node)
            case "GlobalAveragePool" | "ReduceMean":
                self._mean(node)
            case "Dropout" | "Identity":
                self._check_nothing(node, len(node.inputs) > 2)
            case "AveragePool":
                # torchvision's, of a map that has the wanted side.
                self._check_nothing(node, set(node.integers("kernel_shape", (0,))) != {1})
                self._check_nothing(node, any(node.integers("pads", ())))
                self._check_nothing(node, set(node.integers("strides", (1,))) != {1})
            case _:
                raise RequestError(f"its graph has {node.kind}, which these nets do not have")

    def _check_nothing(self, node: Node, acts: bool) -> None:
        if acts:
            raise RequestError(f"its graph has a {node.kind} that acts: expected none")

    def _conv(self, node: Node) -> None:
        weight = tensor(self._values(node.inputs[1]))
        kernel = tuple(weight.shape[2:])
        padded = node.text("auto_pad", "NOTSET") not in ("NOTSET", "VALID")
        if padded or node.integers("kernel_shape", kernel) != kernel or weight.dim() != 4:
            raise RequestError(
                f"its Conv of {node.inputs[1]} pads by itself, or has another kernel than its "
                "weights: expected kernels and pads as numbers"
            )
        word = operations.conv(
            _uniform(kernel),
            _uniform(node.integers("strides", (1, 1))),
            _uniform(node.integers("pads", (0, 0, 0, 0))),
            node.integer("group", 1),
        )
        bias = node.inputs[2] if len(node.inputs) > 2 else ""
        self._weighted(Layer(node.inputs[1], weight, None), word + _dilated(node))
        if bias:
            self._take_bias(bias, 0)

    def _matrix(self, node: Node) -> None:
        weight = tensor(self._values(node.inputs[1]))
        scales = (node.float("alpha", 1.0), node.float("beta", 1.0))
        if weight.dim() != 2 or scales != (1.0, 1.0) or node.integer("transA"):
            raise RequestError(f"its {node.kind} of {node.inputs[1]} scales or turns what it takes")
        if not node.integer("transB"):
            weight = weight.t()
        self._weighted(Layer(node.inputs[1], weight, None), operations.FC)
        if len(node.inputs) > 2 and node.inputs[2]:
            self._take_bias(node.inputs[2], 0)

    def _weighted(self, layer: Layer, word: str) -> None:
        if self.front is not None and not self.layers:
            self.front.check()
        self.layers.append(layer)
        self.words.append(word)
        self.scores.clear()

    def _bias(self, node: Node) -> None:
        last = self.layers[-1] if self.layers else None
        if last is None or last.bias is not None or self.words[-1][:4] not in ("conv", "FC"):
            raise RequestError("its graph has an Add that is no layer's bias")
        name = node.inputs[1] if node.inputs[0] == self.last else node.inputs[0]
        self._take_bias(name, 2 if last.weight.dim() == 4 else 0)
        self.scores.clear()

    def _take_bias(self, name: str, after: int) -> None:
        """The bias of the last layer; its channels stand before the last `after` axes."""
        values = tensor(self._values(name))
        channels = values.dim() - 1 - after
        if channels < 0 or values.numel() != values.shape[channels]:
            raise RequestError(f"its {name} is no bias: it has {tuple(values.shape)} numbers")
        self.layers[-1] = replace(self.layers[-1], bias=values.flatten())

    def _norm(self, node: Node) -> None:
        if not self.layers or node.integer("training_mode"):
            raise RequestError("its graph has a BatchNormalization that trains, or first of all")
        norm = Norm(*(tensor(self._values(name)) for name in node.inputs[1:5]))
        self.layers[-1] = replace(self.layers[-1], norm=norm)
        epsilon = node.float("epsilon", 1e-5)
        as_ours = math.isclose(epsilon, EPSILON, rel_tol=CLOSE)
        self.words.append(operations.NORM + f" (epsilon {epsilon:g})" * (not as_ours))

    def _flattening(self, node: Node) -> None:
        if node.kind == "Flatten" and node.integer("axis", 1) != 1:
            raise RequestError("its graph has a Flatten that does not keep images apart")
        self.words.append(operations.FLATTEN)

    def _mean(self, node: Node) -> None:
        axes: Sequence[int] = node.integers("axes", ())
        if len(node.inputs) > 1:
            axes = self._values(node.inputs[1]).ravel().tolist()
        if node.kind == "ReduceMean" and sorted(each % 4 for each in axes) != [2, 3]:
            raise RequestError(f"its graph has a ReduceMean over axes {axes}: expected 2 and 3")
        self.words.append(operations.MEAN)

    def _values(self, name: str) -> NDArray[Any]:
        if name not in self.constants:
            raise RequestError(f"its graph computes {name}: expected weights")
        return self.constants[name].values()


def _uniform(sides: tuple[int, ...]) -> str:
    """Sides that are all the same as one number, else all of them."""
    return str(sides[0]) if len(set(sides)) == 1 else ",".join(map(str, sides))


def _dilated(node: Node) -> str:
    dilations = node.integers("dilations", (1, 1))
    return f" dilated by {_uniform(dilations)}" if set(dilations) != {1} else ""


def _pool(node: Node) -> str:
    pads, kernel = node.integers("pads", ()), node.integers("kernel_shape", ())
    word = operations.pool(_uniform(kernel), _uniform(node.integers("strides", (1, 1))))
    if node.text("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return f"{word} that pads by itself"
    # Whether it rounds up or down does not show on crops.
    return word + f"p{_uniform(pads)}" * any(pads) + _dilated(node)


def _lrn(node: Node) -> str:
    given = (
        node.integer("size"),
        node.float("alpha", 1e-4),
        node.float("beta", 0.75),
        node.float("bias", 1.0),
    )
    ours = (NORMALISED.size, NORMALISED.alpha, NORMALISED.beta, NORMALISED.k)
    if all(math.isclose(a, b, rel_tol=CLOSE) for a, b in zip(given, ours, strict=True)):
        return operations.LRN
    return "LRN of n={}, alpha/n={:g}, beta={:g}, k={:g}".format(*given)
