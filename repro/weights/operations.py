"""What a net does between its weights, where a file tells: an operation a word, as in Table 1.

`conv3/1p1` is a convolution of 3x3 with stride 1 and padding 1, `maxpool2/2` a pooling, `FC` a
product with a matrix. The words of a file are compared with those of our net.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from repro.errors import RequestError
from repro.model import layers as spec

RELU, NORM, LRN, FC = "ReLU", "batch normalisation", "LRN", "FC"
FLATTEN, MEAN, SOFTMAX = "flattening", "mean over the map", "soft-max"


def conv(kernel: str, stride: str, padding: str, groups: int) -> str:
    """The word of a convolution."""
    return f"conv{kernel}/{stride}p{padding}" + f"g{groups}" * (groups != 1)


def pool(kernel: str, stride: str) -> str:
    """The word of a max-pooling without padding."""
    return f"maxpool{kernel}/{stride}"


def expected(net: spec.Net) -> Iterator[tuple[str, ...]]:
    """Of each operation of our net, the words that mean it."""
    for layer in net.layers:
        match layer:
            case spec.Conv():
                kernel, stride, padding = layer.kernel, layer.stride, layer.padding
                yield (conv(str(kernel), str(stride), str(padding), layer.groups),)
                if layer.batch_norm:
                    yield (NORM,)
                yield (RELU,)
            case spec.LRN():
                yield (LRN,)
            case spec.Pool():
                yield (pool(str(layer.kernel), str(layer.stride)),)
            case spec.Linear():
                # In the dense form it is a convolution as large as its map.
                yield FC, conv(str(layer.side), "1", "0", 1)
                if layer.hidden:
                    yield (RELU,)


def check(words: Sequence[str], net: spec.Net) -> None:
    """Refuse operations that are not those of a net, in its order.

    Where the map has one cell, a flattening and a mean over it change nothing; nor does a soft-max
    at the end.

    Raises:
        RequestError: what was found, and what was expected there.
    """
    wanted = [*expected(net), ("its end",)]
    first = next(place for place, words in enumerate(wanted) if FC in words)
    place, before = 0, "its input"
    for word in words:
        if word in wanted[place]:
            place, before = place + 1, word
            continue
        cell = place > first and word in (FLATTEN, MEAN)
        ended = place == len(wanted) - 1 and word == SOFTMAX
        if not (cell or ended or (place == first and word == FLATTEN)):
            raise _refusal(word, before, wanted[place], net)
    if place < len(wanted) - 1:
        raise _refusal("its end", before, wanted[place], net)


def _refusal(word: str, before: str, wanted: tuple[str, ...], net: spec.Net) -> RequestError:
    return RequestError(
        f"its graph has {word} after {before}: expected {' or '.join(wanted)}, as in "
        f"arch={net.name}"
    )
