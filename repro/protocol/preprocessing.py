"""Other people's ways from an image file to a net's scores, by which `weights=` is tested too.

The paper rescales by the smallest side and names no kernel; the authors' Caffe pools rounding up.
Others use another kernel, round the larger side down or pool rounding down, and by that their
numbers for one and the same file differ.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from repro.config.schema import Scale
from repro.protocol.protocols import View
from repro.protocol.rescaling import KERNELS, OURS, Rescaling
from repro.protocol.scales import single_q

VARIED = ("centre", "dense")
"""The kinds of view that each way is tried on, at the one test scale, without mirror images."""

TORCHVISION = Rescaling(kernel="bilinear_pillow", floor=True)


@dataclass(frozen=True)
class Way:
    """One way of preparing images and of pooling: down as torchvision, else up as Caffe."""

    name: str
    title: str
    rescaling: Rescaling = OURS
    pool_down: bool = False

    @property
    def words(self) -> dict[str, str]:
        """What tables say of it."""
        return {
            "kernel": KERNELS[self.rescaling.kernel],
            "larger side": "rounded down" if self.rescaling.floor else "rounded half up",
            "pooling": "rounds down" if self.pool_down else "rounds up",
        }


WAYS = (
    Way("ours", "ours"),
    *(
        Way(kernel, KERNELS[kernel], Rescaling(kernel=kernel))
        for kernel in ("bilinear_pillow", "bilinear_aliased", "bicubic_pillow")
    ),
    Way("side_down", "larger side rounded down", Rescaling(floor=True)),
    Way("pool_down", "poolings round down", pool_down=True),
    Way("torchvision", "all that torchvision does", TORCHVISION, pool_down=True),
)
"""Ours, one change at a time, and all that torchvision does otherwise at once."""


def view(kind: str, scale: Scale) -> View:
    """What is looked at: the one test scale of Table 3, images as they are."""
    return View(kind, single_q(scale), mirrored=False)


def key(way: Way, kind: str) -> str:
    """What a way and a kind of view are kept under, as in `bicubic_pillow/dense`.

    A crop's maps have even sides: two ways that differ by their poolings only are one there.
    """
    if kind != "dense":
        way = next(one for one in WAYS if one.rescaling == way.rescaling)
    return f"{way.name}/{kind}"


def wanted() -> Iterator[tuple[Way, str]]:
    """Each way with each kind of view, those that are one once."""
    pairs = ((way, kind) for kind in VARIED for way in WAYS)
    yield from (pair for pair in pairs if key(*pair) == f"{pair[0].name}/{pair[1]}")
