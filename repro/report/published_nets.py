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
from repro.protocol.protocols import PROTOCOLS
from repro.report import tables
from repro.report.measured import Measured, fuse, measure
from repro.report.net import Net, members, named
from repro.report.settings import recorded, setting
from repro.report.titles import arch_title, scale_title
from repro.store.runs import Run


@dataclass
class Family:
    """Published nets of one origin, tested on the same images: none is there twice."""

    runs: Sequence[Run]
    measured: list[Measured] = field(init=False)
    fused: list[Measured] = field(init=False)

    def __post_init__(self) -> None:
        # Each net is named plainly: how the others start is no matter.
        self.measured = [one for run in self.runs for one in measure([run], run.config.init)]
        cells = [(members(named(row["members"])), row["protocol"]) for row in numbers.rows(6)]
        self.fused = [one for cell in cells for one in fuse(self.measured, *cell)]

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
        row: dict[str, Any] = {
            "data": one.run.config.data.name,
            "net": " + ".join(map(arch_title, nets)),
        }
        row |= {"weights": one.joined(_file)}
        row |= {"S": " + ".join(dict.fromkeys(scale_title(net.scale) for net in nets))}
        row |= {"test": PROTOCOLS[one.protocol].title, "Q": one.q, **tables.error([one])}
        row |= {"paper": one.published("top1_error"), "top5": top5 and round(top5, 4)}
        rows.append(row | {"top5_paper": one.published("top5_error")})
    return pd.DataFrame(rows)


def _file(run: Run) -> str:
    found = run.published or {}
    return f"{found.get('format')} {str(found.get('sha256'))[:8]}"
