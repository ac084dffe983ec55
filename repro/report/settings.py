"""Runs that may be compared with each other, and the command that makes another of them."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from repro.config import choices
from repro.config.schema import Config, Data
from repro.errors import RequestError
from repro.paper import numbers
from repro.protocol.protocols import ONE_NUMBER, PROTOCOLS, readings
from repro.report.measured import Measured, fuse, listed_images, measure, usual_init
from repro.report.net import Net, Nets, ensemble, known, members, named
from repro.store.identity import base, changes
from repro.store.ranks import FOLDER as RANKS
from repro.store.runs import Run

Words = tuple[str, ...]
PLAIN = re.compile(r"[\w./+:@-]+( [\w./+:@-]+)*")
"""A value that Hydra takes as it is."""


@dataclass(frozen=True, order=True)
class Setting:
    """What all runs of one comparison share; numbers of two settings are never mixed."""

    data: str
    size: str
    recipe: str
    precision: str

    def __str__(self) -> str:
        words = f"{self.data}, size {self.size}, recipe {self.recipe}"
        return words if self.precision == "float32" else f"{words}, {self.precision}"

    @property
    def slug(self) -> str:
        """The setting in letters that the name of a file may have."""
        words = (self.data, self.size, self.recipe, self.precision)
        return "-".join(words).replace("=", "-").replace("+", "-").replace(".", "_")


def setting(config: Config) -> Setting:
    """The setting of a run."""
    return Setting(config.data.name, config.size.name, config.recipe.name, config.precision)


@dataclass
class Comparison:
    """All runs of one setting, what their views say, and the ensembles of them."""

    setting: Setting
    runs: Sequence[Run]
    asked: Sequence[str] = ()
    """Ensembles beside the paper's, as in `D-jitter+E-jitter`; what it has no nets for is none."""
    measured: list[Measured] = field(init=False)
    fused: list[Measured] = field(init=False)

    def __post_init__(self) -> None:
        self.usual = usual_init(self.runs)
        self.measured = measure(self.runs, self.usual)
        wanted = [(ensemble(row["members"]), row["protocol"]) for row in numbers.rows(6)]
        wanted += [(nets, name) for nets in self._asked() for name in ONE_NUMBER]
        self._fusions: dict[tuple[tuple[Net, ...], str], list[Measured]] = {}
        self.fused = [
            one for nets, protocol in dict.fromkeys(wanted) for one in self.fusion(nets, protocol)
        ]

    def _asked(self) -> Iterator[tuple[Net, ...]]:
        for words in self.asked:
            with suppress(RequestError):
                yield _as_published(members(named(words, self.nets)))

    def fusion(self, nets: tuple[Net, ...], protocol: str) -> list[Measured]:
        """An ensemble tested by a protocol, for every seed that all of its members have."""
        if (nets, protocol) not in self._fusions:
            plain = tuple(map(self.plain, nets))
            self._fusions[nets, protocol] = fuse(self.measured, plain, protocol)
        return self._fusions[nets, protocol]

    @property
    def config(self) -> Config:
        """The configuration of one of its runs: what is a setting's is the same in all."""
        return self.runs[0].config

    @property
    def crop(self) -> int:
        """Side of the crop in pixels."""
        return self.config.size.crop

    @property
    def classes(self) -> int:
        """Number of classes."""
        return int(self.runs[0].result["data"]["classes"])

    @property
    def has_1000_classes(self) -> bool:
        """As many classes as the paper: only then its top-5 errors stand beside ours."""
        return self.classes == numbers.CLASSES

    def net_of(self, run: Run) -> Net:
        """The net of a run."""
        return Net.of(run.config, self.usual)

    def plain(self, net: Net) -> Net:
        """A net without the initialisation where the setting has no other for it."""
        return net.plain(self.usual, self.config.recipe.init)

    @cached_property
    def nets(self) -> dict[Net, list[Run]]:
        """The runs of each net."""
        found: dict[Net, list[Run]] = {}
        for run in self.runs:
            found.setdefault(self.net_of(run), []).append(run)
        return found

    def runs_of(self, nets: Nets) -> list[Run]:
        """The runs of a net, or of an ensemble's members."""
        return [run for net in members(nets) for run in self.nets.get(self.plain(net), [])]

    @cached_property
    def by_identity(self) -> dict[str, Run]:
        """The runs by their identities."""
        return {run.identity: run for run in self.runs}

    @cached_property
    def test_classes(self) -> NDArray[np.int64] | None:
        """The class of each test image (images,), in the order of their ids; None: not known."""
        found = (listed_images(run) for run in self.runs)
        return next((images.labels for images in found if images is not None), None)

    def cells(self, net: Nets, protocol: str, q: str | None = None) -> list[Measured]:
        """The measurements of one net or ensemble by one protocol, one for each seed.

        Args:
            net: the net, or the members of the ensemble.
            protocol: a key of `PROTOCOLS`.
            q: the test scales as `Measured.q` writes them; None: all that there are.
        """
        plain: Nets = tuple(map(self.plain, net)) if isinstance(net, tuple) else self.plain(net)
        return [one for one in self._by_test.get((plain, protocol), ()) if q in (None, one.q)]

    @cached_property
    def _by_test(self) -> dict[tuple[Nets, str], list[Measured]]:
        found: dict[tuple[Nets, str], list[Measured]] = {}
        for one in (*self.measured, *self.fused):
            found.setdefault((one.net, one.protocol), []).append(one)
        return found

    def diverged(self, net: Net) -> bool:
        """Whether all runs of a net diverged, so that it will never have an error."""
        runs = self.nets.get(self.plain(net), [])
        return bool(runs) and all(run.result["outcome"] == "diverged" for run in runs)

    def tested(self, protocol: str) -> bool:
        """Whether some net of the setting was tested by a protocol."""
        return any(one.protocol == protocol for one in self.measured)

    @property
    def has_papers_nets(self) -> bool:
        """Whether a net of the setting is a column of Table 1; else it is another experiment."""
        return any(numbers.is_table1(run.config.arch) for run in self.runs)

    def commands(
        self, nets: Sequence[Net], tests: Sequence[str] = (), seeds: Sequence[int] = ()
    ) -> list[str]:
        """The command lines that make nets in the setting and the store of these runs.

        Args:
            nets: the nets.
            tests: the protocols wanted.
            seeds: the seeds wanted; none: the configuration's own.
        """
        groups: dict[str, list[Net]] = {}
        for net in nets:
            groups.setdefault(self._init_of(net), []).append(replace(net, init=None))
        found = []
        # The net that the others start from comes first: it cannot start from itself.
        for init, group in sorted(groups.items()):
            for wanted, several in _chosen(group):
                words = ["-m"] * (several or len(seeds) > 1) + wanted
                words += [f"seed={','.join(map(str, seeds))}"] * bool(seeds)
                words += [f"init={init}"] * bool(init)
                found.append(command(self.runs[0], words, tests))
        return found

    def _init_of(self, net: Net) -> str:
        """The initialisation that a command must name for a net; empty: the recipe's own."""
        if net.init is not None:
            return base(net.init)
        starts_others = net.arch == self.usual.copy_from
        usual = base(self.usual.name)
        return "" if starts_others or usual == self.config.recipe.init else usual

    def made(self) -> list[str]:
        """The command lines that make all runs again, with all that was tested of each.

        On the same machine they give the same numbers bit for bit.
        """
        seeds_of: dict[tuple[Net, Words, Words], list[int]] = {}
        for run in self.runs:
            net, changed = _asked(run, self.net_of(run))
            key = net, (*changed, *_rounding(run.config)), self._tested(run)
            seeds_of.setdefault(key, []).append(run.config.seed)
        nets_of: dict[tuple[tuple[int, ...], Words, Words], list[Net]] = {}
        for (net, changed, tests), seeds in seeds_of.items():
            nets_of.setdefault((tuple(sorted(seeds)), changed, tests), []).append(net)
        return [
            shlex.join([*shlex.split(line), *changed])
            for (seeds, changed, tests), nets in nets_of.items()
            for line in self.commands(nets, tests, seeds)
        ]

    def _tested(self, run: Run) -> Words:
        """The protocols of which a run has all numbers: those of many share views with others."""
        numbers = Counter(one.protocol for one in self.measured if one.runs[0] is run)
        scale = run.config.scale
        return tuple(name for name in PROTOCOLS if numbers[name] == len(readings(name, scale)))

    def experiment_commands(
        self, name: str, nets: Sequence[Net], tests: Sequence[str]
    ) -> list[str]:
        """The command lines of an experiment in the setting and the store of these runs.

        Args:
            name: a file of `conf/experiments/`.
            nets: the nets that it compares, named one by one where the setting's nets start in
                another way than the recipe's own.
            tests: the protocols that it looks at.
        """
        if self.usual.name != self.config.recipe.init:
            return self.commands(nets, tests)
        return [command(self.runs[0], [f"experiments={name}"])]


def _chosen(nets: Sequence[Net]) -> Iterator[tuple[list[str], bool]]:
    """The words that choose nets: those with a file at once, each other one by its parts.

    Yields:
        The words, and whether they are a sweep's.
    """
    files = {net: name for name, net in known().items()}
    if named := [files[net] for net in nets if net in files]:
        yield [f"net={','.join(named)}"], len(named) > 1
    for net in nets:
        if net not in files:
            tuned = [] if net.finetune == "all" else [f"finetune={net.finetune}"]
            yield [f"arch={net.arch}", f"scale={net.scale}", *tuned], False


def word(key: str, value: object) -> str:
    """The word KEY=VALUE of a command, for the shell to be quoted yet."""
    if value is None:
        return f"{key}=null"
    if isinstance(value, str) and not PLAIN.fullmatch(value):
        value = "'" + value.replace("'", "\\'") + "'"
    return f"{key}={value}"


def _as_published(nets: tuple[Net, ...]) -> tuple[Net, ...]:
    """An ensemble, its members in the paper's order where the paper has it."""
    same = (ensemble(row["members"]) for row in numbers.rows(6))
    return next((theirs for theirs in same if set(theirs) == set(nets)), nets)


def by_setting(runs: Sequence[Run], asked: Sequence[str] = ()) -> list[Comparison]:
    """Runs grouped by setting, both in order."""
    groups: dict[Setting, list[Run]] = {}
    for run in runs:
        groups.setdefault(setting(run.config), []).append(run)
    return [Comparison(shared, members, asked) for shared, members in sorted(groups.items())]


def _asked(run: Run, net: Net) -> tuple[Net, Words]:
    """A run's net without what was changed in it and its scale, and the words that change it."""
    words = [
        word(f"{group}.{key}", value)
        for group in ("arch", "scale")
        for key, value in changes(run.config, group).items()
    ]
    return replace(net, arch=base(net.arch), scale=base(net.scale)), tuple(words)


def _rounding(config: Config) -> Iterator[str]:
    """The words that fix in which order numbers are added, where a run had others than usual."""
    usual = choices.config().values
    for key in ("threads", "micro_batch", "channels_last"):
        value = getattr(config, key)
        if value != usual[key]:
            yield word(key, value)


def command(run: Run, wanted: Sequence[str], tests: Sequence[str] = ()) -> str:
    """The command line that runs something in the setting and the store of a run.

    Args:
        run: a run of that setting.
        wanted: words such as `net=D-jitter` or `experiments=depth`.
        tests: the protocols wanted.
    """
    defaults, like = choices.config(), run.config
    words = ["python", "-m", "repro.run", *wanted]
    for group in ("size", "data", "recipe")[: 3 if like.weights is None else 2]:
        name = base(getattr(like, group).name)
        if name != defaults.chosen[group]:
            words.append(f"{group}={name}")
        for key, value in changes(like, group).items():
            words.append(word(f"{group}.{key}", value))
    kind = base(like.data.name)
    usual = choices.choice("data", kind) if kind in choices.names("data") else {}
    if like.data.root != usual.get("root", Data.root):
        words.append(word("data.root", like.data.root))
    if like.precision != "float32":
        words.append(f"precision={like.precision}")
    if set(tests) - set(defaults.values["test"]):
        words.append(f"test=[{','.join(tests)}]")
    store = run.folder.parent
    # What a report keeps of runs is no store to train in.
    if str(store) != "runs" and not (store / RANKS).is_dir():
        words.append(word("runs", str(store)))
    return shlex.join(words)
