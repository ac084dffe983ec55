"""The figures of a setting and of its experiments, as frames of marks."""

import itertools
from collections.abc import Sequence
from textwrap import fill
from typing import Any

import pandas as pd

from repro.paper import numbers
from repro.protocol.boxes import NONE
from repro.protocol.protocols import PROTOCOLS
from repro.report.claims import claims, primary
from repro.report.experiments import Experiment, compared_nets
from repro.report.marks import Chart, Rows, chart
from repro.report.measured import Measured, read_log, spread
from repro.report.net import FILES, NetOrEnsemble, label, s_words, title, worded
from repro.report.settings import Comparison

ERRORS = {"top1_error": "top-1 error (%)", "box_error": "box error (%)"}
"""The titles of the axis along which errors are drawn."""
NEIGHBOURS = 32
"""Test scales that a line joins are at most so far apart, in paper pixels."""


def primary_claims(judged: pd.DataFrame) -> Chart | None:
    """The primary claims in log-odds of the error, with their intervals and the paper's effects."""
    known = {claim.claim: claim for claim in claims()}
    rows: Rows = []
    for row in primary(judged).to_dict("records"):
        claim, said = known[row["claim"]], row["verdict_holm"]
        here = {"y": fill(claim.text, 46), "group": said}
        if pd.isna(row["log_odds"]):
            change = f"{row['metric']}:\n{row['difference']:+.0f} points ".replace("_", " ")
            words = f"{said}\n{change}[{row['ci_low']:+.0f}; {row['ci_high']:+.0f}]"
            rows.append(here | {"mark": "beside", "words": words})
            continue
        rows.append(here | {"mark": "beside", "words": said})
        low, high = claim.edges
        rows.append(here | {"mark": "field", "low": low, "high": high})
        interval = {"low": row["log_odds_low"], "high": row["log_odds_high"]}
        kind = "one seed" if row["one_seed"] else "mean"
        rows.append(here | {"mark": kind, "x": row["log_odds"]} | interval)
        if not pd.isna(row["paper_log_odds"]):
            rows.append(here | {"group": "the paper", "mark": "paper", "x": row["paper_log_odds"]})
    x = "log-odds of the error, less that of what it is compared with"
    drawn = any(row["mark"] == "field" for row in rows)
    return chart("primary-claims", "primary-claims", rows, x) if drawn else None


def compared(
    name: str,
    question: str,
    comparison: Comparison,
    nets: Sequence[NetOrEnsemble],
    tests: Sequence[str],
    first: Sequence[Measured] = (),
) -> Chart | None:
    """A row for each net, its protocols below each other, beside the paper's errors.

    `first`: what has rows before these, of no net.
    """
    rows: Rows = []
    theirs: Rows = []
    seeds: set[int] = set()
    left = {title(net): True for net in nets}
    left |= {PROTOCOLS[test].legend: True for test in tests}
    # The title of a panel has no room for what tells two folders apart.
    facet = f"here: {worded(FILES.sub('', comparison.setting.data))}"
    for one in first:
        words = PROTOCOLS[one.protocol].legend
        rows += _points([one], "x", {"y": words, "group": words, "facet": facet})
    for net, test in itertools.product(nets, tests):
        if not (cells := comparison.cells(net, test)):
            continue
        seeds.add(len(cells))
        left[title(net)] = left[PROTOCOLS[test].legend] = False
        here = {"y": fill(title(net), 34), "group": PROTOCOLS[test].legend}
        rows += _points(cells, "x", here | {"facet": facet})
        paper = numbers.error_of(test, label(net), PROTOCOLS[test].metric)
        if paper is not None:
            theirs.append(here | {"facet": "the paper: ImageNet", "mark": "paper", "x": paper})
    if sum(row["mark"] != "seed" for row in rows) < 2:
        return None
    rows += theirs if len(theirs) > 1 else []
    gaps = {"question": question.rstrip(".")}
    gaps |= {"seeds": " to ".join(map(str, sorted({min(seeds), max(seeds)})))}
    absent = [words for words, one in left.items() if one]
    gaps["absent"] = f" Not run: {'; '.join(absent)}." if absent else ""
    images = comparison.runs[0].tested.images
    axis = ERRORS[PROTOCOLS[tests[0]].metric]
    return chart(name, "compared", rows, axis, images=images, **gaps)


def located(comparison: Comparison, tables: Sequence[int]) -> Chart | None:
    """The box errors of the tables asked for, 8 and 9, below those of the best constant boxes."""
    there = [one for number in tables for one in comparison.located(number)]
    if not there:
        return None
    nets, tests = (list(dict.fromkeys(column)) for column in zip(*there, strict=True))
    question = "Box errors, the class given. Constant boxes have no seed, an interval over images"
    return compared("box-errors", question, comparison, nets, tests, comparison.constants)


def _points(cells: Sequence[Measured], along: str, where: dict[str, Any]) -> Rows:
    """An error as marks: each of several seeds, then the mean with its interval."""
    found = spread(cells)
    own = where | {"low": found["low"], "high": found["high"], along: found["mean"]}
    if found["n"] == 1:
        return [own | {"mark": "one seed"}]
    each = [where | {"mark": "seed", along: 100 * float(one.wrong.mean())} for one in cells]
    return [*each, own | {"mark": "mean"}]


def curves(experiment: Experiment, comparison: Comparison) -> Chart | None:
    """Error against Q, a curve for each S of the seeds that have every Q (Section 4.2)."""
    rows: Rows = []
    each = [test for test in experiment.tests if not PROTOCOLS[test].one_number]
    for net, test in itertools.product(comparison.alike(experiment.nets), each):
        at: dict[int, list[Measured]] = {}
        for one in comparison.cells(net, test):
            at.setdefault(one.qs[0][0], []).append(one)
        common = [{one.seed for one in own} for own in at.values()]
        seeds = set.intersection(*common) if len(at) > 1 else set[int]()
        seen = PROTOCOLS[test]
        facet = f"{worded(net.arch)}, {seen.method if seen.scales == 'each' else seen.legend}"
        where = {"facet": facet, "group": f"trained at {s_words(net.scale)}"}
        line, before = 0, 0
        for q in sorted(at) if seeds else ():
            if q - before > NEIGHBOURS:
                line += 1
            before = q
            point = _points([one for one in at[q] if one.seed in seeds], "y", where)[-1]
            point |= {"x": q, "line": str(line)}
            rows += [point | {"mark": "line"}, point]
    gaps = {"question": experiment.question.rstrip("."), "apart": NEIGHBOURS}
    name, x = f"experiment-{experiment.name}", "test scale Q (paper pixels)"
    return chart(name, "curves", rows, x, "top-1 error (%)", **gaps)


def learning_curves(comparison: Comparison) -> Chart | None:
    """Validation error by epoch, a panel for each configuration, and that on training crops."""
    rows: Rows = []
    for net in sorted(comparison.nets):
        logs = [log for run in comparison.nets[net] if (log := read_log(run)) is not None]
        if (
            net.init
            or net.finetune != "all"
            or net.boxes != NONE
            or max(map(len, logs), default=0) < 2
        ):
            continue
        every = pd.concat(logs).groupby("epoch")
        where = {"facet": worded(net.arch), "line": net.scale}
        own = where | {"group": s_words(net.scale)}
        for epoch, row in every.validation_error.agg(["mean", "min", "max"]).iterrows():
            rows.append(own | {"mark": "line", "x": epoch, "y": row["mean"]})
            rows.append(own | {"mark": "band", "x": epoch, "low": row["min"], "high": row["max"]})
        training = own | {"mark": "dotted"}
        rows += [training | {"x": epoch, "y": y} for epoch, y in every.train_error.mean().items()]
    gaps = {"dropout": ", with dropout" if comparison.config.recipe.dropout else ""}
    gaps |= {"validation": comparison.runs[0].result["data"]["validation"]}
    return chart("learning-curves", "learning-curves", rows, "epoch", "error (%)", **gaps)


def of_experiment(experiment: Experiment, comparison: Comparison) -> Chart | None:
    """The figure of an experiment; None where too little of it was measured."""
    nets, tests = compared_nets(experiment, comparison), experiment.tests
    if not all(PROTOCOLS[test].one_number for test in tests):
        return curves(experiment, comparison)
    return compared(f"experiment-{experiment.name}", experiment.question, comparison, nets, tests)
