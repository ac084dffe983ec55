"""The figures of a setting and of its experiments, as frames of marks for `repro.report.figure`."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from textwrap import wrap
from typing import Any

import numpy as np
import pandas as pd

from repro.errors import RequestError
from repro.paper import numbers
from repro.protocol.protocols import PROTOCOLS, TABLE3, summarised
from repro.report.built import TABLE1, at_full_size, noted_activations
from repro.report.claims import claims
from repro.report.experiments import Experiment, compared_nets, measured_nets
from repro.report.figure import Chart, caption, marks
from repro.report.intervals import difference
from repro.report.learning import blog
from repro.report.measured import Measured, spread
from repro.report.net import Net, Nets, label
from repro.report.settings import Comparison
from repro.report.tables import ordered
from repro.report.titles import s_words, seeds_words, title, worded
from repro.report.verdicts import CONTRADICTED, REPRODUCED, UNDECIDED, UNTESTABLE

COLOURS = {
    **{REPRODUCED: "#00795A", CONTRADICTED: "#C04E00", UNDECIDED: "#0072B2"},
    **{UNTESTABLE: "#6b747c", "the paper": "#000000"},
}
NEIGHBOURS = 32
"""Test scales that a line joins are at most so far apart, in paper pixels."""
Rows = list[dict[str, Any]]


def primary(judged: pd.DataFrame) -> Chart | None:
    """The primary claims in log-odds of the error, with their intervals and the paper's effects."""
    sentences = {claim.claim: claim for claim in claims()}
    rows: Rows = []
    for row in judged[judged.primary.astype(bool)].to_dict("records"):
        claim = sentences[row["claim"]]
        verdict = row["verdict_holm"] or row["verdict"]
        here = {"y": "\n".join(wrap(claim.text, 46)), "group": verdict}
        rows.append(here | {"mark": "beside", "words": verdict})
        if pd.isna(row["log_odds"]):
            rows.append(here | {"mark": "words", "words": _no_effect(row)})
            continue
        low, high = claim.rule.edges
        rows.append(here | {"mark": "field", "low": low, "high": high})
        ends = {"low": row["log_odds_low"], "high": row["log_odds_high"]}
        kind = "one seed" if row["one_seed"] else "mean"
        rows.append(here | {"mark": kind, "x": row["log_odds"]} | ends)
        if not pd.isna(row["paper_log_odds"]):
            theirs = {"group": "the paper", "mark": "paper", "x": row["paper_log_odds"]}
            rows.append(here | theirs)
    if not rows:
        return None
    single = bool(judged.one_seed.astype(bool).any())
    words = caption("primary-claims", one_seed=single and caption("primary-claims-one-seed"))
    x = "log-odds of the error, less that of what it is compared with"
    return Chart("primary-claims", words, marks(rows), x, centre=0.0, colours=COLOURS)


def _no_effect(row: dict[Any, Any]) -> str:
    if row["kind"] == "counts" and not pd.isna(row["difference"]):
        ends = f"{row['ci_low']:+.0f}; {row['ci_high']:+.0f}"
        return f"share of seeds that learn: {row['difference']:+.0f} points [{ends}]"
    return "no difference of errors"


def depth(_: Experiment, comparison: Comparison) -> Chart | None:
    """Top-1 error of the nets of Table 1 at S=256 and one test scale, in percent of A's."""
    base, *deeper = (Net(name, "S256") for name in TABLE1)
    rows: Rows = []
    seeds: dict[str, list[int]] = {}
    for net in deeper:
        y = f"{net.arch}, {at_full_size(net.arch).weight_layers} layers"
        found = _relative(comparison, net, base)
        if found:
            seeds[net.arch] = [one["line"] for one in found if one["mark"] != "mean"]
            rows += [{"y": y, "group": "here", **one, "line": ""} for one in found]
            theirs = [numbers.error_of(TABLE3, str(one), "top1_error") for one in (net, base)]
            if theirs[0] is not None and theirs[1] is not None:
                change = 100 * (theirs[0] / theirs[1] - 1)
                rows.append({"y": y, "group": "the paper", "mark": "paper", "x": change})
    if not rows:
        return None
    words = caption("error-against-depth", base=base.arch, seeds=seeds_words(seeds))
    x = f"top-1 error relative to {base.arch}'s (%)"
    colours = {"the paper": COLOURS["the paper"]}
    return Chart("error-against-depth", words, marks(rows), x, centre=0.0, colours=colours)


def _relative(comparison: Comparison, net: Net, base: Net) -> Rows:
    """The error less that of another net in percent of that, paired by seed and image."""
    one, other = ({c.seed: c.wrong for c in comparison.cells(n, TABLE3)} for n in (net, base))
    seeds = sorted(one.keys() & other.keys())
    whole = 100 * float(np.mean([other[seed].mean() for seed in seeds])) if seeds else 0.0
    if not whole:
        return []
    gaps = np.array([one[s].astype(np.float64) - other[s].astype(np.float64) for s in seeds])
    gap = difference(gaps)
    ends = gap.interval(configuration=len(seeds) > 1)
    middle, low, high = (100 * value / whole for value in (gap.middle, ends.low, ends.high))
    rows: Rows = [{"mark": "mean", "x": middle, "low": low, "high": high}]
    if len(seeds) == 1:
        return [rows[0] | {"mark": "one seed", "line": seeds[0]}]
    each = zip(seeds, gaps, strict=True)
    return rows + [
        {"mark": "seed", "x": 1e4 * float(one.mean()) / whole, "line": seed} for seed, one in each
    ]


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
        cells = comparison.cells(net, test)
        if not cells:
            continue
        y = "\n".join(wrap(title(net), 34))
        seeds[y.replace("\n", " ")] = sorted(one.seed for one in cells)
        here = {"y": y, "group": PROTOCOLS[test].legend}
        rows += _points(cells, "x", here | {"facet": f"here: {worded(comparison.setting.data)}"})
        paper = numbers.error_of(test, label(net), "top1_error")
        if paper is not None:
            facet = "the paper: ImageNet"
            theirs.append(here | {"facet": facet, "mark": "paper", "x": paper})
    if sum(row["mark"] != "seed" for row in rows) < 2:
        return None
    beside = theirs if len(theirs) > 1 else []
    images = max(one.images for one in (*comparison.measured, *comparison.fused))
    panels = beside and caption("compared-panels")
    words = caption(
        "compared",
        question=question.rstrip("."),
        images=images,
        seeds=seeds_words(seeds),
        panels=panels,
    )
    return Chart(name, words, marks(rows + beside), "top-1 error (%)")


def _points(cells: Sequence[Measured], along: str, where: dict[str, Any]) -> Rows:
    """An error as marks: the mean with its interval, and each of several seeds."""
    found = spread(cells)
    ends = {"low": found.low, "high": found.high}
    if found.seeds == 1:
        return [where | ends | {"mark": "one seed", along: found.mean}]
    each = [where | {"mark": "seed", along: 100 * float(one.wrong.mean())} for one in cells]
    return [*each, where | ends | {"mark": "mean", along: found.mean}]


def curves(experiment: Experiment, comparison: Comparison) -> Chart | None:
    """Error against Q for the nets of an experiment, at whatever Q they were tested (Section 4.2).

    A panel for each configuration and way of testing, a curve for each S. A line joins neighbouring
    Q of the same seeds only.
    """
    rows: Rows = []
    each = [name for name, one in PROTOCOLS.items() if not one.one_number]
    nets = measured_nets(experiment, comparison)
    places = {scale: place for place, scale in enumerate(dict.fromkeys(n.scale for n in nets))}
    for net, test in itertools.product(nets, each):
        at: dict[int, list[Measured]] = {}
        for one in comparison.cells(net, test):
            at.setdefault(one.qs[0][0], []).append(one)
        where = {
            "facet": f"{worded(net.arch)}, {PROTOCOLS[test].method}",
            "group": f"trained at {s_words(net.scale)}",
        }
        if len(at) > 1:
            rows += _curve(at, where, 3 * (places[net.scale] - (len(places) - 1) / 2))
    if not rows:
        return None
    words = caption("curves", question=experiment.question.rstrip("."), apart=NEIGHBOURS)
    name, x = f"experiment-{experiment.name}", "test scale Q (paper pixels)"
    return Chart(name, words, marks(rows), x, y="top-1 error (%)", log=True)


def _curve(at: dict[int, list[Measured]], where: dict[str, Any], aside: float) -> Rows:
    """The seeds of all Q on one line; where a Q has more seeds, their mean beside it."""
    seeds = {q: {one.seed for one in cells} for q, cells in at.items()}
    common = set.intersection(*seeds.values())
    rows: Rows = []
    for every in (True, False):
        line, before, chosen = 0, None, set[int]()
        for q in sorted(q for q in at if (common if every else seeds[q] != common)):
            own = common if every else seeds[q]
            line += before is not None and (q - before > NEIGHBOURS or own != chosen)
            before, chosen = q, own
            cells = [one for one in at[q] if one.seed in own]
            (point,) = [one for one in _points(cells, "y", where) if one["mark"] != "seed"]
            point |= {"x": q + aside, "line": f"{every} {line}"}
            kind = "line" if point["mark"] == "mean" else "dashed"
            rows += [point | {"mark": kind}, point]
    return rows


def activations(experiment: Experiment, comparison: Comparison) -> Chart | None:
    """The size of activations after each layer before training, a line an initialisation."""
    rows: dict[tuple[str, str], Rows] = {}
    for net in measured_nets(experiment, comparison):
        tables = map(noted_activations, comparison.nets[comparison.plain(net)])
        table = next((one for one in tables if one is not None), None)
        init = comparison.nets[comparison.plain(net)][0].config.init.name
        for width, part in () if table is None else table.groupby("net", sort=False):
            where = {"facet": f"{worded(net.arch)}, {width}", "group": worded(init), "mark": "line"}
            points = enumerate(part.rms.tolist(), 1)
            found = [where | {"x": layer, "y": rms} for layer, rms in points]
            rows.setdefault((where["facet"], init), found)
    if not rows:
        return None
    shown = {facet: sorted(init for f, init in rows if f == facet) for facet, _ in rows}
    named = (f"{facet}: {', '.join(map(worded, inits))}" for facet, inits in shown.items())
    words = caption("activations", shown="; ".join(named))
    frame = marks([row for found in rows.values() for row in found])
    return Chart("activations", words, frame, "weight layer", y="RMS", log=True)


def figures_of(experiment: Experiment, comparison: Comparison) -> list[Chart]:
    """The figures of an experiment; none where nothing of it was measured.

    Raises:
        RequestError: it asks for a figure that there is not.
    """
    known: dict[str, Callable[[Experiment, Comparison], Chart | None]] = {
        **{"compared": compared, "curves": curves, "activations": activations, "blog": blog},
        "error-against-depth": depth,
    }
    wanted: Iterable[str] = experiment.figures or ("curves" if experiment.curve else "compared",)
    for name in wanted:
        if name not in known:
            raise RequestError(
                f"conf/experiments/{experiment.name}.yaml asks for the figure {name}: expected "
                f"some of {', '.join(known)}"
            )
    return [chart for name in wanted if (chart := known[name](experiment, comparison)) is not None]
