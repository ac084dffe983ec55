"""What a request may set of Hydra's own settings, the node `hydra`: how to sweep, and where.

Hydra calls what its settings name (callbacks, handlers of logs, launchers) and sets the environment
as they say, so that whoever writes a file of settings could run anything. So each configuration
that Hydra composes, of a command or of one job of a sweep, is compared with that of the suite's
and Hydra's own files alone, before Hydra acts on it.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from repro.config.choices import CONF
from repro.errors import RequestError, one_line

if TYPE_CHECKING:
    from omegaconf import DictConfig

Key = tuple[str, ...]

SETTABLE = ("mode", "run.dir", "sweep.dir", "sweep.subdir", "sweeper.params")
WRITTEN = ("overrides", "runtime", "job.override_dirname")
"""What Hydra itself writes there: the words of the command, versions and folders."""
MADE = ("launcher", "sweeper")
"""What Hydra makes objects of, with all its interpolations resolved: one may bring a target."""
MOST_JOBS = 1024
STEM = re.compile(r"\w[\w.+=-]*")


@contextmanager
def checked() -> Iterator[None]:
    """Hydra composes nothing that sets more of its own settings than a request may.

    Raises:
        RequestError: with the setting, and those that can be set.
    """
    from hydra._internal.config_loader_impl import ConfigLoaderImpl
    from hydra.core.utils import JobRuntime

    compose = ConfigLoaderImpl.load_configuration

    def checks(
        self: ConfigLoaderImpl, config_name: str | None, overrides: list[str], **how: Any
    ) -> DictConfig:
        _check_words(overrides)
        try:
            config = compose(self, config_name, overrides, **how)
        except KeyError as error:
            # Hydra looks these names up while it composes.
            raise _refusal(f"hydra.job.env_copy=[{error.args[0]}]") from None
        except ValueError as error:
            # YAML reads no number of thousands of digits.
            raise RequestError(f"a file of settings cannot be read: {one_line(error)}") from None
        job = JobRuntime.instance().get("name")
        _check(config, functools.partial(_own, compose, config_name, job))
        return config

    ConfigLoaderImpl.load_configuration = checks  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        ConfigLoaderImpl.load_configuration = compose  # type: ignore[method-assign]


def _check_words(words: list[str]) -> None:
    """Refuse what Hydra imports while it composes, or what makes it break off."""
    for word in words:
        if word.lstrip(" +~").startswith("hydra.searchpath"):
            raise RequestError(f"{word} is refused: --config-dir names a folder of your own files")
        if word.lstrip(" +~").startswith("hydra.sweeper.params"):
            raise RequestError(f"{word} is for files: words sweep by themselves, as in -m seed=0,1")


def _check(config: DictConfig, own: Callable[[Key], dict[Key, Any]]) -> None:
    from omegaconf import OmegaConf

    choices = OmegaConf.to_container(config.hydra.runtime.choices)
    assert isinstance(choices, dict)
    chosen = {str(group): name for group, name in choices.items() if name}
    for group, name in chosen.items():
        for choice in name if isinstance(name, list) else [name]:
            if not STEM.fullmatch(str(choice)):
                raise RequestError(f"{group}={choice}: expected the name of a file, not its path")
    expected = own(tuple(f"{group}={name}" for group, name in chosen.items() if "hydra/" in group))
    found = _leaves(_tree(config))
    for key in (*found, *expected):
        same = key in found and key in expected and found[key] == expected[key]
        if not same and not _may_differ(key, expected):
            raise _refusal(".".join(("hydra", *key)))
    jobs = found.get(("launcher", "n_jobs"), 1)
    if isinstance(jobs, int) and (jobs == 0 or abs(jobs) > MOST_JOBS):
        raise RequestError(
            f"hydra.launcher.n_jobs={jobs}: expected how many runs at once, up to {MOST_JOBS}, "
            "or -1: as many as there are cores"
        )


@functools.cache
def _own(
    compose: Callable[..., DictConfig], config_name: str | None, job: str, words: Key
) -> dict[Key, Any]:
    """Hydra's settings by the suite's and Hydra's own files, with choices of theirs.

    `job` is one of these settings, which Hydra knows by itself.
    """
    from hydra._internal.config_loader_impl import ConfigLoaderImpl
    from hydra._internal.utils import create_config_search_path
    from hydra.types import RunMode

    loader = ConfigLoaderImpl(create_config_search_path(str(CONF)))
    for word in words:
        group, _, name = word.partition("=")
        known = loader.get_group_options(group)
        if name not in known:
            raise RequestError(
                f"{word} is not the suite's own or Hydra's: choose from {', '.join(known)}"
                if known
                else f"{word} is not the suite's own or Hydra's: leave it out"
            )
    return _leaves(_tree(compose(loader, config_name, list(words), RunMode.RUN)))


def _may_differ(key: Key, expected: dict[Key, Any]) -> bool:
    if any(part.startswith("_") for part in key):
        # Such as _target_, below a setting that may be a tree.
        return False
    beginnings = [key[:end] for end in range(1, len(key) + 1)]
    if key[0] == "launcher":
        # A value of the launcher's own, or what stands in a list or tree that is one.
        return any(beginning in expected for beginning in beginnings)
    return any(".".join(beginning) in (*SETTABLE, *WRITTEN) for beginning in beginnings)


def _refusal(setting: str) -> RequestError:
    settable = ", ".join(f"hydra.{key}" for key in SETTABLE)
    return RequestError(
        f"{setting} cannot be set: of Hydra's own settings, a request has {settable} and those of "
        "the launcher, as in conf/hydra/launcher"
    )


def _tree(config: DictConfig) -> dict[str, Any]:
    from omegaconf import OmegaConf

    tree = OmegaConf.to_container(config.hydra)
    assert isinstance(tree, dict)
    for part in MADE:
        made = OmegaConf.select(config.hydra, part)
        tree[part] = (
            OmegaConf.to_container(made, resolve=True) if OmegaConf.is_config(made) else made
        )
    return {str(key): value for key, value in tree.items()}


def _leaves(tree: Any, key: Key = ()) -> dict[Key, Any]:
    """The values at the ends of a tree, each with the way to it; an empty branch is an end too."""
    if isinstance(tree, list):
        tree = dict(enumerate(tree))
    if not isinstance(tree, dict) or not tree:
        return {key: tree}
    return {
        way: value
        for name, branch in tree.items()
        for way, value in _leaves(branch, (*key, str(name))).items()
    }
