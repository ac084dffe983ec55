"""The experiments of `conf/experiments/`: which nets each compares, and how the report shows it."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pandas as pd
import yaml

from repro.config import choices
from repro.config.schema import TAKE_LAYERS
from repro.errors import RequestError, one_line
from repro.protocol.protocols import PROTOCOLS, TABLE3
from repro.report import tables
from repro.report.net import OWN, Net, Nets
from repro.report.settings import Comparison
from repro.store.identity import base

NOTE = "report"
"""The comment of a file that says how the report shows the experiment, as in
`# report: {place: 60, tests: [each_scale]}`. Its keys are the last fields of `Experiment`."""
APART = "none"
"""What this comment says of a sweep that is no comparison of its own."""
KINDS: dict[str, Any] = {
    **{"place": (int, float), "tests": list, "figures": list, "ensembles": bool}
}


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
    """Names of `repro.report.charts.OF_EXPERIMENT`; empty: its nets by its protocols as rows, or
    as curves over the test scale."""
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
    found = (_read(name) for name in choices.names("experiments"))
    return tuple(sorted(filter(None, found), key=lambda one: (one.place, one.name)))


def _read(name: str) -> Experiment | None:
    note = choices.note("experiments", name, NOTE)
    if note == APART:
        return None
    file, said = choices.read("experiments", name), _said(name, note)
    tests = said.pop("tests", None) or file.values.get("test", [TABLE3])
    lists = {key: tuple(value) for key, value in said.items() if isinstance(value, list)}
    return Experiment(name, file.comment, tuple(_nets(file)), tuple(tests), **(said | lists))


def _said(name: str, note: str) -> dict[str, Any]:
    """What the comment of an experiment says, its keys and their types checked."""
    where = f"conf/experiments/{name}.yaml, # {NOTE}:"
    try:
        said = yaml.safe_load(note or "{}")
    except yaml.YAMLError as error:
        raise RequestError(f"{where} {one_line(error)}") from None
    if not isinstance(said, dict) or not said.keys() <= KINDS.keys():
        raise RequestError(f"{where} {said}: expected {APART}, or some of {', '.join(KINDS)}")
    for key, value in said.items():
        if not isinstance(value, KINDS[key]):
            raise RequestError(f"{where} {key} cannot be {value}")
    for test in said.get("tests", []):
        if test not in PROTOCOLS:
            raise RequestError(f"{where} {test} is none of {', '.join(PROTOCOLS)}")
    return said


def _nets(file: choices.Choice) -> list[Net]:
    """The nets that an experiment sweeps."""
    if "net" in file.swept:
        return [Net.named(name) for name in file.swept["net"]]
    usual = choices.config().chosen
    parts = []
    for key, silent in (("arch", ""), ("scale", ""), ("finetune", "all"), ("init", OWN)):
        chosen = file.values.get(key) or file.chosen.get(key) or usual.get(key) or silent
        parts.append(file.swept.get(key, [str(chosen)]))
    return [
        Net(arch, scale, finetune, None if init == OWN else init)
        for arch, scale, finetune, init in itertools.product(*parts)
    ]


def commands_of(experiment: Experiment, comparison: Comparison) -> list[str]:
    """The command lines that run an experiment in the setting and the store of some runs."""
    nets = nets_of(experiment, comparison)
    return comparison.experiment_commands(experiment.name, nets, experiment.tests)


def nets_of(experiment: Experiment, comparison: Comparison) -> tuple[Net, ...]:
    """The nets of an experiment as they start in a setting.

    Where the setting's nets take layers from another one and some net of the experiment has no
    place for them, all of them start from the recipe's own weights, as in the claims.
    """
    giver, nets = comparison.usual.copy_from, experiment.nets
    if giver is None or all(base(net.arch) in (giver, *TAKE_LAYERS) for net in nets):
        return nets
    own = comparison.config.recipe.init
    return tuple(Net(net.arch, net.scale, net.finetune, net.init or own) for net in nets)


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
    nets = measured_nets(experiment, comparison)
    tested = any(comparison.cells(net, test) for net in nets for test in experiment.tests)
    return tested and 2 * len(nets) > len(experiment.nets)


def table(experiment: Experiment, comparison: Comparison) -> pd.DataFrame:
    """Every net of an experiment by each of its protocols and test scales, a row each."""
    rows = []
    for nets, test in itertools.product(compared_nets(experiment, comparison), experiment.tests):
        cells = comparison.cells(nets, test)
        if isinstance(nets, tuple) and not cells:
            continue  # Table 6 says which ensembles are open.
        each = [None] if PROTOCOLS[test].one_number else sorted({one.q for one in cells})
        rows += [tables.row(comparison, nets, test, q) for q in each]
    return pd.DataFrame(rows)
