"""MatConvNet's `.mat` (`imagenet-vgg-verydeep-16.mat`), with its own mean and its class names.

`layers` is a row of structs, of which those of type `conv` have weights (h, w, in, out): FC layers
too. Its first layer takes RGB, as do its mean and its grey levels 0-255.
"""

from __future__ import annotations

import struct
import zlib
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path

from repro.errors import RequestError
from repro.weights.convention import Convention
from repro.weights.found import Found, Layer, tensor
from repro.weights.matlab import Array, limit, parsed

HEADER = 128
"""Bytes before a MATLAB 5 file's first element."""
COMPRESSED = 15
"""The type of an element that is compressed."""
EXPANSION = 4
"""Weights take at most so many times the bytes of their compressed form."""


def read(path: Path) -> Found:
    """The layers of type `conv`, in order, the mean image's colour and the classes' names.

    Raises:
        RequestError: the file expands to more than weights do, or is no net of MatConvNet's.
        Exception: scipy's own, where the file is damaged.
    """
    _check_expansion(path)
    more = EXPANSION * path.stat().st_size + 2**30
    context = get_context("spawn")
    try:
        with ProcessPoolExecutor(1, context, initializer=limit, initargs=(more,)) as pool:
            weights, mean, classes = pool.submit(parsed, path).result()
    except BrokenProcessPool:
        raise RequestError("it is damaged: scipy's reader breaks down over it") from None
    convention = Convention("RGB", 255.0, mean, (1.0, 1.0, 1.0))
    return Found("MatConvNet", tuple(_layer(*each) for each in weights), convention, classes)


def _check_expansion(path: Path) -> None:
    """Refuse a file that is much larger than it looks, before anything is kept of it."""
    left = EXPANSION * path.stat().st_size + 2**24
    with path.open("rb") as file:
        order = "<" if file.read(HEADER)[-2:] == b"IM" else ">"
        while len(tag := file.read(8)) == 8:
            kind, size = struct.unpack(f"{order}II", tag)
            if kind != COMPRESSED:
                file.seek(size, 1)
                continue
            inflate, rest = zlib.decompressobj(), size
            while rest and (part := file.read(min(rest, 2**20))):
                rest -= len(part)
                while part:
                    left -= len(inflate.decompress(part, 2**20))
                    part = inflate.unconsumed_tail
                    if left < 0:
                        raise RequestError("it expands to far more than the weights of a net")


def _layer(name: str, kernel: Array, bias: Array) -> Layer:
    # MATLAB drops axes of length one at the end.
    kernel = kernel.reshape(kernel.shape + (1,) * (4 - kernel.ndim))
    return Layer(name, tensor(kernel).permute(3, 2, 0, 1), tensor(bias).flatten())
