"""How far other people's ways of preprocessing move a published net's errors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from repro.protocol.preprocessing import VARIED, WAYS, Way, key, view, wanted
from repro.protocol.protocols import KINDS
from repro.report.figure import COLOURS, Chart, caption, marks
from repro.report.intervals import difference
from repro.store import varied
from repro.store.ranks import Kept
from repro.store.runs import Run

KEYS = [key(way, kind) for way, kind in wanted()]


@dataclass(frozen=True)
class Tried:
    """One net by all ways."""

    run: Run
    net: str
    """What tables call it, with its file."""
    images: int
    kept: Kept

    def rows(self) -> Iterator[dict[str, Any]]:
        """A row for each kind of view and way: its error, and its difference from ours."""
        for kind in VARIED:
            ours = self._wrong(WAYS[0], kind)
            for way in WAYS:
                wrong = self._wrong(way, kind)
                gaps = wrong.astype(float) - ours.astype(float)
                ends = difference(gaps[None]).interval(configuration=False)
                row = {
                    "data": self.run.config.data.name,
                    "net": self.net,
                    "view": f"{KINDS[kind].words}, Q={view(kind, self.run.config.scale).q}",
                    "images": self.images,
                    **way.words,
                    "error": round(100 * float(wrong.mean()), 2),
                }
                if way is not WAYS[0]:
                    row["minus_ours"] = round(100 * float(gaps.mean()), 2)
                    row |= {"low": round(ends.low, 2), "high": round(ends.high, 2)}
                    row["right_by_one_only"] = round(100 * float((wrong != ours).mean()), 2)
                yield row

    def _wrong(self, way: Way, kind: str) -> Any:
        return self.kept.ranks[key(way, kind)].wrong(1)


def tried(runs: Sequence[tuple[Run, str]]) -> list[Tried]:
    """What is known of runs, each with what tables call its net; of many images before few."""
    found = []
    for run, net in runs:
        if (known := varied.most(run.folder, KEYS)) is not None:
            found.append(Tried(run, net, *known))
    return found


def table(nets: Sequence[Tried]) -> pd.DataFrame:
    """A row for each net, kind of view and way."""
    return pd.DataFrame([row for net in nets for row in net.rows()])


def sentences(nets: Sequence[Tried]) -> list[str]:
    """A line for each net: between which errors the ways put it."""
    lines = []
    for net in nets:
        errors = pd.DataFrame(net.rows()).groupby("view", sort=False).error
        spans = [f"{found.min():.2f} to {found.max():.2f}% ({kind})" for kind, found in errors]
        lines.append(f"{net.net}: {' and '.join(spans)}, on {net.images:,} images")
    return lines


def figure(nets: Sequence[Tried]) -> Chart | None:
    """The difference that each way makes, for each net; None: nothing was tried."""
    if not nets:
        return None
    titles = [way.title for way in WAYS]
    rows = [
        {
            **{"facet": row["view"].partition(",")[0], "group": net.net, "mark": "point"},
            **{"y": titles[place % len(WAYS)], "x": row["minus_ours"]},
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
