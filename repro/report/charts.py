"""The figures of a setting and of its experiments, as frames of marks for `repro.report.figure`."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import Any

import pandas as pd

from repro.paper import numbers
from repro.protocol.protocols import PROTOCOLS, summarised
from repro.protocol.scales import PICTURED
from repro.report.answer import primary, verdict
from repro.report.claims import claims
from repro.report.experiments import Experiment, compared_nets, nets_of
from repro.report.figure import Chart, caption, marks
from repro.report.intervals import CONTRADICTED, REPRODUCED, UNDECIDED, UNTESTABLE
from repro.report.measured import Measured, read_log, spread
from repro.report.net import Nets, label
from repro.report.settings import Comparison
from repro.report.tables import in_order, ordered
from repro.report.titles import s_words, seeds_words, title, worded
from repro.store.identity import base
from repro.store.runs import CROPS

COLOURS = {
    **{REPRODUCED: "#00795A", CONTRADICTED: "#C04E00", UNDECIDED: "#0072B2"},
    **{UNTESTABLE: "#6b747c", "the paper": "#000000", "training crops": "#6b747c"},
}
NEIGHBOURS = 32
"""Test scales that a line joins are at most so far apart, in paper pixels."""
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Picture:
    """A figure that is an image already."""

    name: str
    caption: str
    content: bytes

    def png(self) -> bytes:
        """The figure as a file."""
        return self.content


def primary_claims(judged: pd.DataFrame) -> Chart | None:
    """The primary claims in log-odds of the error, with their intervals and the paper's effects."""
    known = {claim.claim: claim for claim in claims()}
    rows: Rows = []
    for row in primary(judged).to_dict("records"):
        claim, said = known[row["claim"]], verdict(row)
        here = {"y": fill(claim.text, 46), "group": said}
        rows.append(here | {"mark": "beside", "words": said})
        if pd.isna(row["log_odds"]):
            ends = f"[{row['ci_low']:+.0f}; {row['ci_high']:+.0f}]"
            words = f"{row['metric']}: {row['difference']:+.0f} points {ends}".replace("_", " ")
            rows.append(here | {"mark": "words", "words": words})
            continue
        low, high = claim.edges
        rows.append(here | {"mark": "field", "low": low, "high": high})
        interval = {"low": row["log_odds_low"], "high": row["log_odds_high"]}
        kind = "one seed" if row["one_seed"] else "mean"
        rows.append(here | {"mark": kind, "x": row["log_odds"]} | interval)
        if not pd.isna(row["paper_log_odds"]):
            rows.append(here | {"group": "the paper", "mark": "paper", "x": row["paper_log_odds"]})
    if not rows:
        return None
    x = "log-odds of the error, less that of what it is compared with"
    words = caption("primary-claims")
    return Chart("primary-claims", words, marks(rows), x, centre=0.0, colours=COLOURS)


def errors(comparison: Comparison) -> Chart | None:
    """Every net with the setting's own initialisation by the protocols of the summary."""
    nets = [net for net in ordered(comparison) if net.init is None]
    tests = [protocol.name for protocol in summarised()]
    return _compared("errors", "Top-1 errors of the nets", comparison, nets, tests)


def compared(experiment: Experiment, comparison: Comparison) -> Chart | None:
    """A row for each net of an experiment, its protocols below each other, beside the paper's."""
    nets = compared_nets(experiment, comparison)
    name = f"experiment-{experiment.name}"
    return _compared(name, experiment.question, comparison, nets, experiment.tests)


def _compared(
    name: str, question: str, comparison: Comparison, nets: Sequence[Nets], tests: Sequence[str]
) -> Chart | None:
    rows: Rows = []
    theirs: Rows = []
    seeds: dict[str, list[int]] = {}
    for net, test in itertools.product(nets, tests):
        if not (cells := comparison.cells(net, test)):
            continue
        seeds[title(net)] = sorted(one.seed for one in cells)
        here = {"y": fill(title(net), 34), "group": PROTOCOLS[test].legend}
        rows += _points(cells, "x", here | {"facet": f"here: {worded(comparison.setting.data)}"})
        paper = numbers.error_of(test, label(net), "top1_error")
        if paper is not None:
            theirs.append(here | {"facet": "the paper: ImageNet", "mark": "paper", "x": paper})
    if sum(row["mark"] != "seed" for row in rows) < 2:
        return None
    gaps = {
        "question": question.rstrip("."),
        "images": max(one.images for one in (*comparison.measured, *comparison.fused)),
        "seeds": seeds_words(seeds),
    }
    frame = marks(rows + theirs if len(theirs) > 1 else rows)
    return Chart(name, caption("compared", **gaps), frame, "top-1 error (%)")


def _points(cells: Sequence[Measured], along: str, where: dict[str, Any]) -> Rows:
    """An error as marks: each of several seeds, then the mean with its interval."""
    found = spread(cells)
    own = where | {"low": found.low, "high": found.high, along: found.mean}
    if found.seeds == 1:
        return [own | {"mark": "one seed"}]
    each = [where | {"mark": "seed", along: 100 * float(one.wrong.mean())} for one in cells]
    return [*each, own | {"mark": "mean"}]


def curves(experiment: Experiment, comparison: Comparison) -> Chart | None:
    """Error against Q for the nets of an experiment, of the seeds that have every Q (Section 4.2).

    A panel for each configuration and way of testing, a curve for each S.
    """
    rows: Rows = []
    each = [name for name, one in PROTOCOLS.items() if not one.one_number]
    nets = nets_of(experiment, comparison)
    scales = list(dict.fromkeys(net.scale for net in nets))
    for net, test in itertools.product(nets, each):
        at: dict[int, list[Measured]] = {}
        for one in comparison.cells(net, test):
            at.setdefault(one.qs[0][0], []).append(one)
        common = [{one.seed for one in own} for own in at.values()]
        seeds = set.intersection(*common) if len(at) > 1 else set[int]()
        facet = f"{worded(net.arch)}, {PROTOCOLS[test].method}"
        where = {"facet": facet, "group": f"trained at {s_words(net.scale)}"}
        # Points of one Q stand side by side.
        aside = 3 * (scales.index(net.scale) - (len(scales) - 1) / 2)
        line, before = 0, 0
        for q in sorted(at) if seeds else ():
            line, before = line + (q - before > NEIGHBOURS), q
            point = _points([one for one in at[q] if one.seed in seeds], "y", where)[-1]
            point |= {"x": q + aside, "line": str(line)}
            rows += [point | {"mark": "line" if len(seeds) > 1 else "dashed"}, point]
    if not rows:
        return None
    words = caption("curves", question=experiment.question.rstrip("."), apart=NEIGHBOURS)
    name, x = f"experiment-{experiment.name}", "test scale Q (paper pixels)"
    return Chart(name, words, marks(rows), x, y="top-1 error (%)", log=True)


def learning_curves(comparison: Comparison) -> Chart | None:
    """Validation error by epoch, a panel for each configuration, and that on training crops."""
    rows: Rows = []
    validation = comparison.runs[0].result["data"]["validation"]
    for net in sorted(comparison.nets, key=lambda net: (in_order(net.arch), net)):
        logs = [log for run in comparison.nets[net] if (log := read_log(run)) is not None]
        if net.init or net.finetune != "all" or max(map(len, logs), default=0) < 2:
            continue
        # Half an image: a logarithmic axis has no zero.
        every = pd.concat(logs).clip(lower=50 / validation).groupby("epoch")
        where = {"facet": worded(net.arch), "line": net.scale}
        own = where | {"group": s_words(net.scale)}
        for epoch, row in every.validation_error.agg(["mean", "min", "max"]).iterrows():
            rows.append(own | {"mark": "line", "x": epoch, "y": row["mean"]})
            rows.append(own | {"mark": "band", "x": epoch, "low": row["min"], "high": row["max"]})
        training = where | {"group": "training crops", "mark": "dotted"}
        rows += [training | {"x": epoch, "y": y} for epoch, y in every.train_error.mean().items()]
    if not rows:
        return None
    dropped = ", with dropout" if comparison.config.recipe.dropout else ""
    words = caption("learning-curves", validation=validation, dropout=dropped)
    name, frame = "learning-curves", marks(rows)
    return Chart(name, words, frame, "epoch", "error (%)", log=True, colours=COLOURS)


def training_crops(comparison: Comparison) -> Picture | None:
    """Crops of the same images at several S, a row each, as a run left them."""
    from PIL import Image

    for run in comparison.runs:
        file = io.BytesIO()
        try:
            with Image.open(run.folder / CROPS) as image:
                image.convert("RGB").save(file, "PNG")
        except Exception:
            # As with views, there are many ways to be damaged, or to be too large.
            continue
        ranges = [f"S={low}" if low == high else f"S in [{low}; {high}]" for low, high in PICTURED]
        data = worded(base(comparison.config.data.name))
        gaps = {"crop": comparison.config.size.crop, "data": data, "scales": ", ".join(ranges)}
        return Picture("training-crops", caption("training-crops", **gaps), file.getvalue())
    return None


def figures_of(experiment: Experiment, comparison: Comparison) -> list[Chart]:
    """The figures of an experiment; none where nothing of it was measured."""
    known: dict[str, Callable[[], Chart | None]] = {
        "compared": lambda: compared(experiment, comparison),
        "curves": lambda: curves(experiment, comparison),
        "learning-curves": lambda: learning_curves(comparison),
    }
    return [chart for name in experiment.figures if (chart := known[name]()) is not None]
