"""The ablations of `conf/experiments/`: which nets each compares, and its table of the report."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pandas as pd

from repro.analysis.claims import Claim, claims
from repro.analysis.measured import members, spread
from repro.analysis.settings import Comparison
from repro.analysis.tables import cell, net_title, percent
from repro.config import choices
from repro.paper import published
from repro.protocol.protocols import EACH_Q, PROTOCOLS

ORDER = (
    *("depth", "lrn", "conv1x1", "filter_size", "scale", "test_scale", "test_crops", "fusion"),
    *("init", "batch_norm", "blog"),
)
"""As the paper's Section 4 goes, then what is not the paper's."""


@dataclass(frozen=True)
class Experiment:
    """One file of `conf/experiments/`."""

    name: str
    question: str
    """What is compared, and where the paper does so: the file's first comment."""
    nets: tuple[str, ...]
    """Labels, as in `D-jitter`."""
    tests: tuple[str, ...]
    """The protocols that its table shows."""

    @property
    def curve(self) -> bool:
        """It looks at each of many test scales."""
        return any(PROTOCOLS[test].scales == "each" for test in self.tests)


@lru_cache
def experiments() -> tuple[Experiment, ...]:
    """The ablations, in the order of the report."""
    return tuple(_read(name) for name in ORDER)


def _read(name: str) -> Experiment:
    file = choices.read("experiments", name)
    swept = file.swept
    scales = swept.get("scale", [file.chosen.get("scale") or "S256"])
    nets = swept.get("net") or [
        f"{arch}-{scale}" for arch, scale in itertools.product(swept["arch"], scales)
    ]
    tests = file.values.get("test", ["single_scale"])
    if name == "test_scale":
        tests = ["each_scale"]
    if name == "fusion":
        tests = ["multi_scale", "multi_crop", "multi_crop_dense"]
    return Experiment(name, file.comment, tuple(nets), tuple(tests))


def commands_of(name: str, comparison: Comparison) -> list[str]:
    """The command lines that run an experiment in the setting and the store of some runs."""
    experiment = next(one for one in experiments() if one.name == name)
    return comparison.experiment_commands(name, experiment.nets, experiment.tests)


def measured_nets(experiment: Experiment, comparison: Comparison) -> list[str]:
    """The experiment's nets that a setting has runs of."""
    return [net for net in experiment.nets if comparison.plain(net) in comparison.nets]


def compared_nets(experiment: Experiment, comparison: Comparison) -> list[str]:
    """The experiment's nets and, where it is about them, their ensembles."""
    fused = comparison.fused if experiment.name == "fusion" else []
    return [*experiment.nets, *dict.fromkeys(one.net for one in fused)]


def present(experiment: Experiment, comparison: Comparison, judged: pd.DataFrame) -> bool:
    """Whether there is something to compare: a claim, or most of the experiment's nets.

    Args:
        experiment: the experiment.
        comparison: the runs of a setting.
        judged: the claims of that setting, as in `claims.csv`.
    """
    if experiment.name in set(judged.experiment):
        return True
    most = 2 * len(measured_nets(experiment, comparison)) > len(experiment.nets)
    return most and any(
        comparison.cells(net, test) for net in experiment.nets for test in experiment.tests
    )


def table(experiment: Experiment, comparison: Comparison) -> pd.DataFrame:
    """Every net of an experiment by each of its protocols, beside the paper's where it has one."""
    if experiment.curve:
        return _curve_table(experiment, comparison)
    rows = []
    for net in compared_nets(experiment, comparison):
        for test in experiment.tests:
            seeds = len(comparison.cells(net, test))
            if len(members(net)) > 1 and not seeds:
                continue  # Table 6 says which ensembles are open.
            rows.append(
                {
                    "net": net_title(net),
                    "test": test.replace("_", " "),
                    "error here (%)": cell(comparison, net, test),
                    "seeds": str(seeds or "-"),
                    "paper (%)": percent(published.error_of(test, net, "top1_error")),
                }
            )
    return pd.DataFrame(rows)


def _curve_table(experiment: Experiment, comparison: Comparison) -> pd.DataFrame:
    rows = []
    for net in measured_nets(experiment, comparison):
        for test in experiment.tests:
            cells = {q: comparison.cells(net, test, str(q)) for q in EACH_Q}
            tested = {q: spread(found) for q, found in cells.items() if found}
            if len(tested) < 2:
                continue
            row = {f"Q={q}": f"{tested[q].mean:.1f}" if q in tested else "-" for q in EACH_Q}
            seeds = str(max(value.seeds for value in tested.values()))
            rows.append({"net": net_title(net), **row, "seeds": seeds})
    return pd.DataFrame(rows)


def claim_table(judged: pd.DataFrame, short: bool = False) -> pd.DataFrame:
    """The claims for readers: both differences in points, intervals, n, verdict.

    Args:
        judged: a row for each claim, as in `claims.csv`.
        short: without what it would take to decide.
    """
    known = {claim.claim: claim for claim in claims()}
    rows = []
    for row in judged.to_dict("records"):
        claim = known[row["claim"]]
        shows = {"yes": " (agrees)", "tie": " (a tie)", "no": " (disagrees)"}
        here = f"{row['difference']:+.1f} [{row['ci_low']:+.1f}; {row['ci_high']:+.1f}]"
        cells = {
            "section": row["section"],
            "claim": sentence(claim),
            "paper (points)": _points(row["paper_difference"]) + shows.get(claim.paper_shows, ""),
            "here (points)": here,
            "images, seeds": f"{_count(row['n_images'])}, {row['n_seeds']}",
            "verdict": row["verdict"],
            "with Holm": row["verdict_holm"],
        }
        if not short:
            cells |= {
                "relative, paper (%)": _points(row["paper_relative"]),
                "relative, here (%)": _points(row["relative"]),
                "images for 80% power": _count(row["images_for_power"]),
                "seeds for 80% power": _count(row["seeds_for_power"]),
                "left - right": f"{row['left']} - {row['right']}",
                "no test because": row["reason"] or "-",
            }
        rows.append(cells)
    return pd.DataFrame(rows)


def sentence(claim: Claim) -> str:
    """What a claim says, and whether the paper says it."""
    return f"{claim.text} (ours)" if claim.ours else claim.text


def _points(difference: Any) -> str:
    return "-" if pd.isna(difference) else f"{difference:+.1f}"


def _count(number: Any) -> str:
    return "-" if pd.isna(number) else f"{int(number):,}"
