"""How far other people's ways of preprocessing move a published net's errors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from repro.protocol.preprocessing import VARIED, WAYS, Way, key, view, wanted
from repro.protocol.protocols import KINDS
from repro.report.drawing import COLOURS, GREY, LINES, STYLE, WIDTH, Drawn, drawn, legend, span
from repro.report.intervals import Interval, difference
from repro.store import varied
from repro.store.ranks import Kept, Ranks
from repro.store.runs import Run

KEYS = [key(way, kind) for way, kind in wanted()]
NAME = "preprocessing"
OTHERS = WAYS[1:]
APART = 0.14
"""Inches between two nets of one way."""


@dataclass(frozen=True)
class Tried:
    """One net by all ways."""

    run: Run
    net: str
    """What tables call it, with its file."""
    images: int
    kept: Kept

    def ranks(self, way: Way, kind: str) -> Ranks:
        """The ranks by a way and a kind of view."""
        return self.kept.ranks[key(way, kind)]

    def error(self, way: Way, kind: str) -> float:
        """Top-1 error in percent."""
        return 100 * float(self.ranks(way, kind).wrong(1).mean())

    def gap(self, way: Way, kind: str) -> tuple[float, Interval, float]:
        """Its error minus that by our way: points, 95% interval over images, images that differ."""
        one, ours = (self.ranks(each, kind).wrong(1) for each in (way, WAYS[0]))
        gaps = one.astype(float) - ours.astype(float)
        found = difference(gaps[None]).interval(configuration=False)
        return 100 * float(gaps.mean()), found, 100 * float((one != ours).mean())


def tried(runs: Sequence[tuple[Run, str]]) -> list[Tried]:
    """What is known of runs, each with what tables call its net; of many images before few."""
    found = []
    for run, net in runs:
        if (known := varied.most(run.folder, KEYS)) is not None:
            found.append(Tried(run, net, *known))
    return found


class Shown:
    """What a report shows of all nets that were tried; each is made once."""

    def __init__(self, nets: Sequence[Tried]) -> None:
        self.nets = nets

    @cached_property
    def table(self) -> pd.DataFrame:
        """See `table`."""
        return table(self.nets)

    @cached_property
    def figure(self) -> Drawn | None:
        """See `figure`."""
        return figure(self.nets)


def table(nets: Sequence[Tried]) -> pd.DataFrame:
    """A row for each net, kind of view and way."""
    return pd.DataFrame([row for net in nets for kind in VARIED for row in _rows(net, kind)])


def _rows(net: Tried, kind: str) -> Iterator[dict[str, str]]:
    for way in WAYS:
        gap, ends, other = net.gap(way, kind)
        ours = way is WAYS[0]
        yield {
            "data": net.run.config.data.name,
            "net": net.net,
            "view": f"{KINDS[kind].words}, Q={view(kind, net.run.config.scale).q}",
            "images": f"{net.images}",
            **way.words,
            "top-1 (%)": f"{net.error(way, kind):.2f}",
            "minus ours (points)": ""
            if ours
            else f"{gap:+.2f} [{ends.low:+.2f}; {ends.high:+.2f}]",
            "images right by one only (%)": "" if ours else f"{other:.2f}",
        }


def sentences(nets: Sequence[Tried]) -> list[str]:
    """A line for each net: between which errors the ways put it."""
    lines = []
    for net in nets:
        spans = []
        for kind in VARIED:
            errors = [net.error(way, kind) for way in WAYS]
            spans.append(f"{min(errors):.2f} to {max(errors):.2f}% ({KINDS[kind].words})")
        lines.append(f"{net.net}: {' and '.join(spans)}, on {net.images:,} images")
    return lines


def figure(nets: Sequence[Tried]) -> Drawn | None:
    """The difference that each way makes, for each net; None: nothing was tried."""
    if not nets:
        return None
    with mpl.rc_context(STYLE):
        return _drawn(nets[:LINES])


def _drawn(shown: Sequence[Tried]) -> Drawn:
    tall = 1.3 + len(OTHERS) * (0.2 + APART * len(shown))
    drawing = Figure(figsize=(WIDTH, tall), layout="constrained")
    panels = drawing.subplots(1, len(VARIED), sharex=True, sharey=True, squeeze=False)[0]
    ends = [net.gap(way, kind)[1] for net in shown for kind in VARIED for way in OTHERS]
    reach = 1.08 * max(0.1, *(abs(edge) for one in ends for edge in (one.low, one.high)))
    panels[0].set(xlim=(-reach, reach), ylim=(len(OTHERS) - 0.4, -0.6))
    panels[0].set_yticks(range(len(OTHERS)), [way.title for way in OTHERS])
    for panel, kind in zip(panels, VARIED, strict=True):
        _panel(panel, shown, kind)
    marks = {net.net: Line2D([], [], color=COLOURS[n], lw=3) for n, net in enumerate(shown)}
    legend(drawing, marks, columns=2)
    counts = " and ".join(f"{count:,}" for count in sorted({net.images for net in shown}))
    caption = (
        f"What other ways of preprocessing change, on {counts} test images. Dots are differences "
        "on the same images, lines their 95% intervals over images. Poolings round nothing on "
        "crops."
    )
    return drawn(NAME, caption, drawing)


def _panel(panel: Axes, shown: Sequence[Tried], kind: str) -> None:
    panel.axvline(0, color=GREY, lw=1)
    panel.set_title(KINDS[kind].words)
    panel.set_xlabel("top-1 error minus ours (points)")
    for place, net in enumerate(shown):
        shift = 0.5 * (place - (len(shown) - 1) / 2) / len(shown)
        for row, way in enumerate(OTHERS):
            gap, interval, _ = net.gap(way, kind)
            ends, colour = (interval.low, interval.high), COLOURS[place]
            span(panel, row + shift, ends, colour, dashed=False)
            panel.plot(gap, row + shift, "o", ms=5, color=colour)
