"""ONNX: the weights of a graph that is one chain of these nets' layers (`vgg16-7.onnx`).

Layers are told by the graph's operations and their order, never by names. What is kept in other
files is not read.
"""

from __future__ import annotations

from pathlib import Path

from repro.errors import RequestError
from repro.weights import convention
from repro.weights.convention import METADATA, TORCHVISION, Convention
from repro.weights.found import Found
from repro.weights.onnx_chain import Chain
from repro.weights.onnx_nodes import NAME, Stored, node
from repro.weights.wire import Budget, Message

GRAPH, METADATA_PROPS, FUNCTIONS = 7, 14, 25
"""Fields of a model."""
NODES, INITIALISERS, INPUTS, OUTPUTS = 1, 5, 11, 12
"""Fields of a graph."""


def read(path: Path) -> Found:
    """The weights of the graph's convolutions and FC layers, and the operations that it applies.

    A file that was exported here begins with what makes images its input, and its metadata tell
    what that is.

    Raises:
        RequestError: weights lie elsewhere; the graph is no chain, has an operation that these nets
            do not have, or does not do what its metadata say.
        ValueError: the file is damaged, or has more messages than any of these nets.
    """
    model = Message(memoryview(path.read_bytes()), Budget())
    if model.has(FUNCTIONS):
        raise RequestError("it has functions of its own: expected ONNX's own operations")
    graph = model.message(GRAPH)
    stored = {part.text(NAME): Stored(part) for part in graph.messages(INITIALISERS)}
    inputs = [name for name in _names(graph, INPUTS) if name not in stored]
    if len(inputs) != 1:
        raise RequestError(f"its graph has {len(inputs)} inputs: expected one, the images")
    told = _told(model)
    chain = Chain(inputs[0], stored, told)
    for part in graph.messages(NODES):
        chain.add(node(part))
    chain.end(_names(graph, OUTPUTS))
    return Found("ONNX", tuple(chain.layers), told or TORCHVISION, operations=tuple(chain.words))


def _told(model: Message) -> Convention | None:
    """The input that the metadata of a file tell, if it was exported here."""
    properties = {part.text(1): part.text(2) for part in model.messages(METADATA_PROPS)}
    if METADATA not in properties:
        return None
    try:
        return convention.parse(properties[METADATA])
    except ValueError as error:
        raise RequestError(f"its {METADATA} is none: {error}") from None


def _names(graph: Message, number: int) -> list[str]:
    return [part.text(1) for part in graph.messages(number)]
