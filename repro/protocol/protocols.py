"""The protocols of Sections 3.2 and 4: which views of a net are averaged, at which test scales."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from repro.config.schema import Scale
from repro.errors import RequestError
from repro.protocol.scales import PAPER_CROP, pixels, several_q, single_q

GRID = 5
"""Crops along each side of an image in multi-crop evaluation (Section 3.2)."""


@dataclass(frozen=True)
class View:
    """One net looking at the test set in one way (Section 3.2).

    Its `name` is the name of the file that holds its posteriors.
    """

    kind: str
    """`dense` (the whole image), `grid` (5x5 crops of it), `centre` (the centre crop) or `windows`
    (crops at the positions of the dense score map, each with zeros around it)."""
    q: int
    """Test scale in paper pixels."""
    mirrored: bool

    @property
    def name(self) -> str:
        """As in `dense-Q256-mirrored`."""
        return f"{self.kind}-Q{self.q}" + ("-mirrored" if self.mirrored else "")


@dataclass(frozen=True)
class Protocol:
    """A way of testing: the mean of the posteriors of all views that it names."""

    kinds: tuple[str, ...]
    scales: str
    """`one` test scale (Table 3), `several` averaged (Table 4), or `each` of many by itself."""
    section: str


PROTOCOLS = {
    "single_scale": Protocol(("dense",), "one", section="4.1, Table 3"),
    "multi_scale": Protocol(("dense",), "several", section="4.2, Table 4"),
    "multi_crop": Protocol(("grid",), "several", section="4.3, Table 5"),
    "multi_crop_dense": Protocol(("grid", "dense"), "several", section="4.3, Table 5"),
    "centre": Protocol(("centre",), "one", section="4.1, the shallow net"),
    "each_scale": Protocol(("dense",), "each", section="4.2, S against Q"),
    "crops_each_scale": Protocol(("grid",), "each", section="4.2, S against Q"),
    "windows": Protocol(("windows",), "several", section="3.2 and 4.3, boundary conditions"),
    "windows_dense": Protocol(
        ("windows", "dense"), "several", section="3.2 and 4.3, boundary conditions"
    ),
}
ONE_NUMBER = tuple(name for name, protocol in PROTOCOLS.items() if protocol.scales != "each")
"""The protocols whose views have one mean."""
EACH_Q = tuple(range(224, 513, 32))
"""The test scales of a protocol that looks at each of many, in paper pixels."""


def readings(protocol: str, scale: Scale) -> tuple[tuple[int, ...], ...]:
    """The numbers that a protocol gives for a training scale: the Q, in paper pixels, of each."""
    match PROTOCOLS[protocol].scales:
        case "several":
            return (several_q(scale),)
        case "each":
            return tuple((q,) for q in EACH_Q)
        case _:
            return ((single_q(scale),),)


def views_at(protocol: str, qs: Sequence[int], mirror: bool) -> tuple[View, ...]:
    """The views whose mean a protocol is at some test scales.

    Args:
        protocol: a key of `PROTOCOLS`.
        qs: test scales in paper pixels.
        mirror: whether mirror images are classified too (they are in the paper).
    """
    orientations = (False, True) if mirror else (False,)
    return tuple(
        View(kind, q, mirrored)
        for kind in PROTOCOLS[protocol].kinds
        for q in qs
        for mirrored in orientations
    )


def views(protocol: str, scale: Scale, mirror: bool) -> tuple[View, ...]:
    """All views that a protocol needs for a net trained at `scale`."""
    return tuple(
        view for qs in readings(protocol, scale) for view in views_at(protocol, qs, mirror)
    )


def check(scale: Scale, protocols: list[str], crop: int) -> None:
    """Refuse scales that a crop does not fit into, and protocols that there are not.

    Raises:
        RequestError: with the key, the value in paper pixels and in pixels, and the crop.
    """
    if not protocols:
        raise RequestError(f"test=[] tests nothing: choose from {', '.join(PROTOCOLS)}")
    unknown = [name for name in protocols if name not in PROTOCOLS]
    if unknown:
        raise RequestError(f"test={unknown[0]} is not known: choose from {', '.join(PROTOCOLS)}")
    if scale.smin > scale.smax:
        raise RequestError(f"scale.smin={scale.smin} is above scale.smax={scale.smax}")
    if pixels(scale.smin, crop) < crop:
        raise RequestError(
            f"S={scale.smin} (scale.smin) is {pixels(scale.smin, crop)} pixels at "
            f"size.crop={crop}, below the crop: S must be at least {PAPER_CROP}"
        )
    for protocol in protocols:
        smallest = min(min(qs) for qs in readings(protocol, scale))
        if pixels(smallest, crop) < crop:
            raise RequestError(
                f"Q={smallest} of test={protocol} is {pixels(smallest, crop)} pixels at "
                f"size.crop={crop}, below the crop: Q must be at least {PAPER_CROP}"
            )
