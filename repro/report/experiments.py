"""The experiments of `conf/experiments/`: which nets each compares, and its table of the report."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import pandas as pd
import yaml

from repro.config import choices
from repro.config.schema import TAKE_LAYERS
from repro.errors import RequestError, one_line
from repro.paper import numbers as published
from repro.protocol.protocols import EACH_Q, PROTOCOLS, TABLE3
from repro.report.claims import Claim, claims
from repro.report.measured import spread
from repro.report.net import OWN, Net, Nets, label
from repro.report.settings import Comparison
from repro.report.tables import cell, net_title, percent

NOTE = "report"
"""The comment of a file that says how the report shows the experiment, as in
`# report: {place: 60, tests: [each_scale]}`. Its keys are the last fields of `Experiment`."""
APART = "none"
"""What this comment says of a sweep that is no comparison of its own."""


@dataclass(frozen=True)
class Experiment:
    """One file of `conf/experiments/`: all that the report needs to know of it."""

    name: str
    question: str
    """What is compared, and where the paper does so: the file's first comment."""
    nets: tuple[Net, ...]
    tests: tuple[str, ...]
    """The protocols that its table shows: those of the file unless the comment says others."""
    place: float = math.inf
    """Sections of the report stand in this order; those that say none stand last, by name."""
    figures: tuple[str, ...] = ()
    """Names of `repro.report.ablations.FIGURES`, or of the figures of a setting; empty: its nets
    by its protocols, as dots, or as curves over the test scale."""
    ensembles: bool = False
    """The ensembles of Table 6 stand below its nets."""

    @property
    def curve(self) -> bool:
        """Whether a protocol of the experiment gives a number for each of many test scales."""
        return any(not PROTOCOLS[test].one_number for test in self.tests)


@lru_cache
def experiments() -> tuple[Experiment, ...]:
    """The experiments that have a section in the report, in its order.

    Raises:
        RequestError: the comment of a file is not as `Experiment` says.
    """
    names = (name for name in choices.names("experiments") if _note(name) != APART)
    return tuple(sorted(map(_read, names), key=lambda one: (one.place, one.name)))


def _note(name: str) -> str:
    return choices.note("experiments", name, NOTE)


def _read(name: str) -> Experiment:
    file = choices.read("experiments", name)
    shown = _shown(name)
    return Experiment(
        name,
        file.comment,
        tuple(_nets(file)),
        tests=tuple(shown.get("tests") or file.values.get("test", [TABLE3])),
        place=shown.get("place", math.inf),
        figures=tuple(shown.get("figures", ())),
        ensembles=shown.get("ensembles", False),
    )


def _shown(name: str) -> dict[str, Any]:
    """What the comment of an experiment says, its keys and their types checked."""
    where = f"conf/experiments/{name}.yaml, # {NOTE}:"
    kinds: dict[str, Any] = {
        "place": (int, float),
        "tests": list,
        "figures": list,
        "ensembles": bool,
    }
    try:
        said = yaml.safe_load(_note(name) or "{}")
    except yaml.YAMLError as error:
        raise RequestError(f"{where} {one_line(error)}") from None
    if not isinstance(said, dict) or not said.keys() <= kinds.keys():
        raise RequestError(f"{where} {said}: expected {APART}, or some of {', '.join(kinds)}")
    for key, value in said.items():
        if not isinstance(value, kinds[key]):
            raise RequestError(f"{where} {key} cannot be {value}")
    for test in said.get("tests", []):
        if test not in PROTOCOLS:
            raise RequestError(f"{where} {test} is none of {', '.join(PROTOCOLS)}")
    return said


def _nets(file: choices.Choice) -> list[Net]:
    """The nets that an experiment sweeps."""
    if "net" in file.swept:
        return [Net.named(name) for name in file.swept["net"]]
    usual = choices.config()
    parts = []
    for key, silent in (("arch", ""), ("scale", ""), ("finetune", "all"), ("init", OWN)):
        chosen = file.values.get(key) or file.chosen.get(key) or usual.chosen.get(key, silent)
        parts.append(file.swept.get(key, [str(chosen)]))
    return [
        Net(arch, scale, finetune, None if init == OWN else init)
        for arch, scale, finetune, init in itertools.product(*parts)
    ]


def commands_of(name: str, comparison: Comparison) -> list[str]:
    """The command lines that run an experiment in the setting and the store of some runs."""
    experiment = next(one for one in experiments() if one.name == name)
    return comparison.experiment_commands(name, nets_of(experiment, comparison), experiment.tests)


def nets_of(experiment: Experiment, comparison: Comparison) -> tuple[Net, ...]:
    """The nets of an experiment as they start in a setting.

    Where the setting's nets take layers from another one and some net of the experiment has no
    place for them, all of them start from the recipe's own weights, as in the claims.
    """
    giver, nets = comparison.usual.copy_from, experiment.nets
    if giver is None or all(net.arch in (giver, *TAKE_LAYERS) for net in nets):
        return nets
    own = comparison.config.recipe.init
    return tuple(replace(net, init=net.init or own) for net in nets)


def measured_nets(experiment: Experiment, comparison: Comparison) -> list[Net]:
    """The nets of an experiment that were run in a setting."""
    nets = nets_of(experiment, comparison)
    return [net for net in nets if comparison.plain(net) in comparison.nets]


def compared_nets(experiment: Experiment, comparison: Comparison) -> list[Nets]:
    """The nets of an experiment and, where it is about ensembles, those of its setting."""
    fused = comparison.fused if experiment.ensembles else []
    return [*nets_of(experiment, comparison), *dict.fromkeys(one.net for one in fused)]


def is_shown(experiment: Experiment, comparison: Comparison, judged: pd.DataFrame) -> bool:
    """Whether the report has a section about an experiment.

    It does where a claim of the experiment was judged, or where most of its nets were measured.

    Args:
        experiment: the experiment.
        comparison: the runs of a setting.
        judged: the claims of that setting, as in `claims.csv`.
    """
    if experiment.name in set(judged.experiment):
        return True
    most = 2 * len(measured_nets(experiment, comparison)) > len(experiment.nets)
    return most and any(
        comparison.cells(net, test)
        for net in nets_of(experiment, comparison)
        for test in experiment.tests
    )


def table(experiment: Experiment, comparison: Comparison) -> pd.DataFrame:
    """Every net of an experiment by each of its protocols, beside the paper's where it has one."""
    if experiment.curve:
        return _curve_table(experiment, comparison)
    rows = []
    for net in compared_nets(experiment, comparison):
        for test in experiment.tests:
            seeds = len(comparison.cells(net, test))
            if isinstance(net, tuple) and not seeds:
                continue  # Table 6 says which ensembles are open.
            rows.append(
                {
                    "net": net_title(net),
                    "test": PROTOCOLS[test].title,
                    "error here (%)": cell(comparison, net, test),
                    "seeds": str(seeds or "-"),
                    "paper (%)": percent(published.error_of(test, label(net), "top1_error")),
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
    """A table of claims for readers: the paper's difference and ours, its interval, n, the verdict.

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
