"""What a graph does to an image before its first layer, against what its metadata say of it.

`repro.release.graph` writes graphs that take images as they are decoded: they reorder the channels,
subtract the mean and scale. For each channel all that is one factor and one summand, whatever the
operations are, and these are compared with the convention.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from repro.errors import RequestError
from repro.weights.convention import Convention
from repro.weights.onnx_nodes import Node

KINDS = ("Cast", "Gather", "Add", "Sub", "Mul", "Div")
FLOAT = 1
"""ONNX's number for float32."""
ROUNDING = 1e-5
"""The graph's constants are float32."""


class Front:
    """So far channel c is the image's channel `order[c]`, times `factor[c]`, plus `summand[c]`."""

    def __init__(self, told: Convention) -> None:
        self.told = told
        channels = len(told.mean)
        self.order = np.arange(channels)
        self.factor, self.summand = np.ones(channels), np.zeros(channels)

    def add(self, node: Node, constant: NDArray[Any] | None) -> None:
        """One more operation.

        Args:
            node: the operation, of `KINDS`.
            constant: what it takes beside the image.

        Raises:
            RequestError: it does something else to the image.
        """
        if node.kind == "Cast":
            if node.integer("to") != FLOAT:
                raise self._refusal()
            return
        if constant is None:
            raise self._refusal()
        if node.kind == "Gather":
            self._reorder(node, constant)
            return
        values = self._by_channel(constant)
        match node.kind:
            case "Add":
                self.summand = self.summand + values
            case "Sub":
                self.summand = self.summand - values
            case "Mul":
                self.factor, self.summand = self.factor * values, self.summand * values
            case "Div":
                with np.errstate(all="ignore"):
                    self.factor, self.summand = self.factor / values, self.summand / values

    def check(self) -> None:
        """Refuse what is not the convention that the metadata tell.

        Raises:
            RequestError: the graph wants another input.
        """
        told, ordered = self.told, np.arange(len(self.order))
        std = np.array(told.std)
        wanted = (told.input_range / 255 / std, -np.array(told.mean) / std)
        if told.order == "BGR":
            ordered = ordered[::-1]
        same = np.array_equal(self.order, ordered) and all(
            np.allclose(found, value, rtol=ROUNDING, atol=ROUNDING * float(np.abs(value).max()))
            for found, value in zip((self.factor, self.summand), wanted, strict=True)
        )
        if not same:
            raise self._refusal()

    def _reorder(self, node: Node, indices: NDArray[Any]) -> None:
        channels = len(self.order)
        whole = indices.size == channels and sorted(indices.tolist()) == list(range(channels))
        if node.integer("axis") != 1 or not whole:
            raise self._refusal()
        self.order, self.factor, self.summand = (
            values[indices] for values in (self.order, self.factor, self.summand)
        )

    def _by_channel(self, constant: NDArray[Any]) -> NDArray[Any]:
        """A constant of one number, or of one for each channel of (N, C, H, W)."""
        channels = (len(self.order), 1, 1)
        if constant.size > 1 and constant.shape not in (channels, (1, *channels)):
            raise self._refusal()
        return constant.astype(np.float64).ravel()

    def _refusal(self) -> RequestError:
        return RequestError(
            "its graph does something else to images, before its first layer, than its metadata "
            "vgg_repro.input say"
        )
