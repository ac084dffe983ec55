"""The jobs of a command: composed by Hydra from `conf/` and from a folder of the user's own.

Jobs that differ in values only are copies of one composed configuration, which is far faster.
"""

import argparse
import copy
import functools
import itertools
import math
import os
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, cast

from hydra import compose, initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override, Quote, QuotedString
from hydra.errors import HydraException, MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from repro.config.choices import CONF, groups, names, read_file
from repro.config.schema import Config
from repro.config.values import typed
from repro.errors import RequestError, flat

MOST_RUNS = 10_000
WORD = re.compile(r"\+{0,2}[\w./@-]+=")
GRAMMAR = set(",()[]{}'\"\\")
"""Characters that mean something within a value; all else is text, in whatever script."""
SETTABLE = ("hydra/launcher", "hydra.launcher.", "hydra.mode", "hydra.run.dir", "hydra.sweep.")
"""Beginnings of those of Hydra's own settings that have an effect here."""
CHOICES = (*groups(), "hydra/launcher")
OF_WEIGHTS = (("size=paper", "size"), ("scale=jitter", "scale", "net"))
"""The words that a command with `weights=` means where it has none of these keys: the size and
the test scales of the authors' own nets."""
OF_BOXES = (("test=[box,box_dense]", "test"),)
"""The same of a command with `boxes=`."""

# A preset has its plugin's name, so that Hydra completes it by the plugin's schema: as is meant.
warnings.filterwarnings("ignore", r"\s*'hydra/launcher/\w+' is validated against ConfigStore")


class Composed(NamedTuple):
    """One run: its words, each with one value, and what they compose, without Hydra's own part."""

    words: tuple[str, ...]
    config: DictConfig


class Sweep:
    """All runs that a command asks for; `jobs` has the words of each, be it one."""

    def __init__(self, arguments: Sequence[str], multirun: bool = False) -> None:
        """Reads a command line, a sweep where it says so or `multirun` does, or refuses it."""
        given = _options(arguments)
        self.arguments, self.cfg, self._own = arguments, given.cfg, given.config_dir
        words = [_parsed(word) for word in given.words]
        task = [one for one in words if not one.is_hydra_override()]
        self._hydra = [str(one.input_line) for one in words if one.is_hydra_override()]
        if self._own is not None:
            check_folder(self._own)
            self._hydra.append(f"hydra.searchpath=[{_quoted(f'file://{self._own.absolute()}')}]")
        self._bases: dict[tuple[str, ...], tuple[DictConfig, DictConfig]] = {}
        """By choices: what Hydra composes, and that without Hydra's own part."""
        self.jobs = self._product(task)
        config = self.job(self.jobs[0]).config
        base, _ = next(iter(self._bases.values()))
        if given.multirun or multirun or base.hydra.mode == RunMode.MULTIRUN:
            swept = [f"{key}={values}" for key, values in (base.hydra.sweeper.params or {}).items()]
            if any("hydra" in word.partition("=")[0] for word in swept):
                raise RequestError("hydra.sweeper.params: Hydra's own settings are not swept")
            self.jobs = self._product([*map(_parsed, swept), *task])
        elif several := [one.input_line for one in task if one.is_sweep_override()]:
            raise RequestError(f"{several[0]} are several values: add -m for a sweep")
        keys = {one.key_or_group for one in self.jobs[0]}
        if "net" in keys and (said := keys & {"arch", "scale"}):
            raise RequestError(f"net= says {min(said)}= too: leave out one of the two")
        hydras = _masked(base, lambda key: key == "hydra")
        self.config = cast(DictConfig, OmegaConf.merge(hydras, config))
        """The first run's, with the node `hydra`, whose launcher works for all."""

    @property
    def launcher(self) -> str:
        """The name of the launcher: `basic`, Hydra's own, or one of `conf/hydra/launcher`."""
        return str(self.config.hydra.runtime.choices["hydra/launcher"])

    def shown(self) -> str:
        """The first run's configuration as YAML, as `--cfg` prints it."""
        config = self.config
        if self.cfg != "all":
            config = _masked(config, lambda key: (key == "hydra") == (self.cfg == "hydra"))
        return OmegaConf.to_yaml(config).rstrip()

    def job(self, words: Sequence[Override]) -> Composed:
        """One run, composed now; or a RequestError says what is wrong with it."""
        # With a + the order of words counts: such a job is Hydra's alone.
        plain = not any(one.is_add() or one.is_force_add() for one in words)
        values = [one for one in words if plain and one.key_or_group not in CHOICES]
        choices = tuple(str(one.input_line) for one in words if one not in values)
        if choices not in self._bases:
            base = composed([*choices, *self._hydra])
            self._bases[choices] = base, _masked(base, lambda key: key != "hydra")
        task = copy.deepcopy(self._bases[choices][1])
        for one in values:
            try:
                OmegaConf.update(task, one.key_or_group, one.value(), merge=True)
            except (OmegaConfBaseException, OverflowError) as error:
                raise RequestError(f"{one.input_line}: {_first_line(error)}") from None
        return Composed(tuple(str(one.input_line) for one in words), task)

    def _product(self, words: Iterable[Override]) -> list[tuple[Override, ...]]:
        """Each value of each word with each of the others', as Hydra's own sweeper has them."""
        # Of two words for one key the later one holds.
        values = {one.get_key_element(): self._values(one) for one in words}
        if not 0 < math.prod(map(len, values.values())) <= MOST_RUNS:
            said = " ".join(str(one.input_line) for one in words if one.is_sweep_override())
            raise RequestError(f"{said}: expected at least one run and at most {MOST_RUNS:,}")
        jobs = itertools.product(*(list(map(_parsed, each)) for each in values.values()))
        meant = ("weights", OF_WEIGHTS), ("boxes", OF_BOXES)
        return [(*(one for key in meant for one in _meant(job, *key)), *job) for job in jobs]

    def _values(self, one: Override) -> list[str]:
        """The words of a sweep, one for each value."""
        if not one.is_sweep_override():
            return [str(one.input_line)]
        group, value = one.key_or_group, one.value()
        try:
            if isinstance(value, Glob):
                own = (self._own / group).glob("*.yaml") if self._own else ()
                found: Iterable[str] = value.filter([*names(group), *(file.stem for file in own)])
            else:
                found = itertools.islice(one.sweep_string_iterator(), MOST_RUNS + 1)
            return [f"{one.get_key_element()}={value}" for value in found]
        except ValueError as error:
            raise RequestError(f"{one.input_line}: {error}") from None


def _masked(config: DictConfig, keep: Callable[[str], bool]) -> DictConfig:
    return OmegaConf.masked_copy(config, [key for key in map(str, config) if keep(key)])


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise RequestError(f"{message}; --help says what there is")


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = _Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("words", nargs="*")
    parser.add_argument("-m", "--multirun", action="store_true")
    parser.add_argument("-cd", "--config-dir", type=Path)
    parser.add_argument("-c", "--cfg", choices=("job", "hydra", "all"))
    given = parser.parse_intermixed_args(list(arguments))
    if given.cfg is not None and given.multirun:
        raise RequestError("--cfg prints the configuration of one run: leave out -m")
    return given


@functools.cache
def _parsed(word: str) -> Override:
    """A word, read by Hydra's grammar, that Hydra acts upon as is meant; else it is refused."""
    key, _, value = word.partition("=")
    if key.startswith("~"):
        raise RequestError(f"{word[:99]}: no key is removed; {key[1:]}=null sets it to none")
    if not WORD.match(word) or value.startswith("~"):
        said = f"{word[:99]}: expected KEY=VALUE, as in arch=D or recipe.clip=null (none)"
        raise RequestError(f'{said}; a ~ after = is no home: runs="$HOME"/runs')
    if "${" in value:
        raise RequestError(f"{word[:99]}: expected plain text, without ${{")
    parser = OverridesParser.create()
    try:
        one = parser.parse_override(word)
    except (HydraException, ValueError) as error:
        if isinstance(error, ValueError) or GRAMMAR & set(value):
            advice = f"plain text is quoted twice, as in \"{key}='...'\""
            raise RequestError(f"{word[:99]} cannot be read; {advice}") from None
        # Of letters that the grammar does not know, as in a path.
        one = parser.parse_override(quoted_word(key, value))
    swept = one.is_sweep_override()
    if "hydra" in key and (swept or not key.startswith(SETTABLE)):
        said = f"of Hydra's own settings {', '.join(SETTABLE)} are set, for the whole command"
        raise RequestError(f"{word}: {said} (docs/hydra.md)")
    if swept and (key == "experiments" or not one.is_discrete_sweep()):
        raise RequestError(f"{word}: expected values to run in turn (of experiments, one)")
    none = one.value() is None and key in ("net", "experiments")
    named = swept or none or (isinstance(one.value(), str) and ".." not in value)
    if one.key_or_group in CHOICES and not named:
        raise RequestError(f"{word}: choose one from {', '.join(names(one.key_or_group))}")
    return one


def _meant(words: Sequence[Override], key: str, others: Iterable[Sequence[str]]) -> list[Override]:
    """The words that a command with a key means where it says nothing else."""
    named = {one.key_or_group: one for one in words}
    if key not in named or (given := named[key].value()) in (None, "none"):
        return []
    if key == "weights" and os.path.isdir(os.path.expanduser(str(given))):
        # A run's folder says what its net is.
        return []
    return [_parsed(w) for w, *keys in others if not named.keys() & {*keys, "experiments"}]


def quoted_word(key: str, value: str) -> str:
    """The word KEY=VALUE whose value is taken as it is, whatever characters it has."""
    return f"{key}={_quoted(value)}"


def _quoted(value: str) -> str:
    return QuotedString(value, Quote.single).with_quotes()


def check_folder(folder: Path) -> None:
    """Refuse a folder of one's own that is not as `conf/`, or says more of Hydra than sweeps."""
    if not folder.is_dir():
        raise RequestError(f"--config-dir {folder}: there is no such folder")
    for place in folder.iterdir():
        # A folder `runs` would make a choice of the word `runs=`.
        if place.is_dir() and place.name[0] != "." and place.name not in groups():
            raise RequestError(f"{place}: expected folders {', '.join(groups())} in --config-dir")
    for path in sorted(folder.rglob("*.yaml")):
        group, *inner = path.relative_to(folder).with_suffix("").parts
        if not inner and group[0] != ".":
            raise RequestError(f"{path}: expected in the folder of a group, as in recipe/")
        if "/".join(inner) in names(group):
            raise RequestError(f"{path}: the suite has a file of this name, give yours another")
        content, tree = read_file(path)
        hydra = tree.get("hydra", {})
        sweeper = hydra.get("sweeper", {"params": {}}) if isinstance(hydra, dict) else None
        swept = isinstance(sweeper, dict) and sweeper.keys() == {"params"}
        package = set(re.findall(r"@\s*package\s+(\S+)", content)) - {"_global_", "_group_"}
        chosen = "hydra" in str(tree.get("defaults"))
        if not swept or not hydra.keys() <= {"mode", "sweeper"} or chosen or package:
            said = "hydra.mode and hydra.sweeper.params, and of packages _global_"
            raise RequestError(f"{path}: of Hydra's own settings a file has {said} only")
        if "${" in content:
            raise RequestError(f"{path}: expected plain text, without ${{")


@contextmanager
def hydra() -> Iterator[ConfigLoader]:
    """Hydra, set up to compose from `conf/`."""
    # The first of config.yaml's defaults.
    ConfigStore.instance().store(name="schema", node=Config)
    with initialize_config_dir(str(CONF), "run", version_base="1.3"):
        yield GlobalHydra.instance().config_loader()


def composed(words: Sequence[str]) -> DictConfig:
    """The configuration of one run, with the node `hydra`; a wrong word or file is refused."""
    try:
        with hydra():
            return compose("config", list(words), return_hydra_config=True)
    except Exception as error:
        # A file may be wrong in any way, and Hydra's code is no reader of hostile ones.
        raise RequestError(_said(error)) from error


def config_of(words: Sequence[str]) -> Config:
    """The configuration of one run, as `repro.run` takes the same words."""
    sweep = Sweep(words)
    return typed(sweep.job(sweep.jobs[0]).config)


def _said(error: BaseException) -> str:
    """One line about an error that Hydra raised while composing."""
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options:
        group, _, name = error.missing_cfg_file.rpartition("/")
        return f"{group}={name} is not known: choose from {', '.join(error.options)}"
    below: Any = error.__cause__ or error.__context__
    if not isinstance(below, OmegaConfBaseException):
        return f"the settings cannot be composed: {_first_line(error)}"
    return f"{_first_line(error)}: {below.full_key or ''}: {_first_line(below)}"


def _first_line(error: BaseException) -> str:
    """Without what follows for Hydra's developers."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return flat(lines[0]).rstrip(".:")
