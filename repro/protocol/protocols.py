"""The protocols of Sections 3.2 and 4: which views of a net are averaged, at which test scales."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from repro.config.schema import Config, Scale
from repro.errors import RequestError
from repro.protocol.boxes import NONE, PER_CLASS, SHARED
from repro.protocol.scales import PAPER_CROP, pixels, several_q, single_q

GRID = 5
"""Crops along each side of an image in multi-crop evaluation (Section 3.2)."""


@dataclass(frozen=True)
class ViewKind:
    """One way of looking at an image at a test scale (Section 3.2): see `repro.run.views`."""

    words: str
    """Its name in tables and figures."""
    on_score_map: bool = False
    """It looks at the image where the cells of the dense score map do."""
    boxes: bool = False
    """It gives boxes (Appendix A); mirror images have no view of their own."""
    descriptors: bool = False
    """It describes images (Appendix B)."""


KINDS = {
    "dense": ViewKind("dense", on_score_map=True),
    "grid": ViewKind("multi-crop"),
    "centre": ViewKind("centre crop"),
    "windows": ViewKind("windows", on_score_map=True),
    "descriptor": ViewKind("descriptors", descriptors=True),
    "pixels": ViewKind("pixels", descriptors=True),
    "box": ViewKind("box of the centre crop", boxes=True),
    "box_dense": ViewKind("dense boxes", on_score_map=True, boxes=True),
}
"""`dense` sees the whole image, `grid` 5x5 crops of it, `centre` the crop at its centre, `windows`
the crops at the positions of the dense score map, each with zeros around it. `descriptor` is of
the last hidden layer, `pixels` of no net (Appendix B). `box` and `box_dense` give boxes of the true
class: of the centre crop, and of each cell (Appendix A)."""


@dataclass(frozen=True)
class View:
    """One net looking at the test set in one way (Section 3.2).

    `kind` is a key of `KINDS`, `q` the test scale in paper pixels, `precision` empty if the net's
    usual one. A `mirrored` descriptor is the mean of those of an image and its mirror image.
    """

    kind: str
    q: int
    mirrored: bool
    precision: str = ""

    @property
    def name(self) -> str:
        """The name of the file with its posteriors, as in `dense-Q256-mirrored`."""
        mirrored = "mirrored" * self.mirrored
        return "-".join(filter(None, (self.kind, f"Q{self.q}", mirrored, self.precision)))

    @classmethod
    def named(cls, name: str) -> "View | None":
        """The view of posteriors of a name; None: none is called so."""
        if (found := NAMED.fullmatch(name)) is None:
            return None
        return cls(found[1], int(found[2]), bool(found[3]), found[4] or "")


SCALES = {"one": "one Q", "several": "several Q", "each": "each Q", "fine": "Q between"}
"""How many test scales a protocol has: `one` (Table 3), `several` averaged (Table 4), or `each` of
many by itself, or `fine`, those between the last of these. With each goes its name in figures."""
EACH_Q = {"each": tuple(range(224, 513, 32)), "fine": (464, 496, 528, 544)}
"""The test scales of a protocol that looks at each of many by itself, in paper pixels."""


@dataclass(frozen=True)
class Protocol:
    """A way of testing a net: the mean of the posteriors of all its views; it needs nothing else.

    `name` is what `test=[...]` calls it; `kinds` are keys of `KINDS`, of equal weight; `scales` is
    a key of `SCALES`. Figures call it `words`, else by its kinds and scales.
    """

    name: str
    kinds: tuple[str, ...]
    scales: str
    section: str
    words: str = ""
    constant: str = NONE
    """A value of `boxes` whose best constant box it tests in place of the net's, or `none`."""

    @property
    def title(self) -> str:
        """Its name in tables, as in `multi scale`."""
        return self.name.replace("_", " ")

    @property
    def method(self) -> str:
        """How it looks at an image, whatever the scale, as in `multi-crop & dense` (Table 5)."""
        return " & ".join(KINDS[kind].words for kind in self.kinds)

    @property
    def legend(self) -> str:
        """Its name in figures."""
        return self.words or f"{self.method}, {SCALES[self.scales]}"

    @property
    def one_number(self) -> bool:
        """All its views have one mean; else there is a number for each test scale."""
        return self.scales not in EACH_Q

    @property
    def boxes(self) -> bool:
        """It tests localisation."""
        return KINDS[self.kinds[0]].boxes

    @property
    def metric(self) -> str:
        """The first error that it gives, in percent."""
        return "box_error" if self.boxes else "top1_error"


CROPS, BORDERS = "Section 4.3, Table 5", "Sections 3.2 and 4.3, boundary conditions"
TABLE8, TABLE9 = "Appendix A, Table 8", "Appendix A, Table 9"
CONSTANTS = CONSTANT, OWN_CONSTANT = "box_constant", "box_constant_per_class"
ENTRIES = (
    Protocol("single_scale", ("dense",), "one", "Section 4.1, Table 3"),
    Protocol("multi_scale", ("dense",), "several", "Section 4.2, Table 4"),
    Protocol("multi_crop", ("grid",), "several", CROPS, "multi-crop"),
    Protocol("multi_crop_dense", ("grid", "dense"), "several", CROPS, "multi-crop & dense"),
    Protocol("centre", ("centre",), "one", "Section 4.1, the shallow net", "centre crop"),
    Protocol("each_scale", ("dense",), "each", "Section 4.2, S against Q"),
    Protocol("crops_each_scale", ("grid",), "each", "Section 4.2, S against Q"),
    Protocol("windows", ("windows",), "several", BORDERS, "zero-padded windows"),
    Protocol("windows_dense", ("windows", "dense"), "several", BORDERS, "windows & dense"),
    # Whether the error jumps at a Q that is the file itself.
    Protocol("fine_scale", ("dense",), "fine", "Section 4.2, S against Q"),
    Protocol("box", ("box",), "one", TABLE8),
    # No net is asked: it is the box that is right most often in training, of all or of its class.
    Protocol(CONSTANT, ("box",), "one", TABLE8, "best constant box", SHARED),
    Protocol(OWN_CONSTANT, ("box",), "one", TABLE8, "best constant box of the class", PER_CLASS),
    Protocol("box_dense", ("box_dense",), "one", TABLE9),
    Protocol("box_several", ("box_dense",), "several", TABLE9),
)
"""The protocols, in the order of tables and of colours; one of your own stands at the end."""
PROTOCOLS = {protocol.name: protocol for protocol in ENTRIES}
NAMED = re.compile(
    rf"({'|'.join({kind: 0 for one in ENTRIES for kind in one.kinds})})"
    r"-Q(\d{1,5})(-mirrored)?(?:-(float32|tf32))?"
)
"""How a view of posteriors is called."""
TABLE3 = "single_scale"
"""How Table 3 tests its nets, by which nets are compared where nothing else is said."""
SUMMARISED = ("centre", TABLE3, "multi_scale")
"""The protocols of the report's summary of all nets, in its order."""
ONE_NUMBER = tuple(one.name for one in ENTRIES if one.one_number and not one.boxes)
"""The names of the protocols whose views have one mean of posteriors."""
BOXES = tuple(one.name for one in ENTRIES if one.boxes)


LOCALISING = {8: ("box",), 9: ("box_dense", "box_several")}
"""By table of the paper: the protocols whose boxes it shows."""
BEST_FIRST = ("multi_crop_dense", "multi_scale", TABLE3)
"""The tests that name the classes of Table 9: the first of these that there is (Section 4.5)."""


def of(boxes: str) -> tuple[str, ...]:
    """The protocols that test a run with this value of `boxes`."""
    return tuple(name for name in PROTOCOLS if (name in BOXES) == (boxes != NONE))


THREE, FIVE = (256, 384, 512), (256, 384, 512, 640, 768)
"""The test scales of Caltech-101 and -256, and of VOC, in paper pixels (Appendix B)."""


@dataclass(frozen=True)
class Transfer:
    """A way of testing descriptors, stacked or averaged over the data's Q or its own `qs`."""

    name: str
    stacked: bool
    words: str
    kind: str = "descriptor"
    qs: tuple[int, ...] = ()

    def views(self, own: Sequence[int], mirror: bool) -> tuple[View, ...]:
        """The views of data whose test scales are `own`, in paper pixels."""
        # Pixels that are averaged with their mirror image would show less.
        return tuple(View(self.kind, q, mirror and self.kind != "pixels") for q in self.qs or own)


_TRANSFERS = (
    Transfer("transfer_stacked", True, "the data's Q stacked"),
    Transfer("transfer_averaged", False, "the data's Q averaged"),
    Transfer("transfer_averaged_three", False, "three Q averaged", qs=THREE),
    Transfer("transfer_pixels", True, "no net: the image as 14x14 pixels", "pixels", THREE[:1]),
)
TRANSFERS = {one.name: one for one in _TRANSFERS}


def described() -> list[str]:
    """A line for each protocol: its name, how it looks at an image, where the paper says so."""
    return [
        f"{one.name:<24}  {one.words or one.method}, {SCALES[one.scales]} ({one.section})"
        for one in ENTRIES
    ] + [
        f"{one.name:<24}  {KINDS[one.kind].words} and a linear SVM, {one.words} (Appendix B)"
        for one in TRANSFERS.values()
    ]


def readings(protocol: str, scale: Scale) -> tuple[tuple[int, ...], ...]:
    """The test scales Q, in paper pixels, averaged for each number of a net trained at `scale`."""
    scales = PROTOCOLS[protocol].scales
    if scales in EACH_Q:
        return tuple((q,) for q in EACH_Q[scales])
    return (several_q(scale) if scales == "several" else (single_q(scale),),)


def views_at(protocol: str, qs: Sequence[int], config: Config) -> tuple[View, ...]:
    """The views, of mirror images too if the data may be mirrored, whose mean a protocol is."""
    precision = "" if config.views_in == config.usual_test_precision else config.views_in
    both = (False, True) if config.data.mirror else (False,)
    return tuple(
        View(kind, q, mirrored, precision)
        for kind in PROTOCOLS[protocol].kinds
        for q in qs
        for mirrored in (both[:1] if KINDS[kind].boxes else both)
    )


def views(protocol: str, config: Config) -> tuple[View, ...]:
    """All views that a protocol needs for the net of a configuration."""
    numbers = readings(protocol, config.scale)
    return tuple(view for qs in numbers for view in views_at(protocol, qs, config))


def transfers(protocols: Sequence[str]) -> bool:
    """Whether what is tested are descriptors (Appendix B); a RequestError: not all of it is."""
    found = [name in TRANSFERS for name in protocols]
    if any(found) and not all(found):
        said = f"test=[{','.join(protocols)}]"
        raise RequestError(f"{said}: give tests of descriptors in a command of their own")
    return any(found)


def check(scale: Scale, protocols: list[str], crop: int, boxes: str = NONE) -> None:
    """Refuse, by a RequestError, protocols that there are not and scales below the crop."""
    known = {**PROTOCOLS, **TRANSFERS}
    if not protocols or (unknown := [name for name in protocols if name not in known]):
        name = unknown[0] if protocols else "[]"
        raise RequestError(f"test={name} is not known: choose from {', '.join(known)}")
    if transfers(protocols):
        return
    if wrong := [name for name in protocols if name not in of(boxes)]:
        raise RequestError(f"test={wrong[0]} with boxes={boxes}: take of {', '.join(of(boxes))}")
    if scale.smin > scale.smax:
        raise RequestError(f"scale.smin={scale.smin} is above scale.smax={scale.smax}")
    smallest = [("S", scale.smin, "scale.smin")]
    smallest += [("Q", min(map(min, readings(name, scale))), f"test={name}") for name in protocols]
    for letter, value, key in smallest:
        if pixels(value, crop) < crop:
            raise RequestError(f"{letter}={value} ({key}) is below the crop, {PAPER_CROP}")
