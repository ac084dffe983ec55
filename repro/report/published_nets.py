"""Nets that others trained, tested here: beside the paper's numbers, and apart from the claims.

Nobody here knows on what, how long or how these were trained. So they are no side of any claim and
stand in no table or figure of nets that were trained here.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from repro.paper import numbers
from repro.protocol.protocols import PROTOCOLS, readings
from repro.report.measured import Measured, fuse, measure
from repro.report.net import Net, ensemble, members
from repro.report.preprocessing import KEYS, Tried, tried
from repro.report.replications import replications
from repro.report.settings import Setting, command, setting, word
from repro.report.tables import error, in_order
from repro.report.titles import arch_title, scale_title
from repro.store import varied
from repro.store.identity import base, changes
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
        wanted = ((row["members"], row["protocol"]) for row in numbers.rows(6))
        self.fused = [
            one
            for nets, protocol in dict.fromkeys(wanted)
            for one in fuse(self.measured, ensemble(nets), protocol)
        ]

    def made(self) -> list[str]:
        """The command lines that test these nets again."""
        return [_command(run, self.measured) for run in self.runs]


def families(runs: Sequence[Run]) -> list[Family]:
    """Published nets by their data, their origin and the input that they want."""
    groups: dict[tuple[Setting, str, str, int], list[Run]] = {}
    for run in sorted(runs, key=lambda run: in_order(run.config.arch.name)):
        found = run.published or {}
        key = (setting(run.config), str(found.get("format")), str(found.get("input")))
        net = Net.of(run.config, run.config.init)
        # Of two files of one net each has its own family.
        place = 0
        while any(Net.of(r.config, r.config.init) == net for r in groups.get((*key, place), ())):
            place += 1
        groups.setdefault((*key, place), []).append(run)
    return [Family(own) for _, own in sorted(groups.items(), key=lambda item: item[0])]


def table(families: Sequence[Family]) -> pd.DataFrame:
    """Every number of the published nets beside the paper's of the same cell, a row each."""
    return pd.DataFrame(
        [
            _row(one)
            for family in families
            for one in (*family.measured, *family.fused)
            if PROTOCOLS[one.protocol].one_number
        ]
    )


def _row(one: Measured) -> dict[str, Any]:
    nets = members(one.net)
    top5 = one.error("top5_error")
    return {
        "data": one.run.config.data.name,
        "net": " + ".join(map(arch_title, nets)),
        "weights": one.joined(_file),
        "S": " + ".join(dict.fromkeys(scale_title(net.scale) for net in nets)),
        "test": PROTOCOLS[one.protocol].title,
        "Q": one.q,
        **error([one]),
        "paper": one.published("top1_error"),
        "top5": None if top5 is None else round(top5, 4),
        "top5_paper": one.published("top5_error"),
    }


def by_other_ways(families: Sequence[Family]) -> list[Tried]:
    """The nets that were also tested by other people's ways of preprocessing."""
    runs = [run for family in families for run in family.runs]
    return tried(
        [(run, f"{run.config.arch.name} {run.config.scale.name}, {_file(run)}") for run in runs]
    )


def theirs(families: Sequence[Family]) -> pd.DataFrame:
    """What others measured of such nets."""
    nets = {base(run.config.arch.name) for family in families for run in family.runs}
    frame = replications()
    return frame[frame.net.isin(nets)]


def _file(run: Run) -> str:
    found = run.published or {}
    return f"{found.get('format')} {str(found.get('sha256'))[:8]}"


def _command(run: Run, measured: Sequence[Measured]) -> str:
    config = run.config
    words = [f"arch={base(config.arch.name)}", f"scale={base(config.scale.name)}"]
    for group in ("arch", "scale"):
        words += [word(f"{group}.{key}", value) for key, value in changes(config, group).items()]
    words.append(word("weights", config.weights))
    if config.weights_input is not None:
        words.append(f"weights_input={config.weights_input}")
    if (ways := varied.most(run.folder, KEYS)) is not None:
        words.append(f"preprocessing_images={ways[0]}")
    numbers = Counter(one.protocol for one in measured if one.run is run)
    # Those of many numbers share views with others.
    tests = [name for name, n in numbers.items() if n == len(readings(name, config.scale))]
    return shlex.join(_sized(shlex.split(command(run, words, tests)), run))


def _sized(words: list[str], run: Run) -> list[str]:
    """With the size said: a published net's default is another."""
    name = f"size={base(run.config.size.name)}"
    return words if name in words else [*words, name]
