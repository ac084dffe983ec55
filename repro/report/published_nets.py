"""Nets that others trained, tested here: beside the paper's numbers, and apart from the claims.

Nobody here knows on what, how long or how these were trained. So they are no side of any claim and
stand in no table or figure of nets that were trained here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from repro.paper import numbers
from repro.protocol.preprocessing import VARIED, WAYS, key, view, wanted
from repro.protocol.protocols import KINDS, PROTOCOLS
from repro.report import tables
from repro.report.figure import COLOURS, Chart, caption, marks
from repro.report.intervals import difference
from repro.report.measured import Measured, fuse, measure
from repro.report.net import Net, members, named
from repro.report.settings import recorded, setting
from repro.report.titles import arch_title, scale_title
from repro.store import varied
from repro.store.identity import base
from repro.store.ranks import Kept
from repro.store.runs import Run

KEYS = [key(way, kind) for way, kind in wanted()]


@dataclass
class Family:
    """Published nets of one origin, tested on the same images: none is there twice."""

    runs: Sequence[Run]
    measured: list[Measured] = field(init=False)
    fused: list[Measured] = field(init=False)

    def __post_init__(self) -> None:
        # Each net is named plainly: how the others start is no matter.
        self.measured = [one for run in self.runs for one in measure([run], run.config.init)]
        self.fused = [
            one
            for row in numbers.rows(6)
            for one in fuse(self.measured, members(named(row["members"])), row["protocol"])
        ]

    def made(self) -> list[str]:
        """The command lines that tested these nets."""
        return recorded(self.runs)


def families(runs: Sequence[Run]) -> list[Family]:
    """Published nets by their data, their origin and the input that they want."""
    groups: dict[Any, list[Run]] = {}
    seen: dict[Any, int] = {}
    for run in sorted(runs, key=lambda run: tables.in_order(run.config.arch.name)):
        found = run.published or {}
        origin = (setting(run.config), str(found.get("format")), str(found.get("input")))
        # Of two files of one net each has its own family.
        same = (origin, Net.of(run.config, run.config.init))
        seen[same] = place = seen.get(same, -1) + 1
        groups.setdefault((*origin, place), []).append(run)
    return [Family(groups[origin]) for origin in sorted(groups)]


def table(families: Sequence[Family]) -> pd.DataFrame:
    """Every number of the published nets beside the paper's of the same cell, a row each."""
    rows = []
    every = (one for family in families for one in (*family.measured, *family.fused))
    for one in (one for one in every if PROTOCOLS[one.protocol].one_number):
        nets, top5 = members(one.net), one.error("top5_error")
        rows.append(
            {
                "data": one.run.config.data.name,
                "net": " + ".join(map(arch_title, nets)),
                "weights": one.joined(_file),
                "S": " + ".join(dict.fromkeys(scale_title(net.scale) for net in nets)),
                "test": PROTOCOLS[one.protocol].title,
                "Q": one.q,
                **tables.error([one]),
                "paper": one.published("top1_error"),
                "top5": None if top5 is None else round(top5, 4),
                "top5_paper": one.published("top5_error"),
            }
        )
    return pd.DataFrame(rows)


def theirs(families: Sequence[Family]) -> pd.DataFrame:
    """What others measured of such nets."""
    nets = {base(run.config.arch.name) for family in families for run in family.runs}
    frame = tables.replications()
    return frame[frame.net.isin(nets)]


def _file(run: Run) -> str:
    found = run.published or {}
    return f"{found.get('format')} {str(found.get('sha256'))[:8]}"


@dataclass(frozen=True)
class Tried:
    """One net by other people's ways of preprocessing."""

    run: Run
    images: int
    kept: Kept

    @property
    def title(self) -> str:
        """What tables call the net, with its file."""
        config = self.run.config
        return f"{config.arch.name} {config.scale.name}, {_file(self.run)}"

    def rows(self) -> list[dict[str, Any]]:
        """A row for each kind of view and way: its error, and its difference from ours."""
        found = []
        for kind in VARIED:
            ours, *_ = every = [self.kept.ranks[key(way, kind)].wrong(1) for way in WAYS]
            for way, wrong in zip(WAYS, every, strict=True):
                row = {
                    "data": self.run.config.data.name,
                    "net": self.title,
                    "view": f"{KINDS[kind].words}, Q={view(kind, self.run.config.scale).q}",
                    "images": self.images,
                    **way.words,
                    "error": round(100 * float(wrong.mean()), 2),
                }
                if way is not WAYS[0]:
                    gaps = wrong.astype(float) - ours.astype(float)
                    ends = difference(gaps[None]).interval(configuration=False)
                    row["minus_ours"] = round(100 * float(gaps.mean()), 2)
                    row |= {"low": round(ends.low, 2), "high": round(ends.high, 2)}
                    row["right_by_one_only"] = round(100 * float((wrong != ours).mean()), 2)
                found.append(row)
        return found


def by_other_ways(families: Sequence[Family]) -> list[Tried]:
    """The nets that were also tested by other people's ways, by most images that all are of."""
    runs = [run for family in families for run in family.runs]
    most = ((run, varied.most(run.folder, KEYS)) for run in runs)
    return [Tried(run, *known) for run, known in most if known is not None]


def ways_table(nets: Sequence[Tried]) -> pd.DataFrame:
    """A row for each net, kind of view and way."""
    return pd.DataFrame([row for net in nets for row in net.rows()])


def ways_words(nets: Sequence[Tried]) -> list[str]:
    """A line for each net: between which errors the ways put it."""
    lines = []
    for net in nets:
        errors = pd.DataFrame(net.rows()).groupby("view", sort=False).error
        spans = [f"{found.min():.2f} to {found.max():.2f}% ({kind})" for kind, found in errors]
        lines.append(f"{net.title}: {' and '.join(spans)}, on {net.images:,} images")
    return lines


def ways_figure(nets: Sequence[Tried]) -> Chart | None:
    """The difference that each way makes, for each net; None: nothing was tried."""
    if not nets:
        return None
    rows = [
        {
            **{"facet": row["view"].partition(",")[0], "group": net.title, "mark": "point"},
            **{"y": WAYS[place % len(WAYS)].title, "x": row["minus_ours"]},
            **{"low": row["low"], "high": row["high"]},
        }
        for net in nets[: len(COLOURS)]
        for place, row in enumerate(net.rows())
        if "minus_ours" in row
    ]
    counts = " and ".join(f"{count:,}" for count in sorted({net.images for net in nets}))
    words = caption("preprocessing", counts=counts)
    x = "top-1 error minus ours (points)"
    return Chart("preprocessing", words, marks(rows), x, centre=0.0)
