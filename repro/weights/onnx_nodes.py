"""The messages of an ONNX graph: nodes, their attributes, tensors.

The numbers of fields are those of ONNX's `onnx.proto`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from repro.errors import RequestError
from repro.weights.wire import Message

DIMS, TYPE, INTEGERS, NAME, RAW, EXTERNAL, LOCATION = 1, 2, 7, 8, 9, 13, 14
"""Fields of a tensor."""
INT64 = 7
TYPES = {1: ("<f4", 4), INT64: ("<i8", INTEGERS), 10: ("<f2", RAW), 11: ("<f8", 10)}
"""A tensor's type: how its numbers are written, and the field that has them instead of raw data."""
MOST_AXES = 8


@dataclass(frozen=True)
class Stored:
    """A tensor of the file; its numbers are looked at when they are asked for."""

    part: Message

    @property
    def name(self) -> str:
        """What the graph calls it."""
        return self.part.text(NAME)

    def values(self) -> NDArray[Any]:
        """The numbers in their shape, a view of the file.

        Raises:
            RequestError: they lie elsewhere, are of another type, or are more or fewer.
        """
        part = self.part
        if part.integer(LOCATION) or part.has(EXTERNAL):
            raise RequestError(
                f"its {self.name} lies in another file, which is not read: save all in one, as "
                "with torch.onnx.export(..., external_data=False)"
            )
        kind, shape = part.integer(TYPE), part.integers(DIMS)
        if kind not in TYPES:
            raise RequestError(
                f"its {self.name} is of ONNX's type {kind}: expected floating-point numbers"
            )
        written, field = TYPES[kind]
        if kind == INT64 and not part.has(RAW):
            found: NDArray[Any] = np.array(part.integers(field), np.int64)
        else:
            found = np.frombuffer(part.data(RAW if part.has(RAW) else field), written)
        if len(shape) > MOST_AXES or min(shape, default=1) < 0 or found.size != math.prod(shape):
            sides = "x".join(map(str, shape[:MOST_AXES]))
            raise RequestError(f"its {self.name} is of {sides} and has {found.size} numbers")
        return found.reshape(shape)


@dataclass(frozen=True)
class Node:
    """An operation of a graph, the tensors that it takes and gives, and its attributes."""

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Message]

    def integer(self, name: str, otherwise: int = 0) -> int:
        """An attribute that is an integer."""
        return self.attributes[name].integer(3) if name in self.attributes else otherwise

    def integers(self, name: str, otherwise: tuple[int, ...]) -> tuple[int, ...]:
        """An attribute that is a list of integers."""
        found = self.attributes.get(name)
        return otherwise if found is None else tuple(found.integers(8))

    def float(self, name: str, otherwise: float) -> float:
        """An attribute that is a number."""
        return self.attributes[name].float(2, 0.0) if name in self.attributes else otherwise

    def text(self, name: str, otherwise: str) -> str:
        """An attribute that is a word."""
        return self.attributes[name].text(4) if name in self.attributes else otherwise

    def tensor(self, name: str) -> Stored | None:
        """An attribute that is a tensor, or None where there is none."""
        found = self.attributes.get(name)
        return Stored(found.message(5)) if found is not None and found.has(5) else None


def node(part: Message) -> Node:
    """A node of a graph.

    Raises:
        RequestError: its operation is not one of ONNX's own.
    """
    kind, domain = part.text(4), part.text(7)
    if domain not in ("", "ai.onnx"):
        raise RequestError(f"its graph has {kind} of {domain}: expected ONNX's own operations")
    attributes = {each.text(1): each for each in part.messages(5)}
    return Node(kind, tuple(part.texts(1)), tuple(part.texts(2)), attributes)
