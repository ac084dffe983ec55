"""The jobs of a command: composed by Hydra from `conf/` and from a folder of the user's own.

Hydra composes a configuration for each set of choices. Jobs that differ in values only are copies
of it with these values put in, as Hydra puts them in, which takes a twentieth of the time.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, cast

from hydra import compose, initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.core.plugins import Plugins
from hydra.errors import MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from repro.config import overrides
from repro.config.choices import CONF
from repro.config.options import Options
from repro.config.own import OwnFiles
from repro.config.schema import Config, typed
from repro.errors import RequestError, flat

JOB = "run"
"""Hydra's name for the program."""

# A preset has its plugin's name, so that Hydra completes it by the plugin's schema: as is meant.
warnings.filterwarnings("ignore", r"\s*'hydra/launcher/\w+' is validated against ConfigStore")


@dataclass(frozen=True)
class Job:
    """One run of a command."""

    words: tuple[str, ...]
    """The words of the command for this run, each with one value, without Hydra's own settings."""
    config: DictConfig
    """Without the node `hydra`."""


class Sweep:
    """All runs that a command asks for; of one run too."""

    def __init__(self, options: Options) -> None:
        """
        Args:
            options: of the command.

        Raises:
            RequestError: what is wrong with it.
        """
        self.options = options
        given = overrides.parse(options.words)
        given = [*overrides.of_weights(given), *given]
        task = [one for one in given if not one.is_hydra_override()]
        self._hydra = [str(one.input_line) for one in given if one.is_hydra_override()]
        if options.config_dir is not None:
            folder = f"{OwnFiles.scheme()}://{options.config_dir.absolute()}"
            folder = QuotedString(folder, Quote.single).with_quotes()
            self._hydra.append(f"hydra.searchpath=[{folder}]")
        self._bases: dict[tuple[str, ...], tuple[DictConfig, DictConfig]] = {}
        self._jobs = overrides.product(task, self._choices)
        base, config = self._job(self._jobs[0])
        self.config = cast(DictConfig, OmegaConf.merge(base, config))
        """The first run's, with the node `hydra`, whose launcher works for all."""
        if options.multirun or base.hydra.mode == RunMode.MULTIRUN:
            swept = base.hydra.sweeper.params or {}
            words = [f"{key}={values}" for key, values in swept.items()]
            if any(word.lstrip("+~").startswith("hydra") for word in words):
                raise RequestError("hydra.sweeper.params: Hydra's own settings are not swept")
            self._jobs = overrides.product([*overrides.parse(words), *task], self._choices)
        elif several := [one.input_line for one in task if one.is_sweep_override()]:
            hint = "add -m for a sweep" if options.cfg is None else "--cfg prints one"
            raise RequestError(f"{several[0]} are several values: {hint}")

    @property
    def launcher(self) -> str:
        """The name of the launcher: `basic`, Hydra's own, or one of `conf/hydra/launcher`."""
        return str(self.config.hydra.runtime.choices["hydra/launcher"])

    @property
    def loader(self) -> ConfigLoader:
        """The loader that composes a job in a launcher's process."""
        with _hydra() as loader:
            return loader

    def jobs(self) -> Iterator[Job | RequestError]:
        """Each run, composed now, or what is wrong with it."""
        for job in self._jobs:
            try:
                yield Job(tuple(str(one.input_line) for one in job), self._job(job)[1])
            except RequestError as error:
                yield error

    def _job(self, job: Sequence[Override]) -> tuple[DictConfig, DictConfig]:
        """What Hydra composed for the choices of a job; the job's configuration."""
        # With a + the order of words counts: such a job is Hydra's alone.
        plain = not any(one.is_add() or one.is_force_add() for one in job)
        values = [one for one in job if plain and not overrides.is_choice(one)]
        words = tuple(str(one.input_line) for one in job if one not in values)
        if words not in self._bases:
            whole = composed([*words, *self._hydra])
            self._bases[words] = whole, _without_hydra(whole)
        whole, task = self._bases[words]
        task = copy.deepcopy(task)
        for one in values:
            try:
                OmegaConf.update(task, one.key_or_group, one.value(), merge=True)
            except OmegaConfBaseException as error:
                raise RequestError(f"{one.input_line}: {_first_line(error)}") from None
        return whole, task

    def _choices(self, group: str) -> list[str]:
        with _hydra() as loader:
            return loader.get_group_options(group, overrides=list(self._hydra))


def one(words: Sequence[str]) -> Config:
    """The configuration of one run, as `repro.run` takes the same words.

    Raises:
        RequestError: it cannot be composed, or the words are of several runs.
    """
    (job, *more) = Sweep(Options(tuple(words))).jobs()
    if isinstance(job, RequestError):
        raise job
    if more:
        raise RequestError(f"{' '.join(words)} are several runs: expected one")
    return typed(job.config)


def shown(options: Options) -> str:
    """The text that `--cfg` prints: the configuration of one run, as YAML.

    Raises:
        RequestError: it cannot be composed, or has no such part.
    """
    config = Sweep(options).config
    part: Any = config
    if options.cfg == "job":
        part = _without_hydra(config)
    elif options.cfg == "hydra":
        part = OmegaConf.masked_copy(config, ["hydra"])
    title = ""
    if options.package not in (None, "_global_"):
        title, found = f"# @package {options.package}\n", None
        with suppress(OmegaConfBaseException):
            found = OmegaConf.select(part, str(options.package))
        if found is None:
            raise RequestError(f"--package {options.package}: there is no such part")
        part = found
    if not OmegaConf.is_config(part):
        return str(part)
    return title + OmegaConf.to_yaml(part, resolve=options.resolve).rstrip()


def register() -> None:
    """Make the schema known to Hydra as the node `schema`, the first of config.yaml's defaults."""
    ConfigStore.instance().store(name="schema", node=Config)


@contextmanager
def _hydra() -> Iterator[ConfigLoader]:
    register()
    with initialize_config_dir(str(CONF), JOB, version_base="1.3"):
        Plugins.instance().register(OwnFiles)
        yield GlobalHydra.instance().config_loader()


def composed(words: Sequence[str]) -> DictConfig:
    """The configuration of one run, with the node `hydra`.

    Raises:
        RequestError: what is wrong with the words, or with a file.
    """
    try:
        with _hydra():
            return compose("config", list(words), return_hydra_config=True)
    except RequestError:
        raise
    except Exception as error:
        # A file may be wrong in any way, and Hydra's code is no reader of hostile ones.
        raise RequestError(_said(error, words)) from error


def _without_hydra(config: DictConfig) -> DictConfig:
    return OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])


def _said(error: BaseException, words: Sequence[str]) -> str:
    """What is wrong, in one line, by what Hydra raised while composing."""
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options:
        group, _, name = error.missing_cfg_file.rpartition("/")
        said = f"{group}={name} is not known: choose from {', '.join(error.options)}"
        return said if any(f"{group}=" in word for word in words) else f"in a file, {said}"
    if isinstance(error, RecursionError):
        return "files of settings build on each other, or one on itself: see their defaults"
    below = error.__cause__ or error.__context__
    if not isinstance(below, OmegaConfBaseException):
        return f"the settings cannot be composed: {_first_line(error)}"
    key = f"{below.full_key}: " if below.full_key else ""
    return f"{_first_line(error)}: {key}{_first_line(below)}"


def _first_line(error: BaseException) -> str:
    """Without what follows for Hydra's developers."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return flat(lines[0]).rstrip(".:")
