"""The experiments of `conf/experiments/`: which nets each compares, and how the report shows it."""

import itertools
import math
from dataclasses import dataclass
from functools import lru_cache

import pandas as pd
import yaml

from repro.config import choices
from repro.errors import RequestError, one_line
from repro.protocol.protocols import PROTOCOLS, TABLE3
from repro.report import tables
from repro.report.net import OWN, Net, NetOrEnsemble
from repro.report.settings import Comparison


@dataclass(frozen=True)
class Experiment:
    """One file of `conf/experiments/`: the nets and the `tests` of its table.

    `question` is its first comment; `place` orders sections; `ensembles`: Table 6's are shown too.
    """

    name: str
    question: str
    nets: tuple[Net, ...]
    tests: tuple[str, ...]
    place: float = math.inf
    ensembles: bool = False

    def commands(self, comparison: Comparison) -> list[str]:
        """The command lines that run it in the setting and the store of some runs."""
        return comparison.commands(self.name, comparison.alike(self.nets), self.tests)


@lru_cache
def experiments() -> tuple[Experiment, ...]:
    """The experiments that have a section in the report, in its order."""
    found = []
    for name in choices.names("experiments"):
        file = choices.read("experiments", name)
        notes = [line.partition("report:")[2] for line in file.comments if line[:7] == "report:"]
        note = "".join(notes).strip()
        said = {"place": math.inf, "tests": file.values.get("test", [TABLE3])}
        try:
            if note != "none":
                said |= yaml.safe_load(note or "{}")
                said |= {"place": float(said["place"]), "tests": tuple(said["tests"])}
                if unknown := set(said["tests"]) - PROTOCOLS.keys():
                    raise ValueError(f"there is no protocol {min(unknown)}")
                found.append(Experiment(name, file.comment, tuple(_nets(file)), **said))
        except (yaml.YAMLError, TypeError, ValueError) as error:
            where = f"conf/experiments/{name}.yaml, # report: {note}"
            raise RequestError(f"{where} cannot be: {one_line(error)}") from None
    return tuple(sorted(found, key=lambda one: (one.place, one.name)))


def _nets(file: choices.Choice) -> list[Net]:
    """The nets that an experiment sweeps."""
    if "net" in file.swept:
        return [Net.named(name) for name in file.swept["net"]]
    usual = {"finetune": "all", "init": OWN} | choices.config().chosen
    one = usual | file.chosen | file.values
    parts = [file.swept.get(key, [str(one[key])]) for key in ("arch", "scale", "finetune", "init")]
    return [
        Net(arch, scale, finetune, None if init == OWN else init)
        for arch, scale, finetune, init in itertools.product(*parts)
    ]


def compared_nets(experiment: Experiment, comparison: Comparison) -> list[NetOrEnsemble]:
    """The nets of an experiment and, where it is about ensembles, those of its setting."""
    fused = comparison.fused if experiment.ensembles else []
    return [*comparison.alike(experiment.nets), *dict.fromkeys(one.net for one in fused)]


def is_shown(experiment: Experiment, comparison: Comparison, judged: pd.DataFrame) -> bool:
    """Whether a claim of an experiment was judged, or most of its nets tested."""
    nets = comparison.alike(experiment.nets)
    tested = [n for n in nets if any(comparison.cells(n, test) for test in experiment.tests)]
    return experiment.name in set(judged.experiment) or 2 * len(tested) > len(nets)


def table(experiment: Experiment, comparison: Comparison) -> pd.DataFrame:
    """Every net of an experiment by each of its protocols and test scales, a row each."""
    rows, fused = [], {(one.net, one.protocol) for one in comparison.fused}
    for nets, test in itertools.product(compared_nets(experiment, comparison), experiment.tests):
        # Table 6 says which ensembles are open, and by which protocols.
        if (nets, test) in fused or not isinstance(nets, tuple):
            cells = comparison.cells(nets, test)
            each = [None] if PROTOCOLS[test].one_number else sorted({one.q for one in cells})
            rows += [tables.row(comparison, nets, test, q) for q in each]
    return pd.DataFrame(rows)
