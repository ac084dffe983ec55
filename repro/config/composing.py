"""Configurations from the files of `conf/` and the words of a command, through Hydra's API.

Nothing that Hydra's own settings name is called and nothing is set while a configuration is
composed; `repro.config.settings` looks at each before anything is done with it.
"""

from __future__ import annotations

import copy
import functools
import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.config_source import ConfigResult, ConfigSource
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, flag_override
from omegaconf.errors import OmegaConfBaseException

from repro.config import files, overrides, settings
from repro.config.choices import CONF
from repro.config.options import Options
from repro.config.refusals import said
from repro.config.schema import Config, typed
from repro.errors import RequestError, one_line

SCALARS = {key for key, kind in get_type_hints(Config).items() if not is_dataclass(kind)}
JOB = "run"
"""What Hydra calls the program."""


# A preset has its plugin's name, so that Hydra completes it by the plugin's schema: as is meant.
warnings.filterwarnings("ignore", r"\s*'hydra/launcher/\w+' is validated against ConfigStore")


class OwnFiles(ConfigSource):
    """A folder of the user's own files, each of which is looked at before it is taken."""

    @staticmethod
    def scheme() -> str:
        """How the folder is written in Hydra's search path: `own://FOLDER`."""
        return "own"

    def load_config(self, config_path: str) -> ConfigResult:
        """A file of the folder."""
        path = self._place(self._normalize_file_name(config_path))
        text, _ = files.read(path)
        try:
            config = OmegaConf.load(io.StringIO(text))
            header = self._get_header_dict(text[:512])
        except (yaml.YAMLError, ValueError) as error:
            raise files.refusal(path, one_line(error)) from None
        return ConfigResult(self.provider, self.full_path(), config, header)

    def available(self) -> bool:
        """Whether the folder is there."""
        return self.is_group("")

    def is_group(self, config_path: str) -> bool:
        """Whether a path is a folder of files, and not one such as `runs/`, named as a scalar."""
        return config_path not in SCALARS and self._place(config_path).is_dir()

    def is_config(self, config_path: str) -> bool:
        """Whether a path without its `.yaml` is a file."""
        return self._place(self._normalize_file_name(config_path)).is_file()

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        """The names of the groups and files in a group."""
        found: list[str] = []
        for path in sorted(self._place(config_path).iterdir()):
            place = f"{config_path}/{path.name}"
            if path.is_dir() or path.suffix == ".yaml":
                self._list_add_result(found, place, path.name, results_filter)
        return sorted(found)

    def _place(self, config_path: str) -> Path:
        return Path(self.path) / config_path


@dataclass(frozen=True)
class Job:
    """One run of a command."""

    words: tuple[str, ...]
    """What makes it, each with one value; Hydra's own settings are not among them."""
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
        parsed = overrides.parse(options.words)
        parsed = [*overrides.of_published(parsed), *parsed]
        task = [override for override in parsed if not override.is_hydra_override()]
        self._hydra = tuple(str(one.input_line) for one in parsed if one.is_hydra_override())
        self._folder = None
        if options.config_dir is not None:
            self._folder = f"{OwnFiles.scheme()}://{options.config_dir.absolute()}"
            folder = QuotedString(self._folder, Quote.single).with_quotes()
            self._hydra += (f"hydra.searchpath=[{folder}]",)
        self._product = overrides.Product(task, self._choices)
        self._first = self._product.first
        self.config = self._composed(self._first)
        """The first run's, with the node `hydra`, whose launcher works for all."""
        if not (options.multirun or self.config.hydra.mode == RunMode.MULTIRUN):
            for override in task:
                if override.is_sweep_override():
                    hint = "add -m for a sweep" if options.cfg is None else "--cfg prints one"
                    raise RequestError(f"{override.input_line} are several values: {hint}")
            return
        swept = self.config.hydra.sweeper.params or {}
        params = overrides.parse(f"{key}={values}" for key, values in swept.items())
        for override in params:
            if override.is_hydra_override():
                raise settings.refusal(override.key_or_group)
        self._product = overrides.Product([*params, *task], self._choices)

    @property
    def launcher(self) -> str:
        """The name of the launcher: `basic`, Hydra's own, or one of `conf/hydra/launcher`."""
        return str(self.config.hydra.runtime.choices["hydra/launcher"])

    @property
    def loader(self) -> ConfigLoader:
        """What composes a job in a launcher's process."""
        with _hydra() as loader:
            return loader

    def jobs(self) -> Iterator[Job | RequestError]:
        """Each run, composed now, or what is wrong with it."""
        for words in self._product:
            try:
                config = self._composed(words) if words != self._first else self.config
            except RequestError as error:
                yield error
            else:
                yield Job(words, _without_hydra(config))

    def _composed(self, words: Sequence[str]) -> DictConfig:
        config = composed((*words, *self._hydra))
        said = tuple(
            word for word in self._hydra if word.lstrip("+~").startswith("hydra.launcher.")
        )
        settings.check(config, _usual, self._folder, said)
        return config

    def _choices(self, group: str) -> list[str]:
        with _hydra() as loader:
            return loader.get_group_options(group, overrides=list(self._hydra))


def one(words: Sequence[str]) -> Config:
    """The configuration of one run, as `repro.run` takes the same words.

    Raises:
        RequestError: it cannot be composed, or the words are of several runs.
    """
    for override in overrides.parse(words):
        if override.is_sweep_override():
            raise RequestError(f"{override.input_line} are several values: expected one")
    try:
        return typed(_without_hydra(Sweep(Options(tuple(words))).config))
    except OmegaConfBaseException as error:
        raise RequestError(said(error, words)) from None


def shown(options: Options) -> str:
    """What `--cfg` prints: the configuration of one run, as YAML.

    Raises:
        RequestError: it cannot be composed, or has no such part.
    """
    config = copy.deepcopy(Sweep(options).config)
    part: Any = config
    if options.cfg == "job":
        part = _without_hydra(config)
    else:
        with flag_override(config.hydra, ["struct", "readonly"], False):
            # Texts for Hydra's own help.
            del config.hydra["help"], config.hydra["hydra_help"]
        if options.cfg == "hydra":
            part = OmegaConf.masked_copy(config, ["hydra"])
    title = ""
    if options.package not in (None, "_global_"):
        title = f"# @package {options.package}\n"
        part = OmegaConf.select(part, str(options.package))
        if part is None:
            raise RequestError(f"--package {options.package}: there is no such part")
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
    except (HydraException, OmegaConfBaseException) as error:
        raise RequestError(said(error, words)) from None
    except KeyError as error:
        # Hydra looks these names up while it composes.
        raise settings.refusal(f"hydra.job.env_copy=[{error.args[0]}]") from None
    except RecursionError:
        raise RequestError(
            "files of settings build on each other, or one on itself: see their lists of defaults"
        ) from None
    except (yaml.YAMLError, ValueError) as error:
        raise RequestError(f"a file of settings cannot be read: {one_line(error)}") from None


@functools.cache
def _usual(choices: tuple[str, ...], said: tuple[str, ...]) -> DictConfig:
    """The configuration of the suite's and Hydra's own files, and of some words of the command."""
    for word in choices:
        group, _, name = word.partition("=")
        with _hydra() as loader:
            known = loader.get_group_options(group)
        if name not in known:
            instead = f"choose from {', '.join(known)}" if known else "leave it out"
            raise RequestError(f"{word} is not the suite's own or Hydra's: {instead}")
    return composed((*choices, *said))


def _without_hydra(config: DictConfig) -> DictConfig:
    return OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
