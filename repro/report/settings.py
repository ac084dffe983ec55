"""Runs that may be compared with each other, and the command that makes another of them."""

import shlex
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from repro.config import choices
from repro.config.schema import TAKE_LAYERS, Config, Data
from repro.errors import RequestError
from repro.paper import numbers
from repro.protocol.boxes import NONE
from repro.protocol.protocols import BOXES, CONSTANTS, LOCALISING, PROTOCOLS, of
from repro.report.measured import Measured, fuse, listed_images, measure, stores_of, usual_init
from repro.report.net import Net, NetOrEnsemble, known, members, named, worded
from repro.store.archive import is_unpacked
from repro.store.identity import base, changes
from repro.store.ranks import ensembles
from repro.store.runs import Run
from repro.store.sharing import quoted


@dataclass(frozen=True, order=True)
class Setting:
    """The choices that all runs of one comparison share; numbers of two are never mixed."""

    data: str
    size: str
    recipe: str
    precision: str


def titles(settings: Sequence[Setting]) -> list[str]:
    """For readers: all that there is to say of one setting, of several what tells them apart.

    As in `tiny_imagenet, first 50 classes; size eighth; recipe photos`.
    """
    columns = [
        [worded(one.data) for one in settings],
        [f"size {worded(one.size)}" for one in settings],
        [f"recipe {worded(one.recipe)}" for one in settings],
        [one.precision for one in settings],
    ]
    if len(settings) > 1:
        shown = [words for words in columns if len(set(words)) > 1]
    else:
        shown = [words for words in columns if words != [Config.precision]]
    return ["; ".join(words) for words in zip(*shown, strict=True)]


def setting(config: Config) -> Setting:
    """The setting of a run."""
    return Setting(config.data.name, config.size.name, config.recipe.name, config.precision)


def _table6() -> list[tuple[tuple[Net, ...], str]]:
    return [(members(named(row["members"])), row["protocol"]) for row in numbers.rows(6)]


class Comparison:
    """All runs of one setting, what their views say, and the ensembles of them."""

    def __init__(self, runs: Sequence[Run], asked: Sequence[str] = ()) -> None:
        """`asked`: ensembles beside the paper's, as in `D-jitter+E-jitter`, if all are there."""
        self.runs, self.config, self.setting = runs, runs[0].config, setting(runs[0].config)
        self.classes = int(runs[0].result["data"]["classes"])
        self.has_papers_nets = any(numbers.is_table1(run.config.arch) for run in runs)
        self.by_identity = {run.identity: run for run in runs}
        self.usual = usual_init(runs)
        self.measured = measure(runs, self.usual)
        self.nets: dict[Net, list[Run]] = {}
        for run in runs:
            self.nets.setdefault(Net.of(run.config, self.usual), []).append(run)
        wanted = _table6()
        papers = [nets for nets, _ in wanted]
        for words in asked:
            with suppress(RequestError):
                nets = members(named(words, self.nets))
                # In the paper's order where the paper has it.
                same = (one for one in papers if set(one) == set(nets))
                tests = [test for test in of(nets[0].boxes) if PROTOCOLS[test].one_number]
                nets = next(same, tuple(sorted(nets)))
                wanted += [(nets, protocol) for protocol in tests if protocol not in CONSTANTS]
        for folder in stores_of(runs):
            for kept in ensembles(folder):
                them = [self.by_identity.get(one) for one in kept.runs.split("+")]
                nets = tuple(Net.of(run.config, self.usual) for run in them if run is not None)
                tests = [key.partition("@")[0] for key in kept.ranks] if all(them) else []
                wanted += [(nets, protocol) for protocol in tests]
        self._by_test: dict[tuple[NetOrEnsemble, str], list[Measured]] = {}
        for one in self.measured:
            self._by_test.setdefault((one.net, one.protocol), []).append(one)
        self.fused = [one for key in dict.fromkeys(wanted) for one in self.cells(*key)]

    def plain(self, net: Net) -> Net:
        """The net, its `init` left out where it is the setting's usual one."""
        return net.plain(self.usual, self.config.recipe.init)

    def alike(self, nets: tuple[Net, ...]) -> tuple[Net, ...]:
        """If the setting's nets start from A and one of these cannot, all of these as the recipe
        starts nets; else unchanged.
        """
        giver, own = self.usual.copy_from, self.config.recipe.init
        if giver is None or all(base(net.arch) in (giver, *TAKE_LAYERS) for net in nets):
            return nets
        return tuple(replace(net, init=net.init or own) for net in nets)

    def runs_of(self, net: NetOrEnsemble) -> list[Run]:
        """The runs of a net, or of an ensemble's members."""
        return [run for one in members(net) for run in self.nets.get(self.plain(one), [])]

    @property
    def locating(self) -> list[NetOrEnsemble]:
        """The nets that locate (Appendix A), then the ensembles of them."""
        fused = dict.fromkeys(one.net for one in self.fused if one.protocol in BOXES)
        return [*sorted(net for net in self.nets if net.boxes != NONE), *fused]

    def located(self, number: int) -> list[tuple[NetOrEnsemble, str]]:
        """The nets and tests that were measured of Table 8 or 9."""
        every = ((net, test) for net in self.locating for test in LOCALISING[number])
        return [one for one in every if self.cells(*one)]

    @property
    def constants(self) -> list[Measured]:
        """What the best constant boxes score, which are the same for all nets and seeds."""
        own = {one.protocol: one for one in self.measured if one.protocol in CONSTANTS}
        return [own[protocol] for protocol in CONSTANTS if protocol in own]

    @cached_property
    def test_classes(self) -> NDArray[np.int64] | None:
        """The class of each test image (images,), in the order of their ids; None: not known."""
        found = map(listed_images, self.runs)
        return next((images.labels for images in found if images is not None), None)

    def cells(self, net: NetOrEnsemble, protocol: str, q: str | None = None) -> list[Measured]:
        """The measurements of a net or ensemble by a protocol, by seed; with `q` at that alone."""
        plain = tuple(map(self.plain, members(net)))
        key = (plain if isinstance(net, tuple) else plain[0], protocol)
        if isinstance(net, tuple) and key not in self._by_test:
            self._by_test[key] = fuse(self.measured, plain, protocol)
        return [one for one in self._by_test.get(key, ()) if q in (None, one.q)]

    def commands(self, experiment: str, nets: Sequence[Net], tests: Sequence[str]) -> list[str]:
        """The commands of an experiment in the setting of the runs, by net where starts differ."""
        files = {net: name for name, net in known().items() if net.init is None}
        usual = base(self.usual.name)
        if self.usual.name == self.config.recipe.init or not files.keys() >= set(nets):
            return [self._command(f"experiments={experiment}")]
        groups: dict[bool, list[str]] = {}
        for net in nets:
            # The net that the others start from comes first: it cannot start from itself.
            groups.setdefault(net.arch != self.usual.copy_from, []).append(files[net])
        words = {apart: f"net={','.join(of)}" for apart, of in sorted(groups.items())}
        return [
            self._command(word, *([f"init={usual}"] if apart else []), tests=tests)
            for apart, word in words.items()
        ]

    def _command(self, *wanted: str, tests: Sequence[str] = ()) -> str:
        """The command line that runs something in the setting and the store of these runs."""
        defaults, config, store = choices.config(), self.config, self.runs[0].folder.parent
        words = ["python", "-m", "repro.run", *(["-m"] if "," in wanted[0] else []), *wanted]
        for group in ("size", "data", "recipe"):
            name = base(getattr(config, group).name)
            if name != defaults.chosen[group]:
                words.append(f"{group}={name}")
            words += [_word(f"{group}.{key}", v) for key, v in changes(config, group).items()]
        kind = base(config.data.name)
        usual = choices.choice("data", kind) if kind in choices.names("data") else {}
        if config.data.root != usual.get("root", Data.root):
            words.append(_word("data.root", config.data.root))
        if config.precision != "float32":
            words.append(f"precision={config.precision}")
        if set(tests) - set(defaults.values["test"]):
            words.append(f"test=[{','.join(tests)}]")
        # What a report keeps of runs is no store to train in.
        if str(store) != "runs" and not is_unpacked(store):
            words.append(_word("runs", str(store)))
        return shlex.join(words)


def _word(key: str, value: object) -> str:
    """The word KEY=VALUE of a command, for the shell to be quoted yet."""
    said = quoted(value) if isinstance(value, str) else value
    return f"{key}={'null' if said is None else said}"


def recorded(runs: Sequence[Run]) -> list[str]:
    """The command lines that made runs, as these recorded them; older runs did not."""
    found = [run.result.get("command") for run in runs]
    lists = [words for words in found if isinstance(words, list)]
    lines = (shlex.join(["python", "-m", "repro.run", *map(str, words)]) for words in lists)
    # A back-tick ends what a page shows as a command.
    return [line for line in dict.fromkeys(lines) if line.isprintable() and "`" not in line]


def grouped(runs: Sequence[Run]) -> list[list[Run]]:
    """Runs by setting, both in order."""
    groups: dict[Setting, list[Run]] = {}
    for run in runs:
        groups.setdefault(setting(run.config), []).append(run)
    return [own for _, own in sorted(groups.items())]


class Family:
    """Nets that others trained, nobody here knows how, of one origin: no side of any claim."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self.runs = runs
        # Each net is named plainly: how the others start is no matter.
        self.measured = [one for run in runs for one in measure([run], run.config.init)]
        self.fused = [one for cell in _table6() for one in fuse(self.measured, *cell)]


def families(runs: Sequence[Run]) -> list[Family]:
    """Published nets by their data, their origin and the input that they want."""
    groups: dict[Any, list[Run]] = {}
    seen: dict[Any, int] = {}
    for run in sorted(runs, key=lambda run: Net.of(run.config, run.config.init)):
        found, net = run.published or {}, Net.of(run.config, run.config.init)
        origin = (setting(run.config), str(found.get("format")), str(found.get("input")))
        # Of two files of one net each has its own family.
        seen[origin, net] = place = seen.get((origin, net), -1) + 1
        groups.setdefault((*origin, place), []).append(run)
    return [Family(groups[origin]) for origin in sorted(groups)]
