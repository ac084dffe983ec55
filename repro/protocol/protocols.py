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
class ViewKind:
    """One way of looking at an image at a test scale (Section 3.2).

    `repro.run.views` computes it, `repro.model.work` counts its operations.
    """

    words: str
    """What tables and figures call it."""
    on_score_map: bool = False
    """It looks at the image where the cells of the dense score map do."""


KINDS = {
    "dense": ViewKind("dense", on_score_map=True),
    "grid": ViewKind("multi-crop"),
    "centre": ViewKind("centre crop"),
    "windows": ViewKind("windows", on_score_map=True),
}
"""`dense` sees the whole image, `grid` 5x5 crops of it, `centre` the crop at its centre, `windows`
the crops at the positions of the dense score map, each with zeros around it."""


@dataclass(frozen=True)
class View:
    """One net looking at the test set in one way (Section 3.2).

    Its `name` is the name of the file that holds its posteriors.
    """

    kind: str
    """A key of `KINDS`."""
    q: int
    """Test scale in paper pixels."""
    mirrored: bool

    @property
    def name(self) -> str:
        """As in `dense-Q256-mirrored`."""
        return f"{self.kind}-Q{self.q}" + ("-mirrored" if self.mirrored else "")


SCALES = {"one": "one Q", "several": "several Q", "each": "each Q"}
"""How many test scales a protocol has: `one` (Table 3), `several` averaged (Table 4), or `each` of
many by itself. Beside each stands what figures call it."""


@dataclass(frozen=True)
class Protocol:
    """A way of testing a net: the mean of the posteriors of all its views.

    This entry is all that a protocol needs: runs, plans and reports go by it.

    Raises:
        ValueError: a kind or a number of test scales that there is not.
    """

    name: str
    """What `test=[...]` calls it."""
    kinds: tuple[str, ...]
    """Keys of `KINDS`; the views of all of them are averaged with equal weight."""
    scales: str
    """A key of `SCALES`."""
    section: str
    """Where the paper speaks of it."""
    legend: str = ""
    """What figures call it; empty: its kinds and its scales."""
    summary: int | None = None
    """Its place in the report's summary of all nets; None: it is not in it."""

    def __post_init__(self) -> None:
        known = {*KINDS, *SCALES}
        for word in {*self.kinds, self.scales} - known:
            raise ValueError(f"protocol {self.name}: {word} is none of {', '.join(sorted(known))}")
        if not self.legend:
            object.__setattr__(self, "legend", f"{self.method}, {SCALES[self.scales]}")

    @property
    def title(self) -> str:
        """What tables call it, as in `multi scale`."""
        return self.name.replace("_", " ")

    @property
    def method(self) -> str:
        """How it looks at an image, whatever the scale, as in `multi-crop & dense` (Table 5)."""
        return " & ".join(KINDS[kind].words for kind in self.kinds)

    @property
    def one_number(self) -> bool:
        """All its views have one mean; else there is a number for each test scale."""
        return self.scales != "each"


ENTRIES = (
    Protocol("single_scale", ("dense",), "one", section="4.1, Table 3", summary=2),
    Protocol("multi_scale", ("dense",), "several", section="4.2, Table 4", summary=3),
    Protocol("multi_crop", ("grid",), "several", section="4.3, Table 5", legend="multi-crop"),
    Protocol(
        "multi_crop_dense",
        ("grid", "dense"),
        "several",
        section="4.3, Table 5",
        legend="multi-crop & dense",
    ),
    Protocol(
        "centre",
        ("centre",),
        "one",
        section="4.1, the shallow net",
        legend="centre crop",
        summary=1,
    ),
    Protocol("each_scale", ("dense",), "each", section="4.2, S against Q"),
    Protocol("crops_each_scale", ("grid",), "each", section="4.2, S against Q"),
    Protocol(
        "windows",
        ("windows",),
        "several",
        section="3.2 and 4.3, boundary conditions",
        legend="zero-padded windows",
    ),
    Protocol(
        "windows_dense",
        ("windows", "dense"),
        "several",
        section="3.2 and 4.3, boundary conditions",
        legend="windows & dense",
    ),
)
"""The protocols, in the order of tables and of colours; one of your own stands at the end."""
PROTOCOLS = {protocol.name: protocol for protocol in ENTRIES}
TABLE3 = "single_scale"
"""How Table 3 tests its nets, by which nets are compared where nothing else is said."""
ONE_NUMBER = tuple(protocol.name for protocol in ENTRIES if protocol.one_number)
"""The names of the protocols whose views have one mean."""
EACH_Q = tuple(range(224, 513, 32))
"""The test scales of a protocol that looks at each of many, in paper pixels."""


def summarised() -> tuple[Protocol, ...]:
    """The protocols of the report's summary of all nets, in its order."""
    found = [(one.summary, one) for one in ENTRIES if one.summary is not None]
    return tuple(one for _, one in sorted(found, key=lambda pair: pair[0]))


def described() -> list[str]:
    """A line for each protocol: its name, how it looks at an image, where the paper says so."""
    width = max(map(len, PROTOCOLS))
    return [
        f"{one.name:<{width}}  {one.method}, {SCALES[one.scales]} (Section {one.section})"
        for one in ENTRIES
    ]


def readings(protocol: str, scale: Scale) -> tuple[tuple[int, ...], ...]:
    """The numbers that a protocol gives for a net trained at a scale.

    Args:
        protocol: a key of `PROTOCOLS`.
        scale: the training scale.

    Returns:
        For each number the test scales Q, in paper pixels, that are averaged.
    """
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
