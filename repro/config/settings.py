"""What a request may set of Hydra's own settings, the node `hydra`: how to sweep, and where.

Hydra calls what its settings name (callbacks, handlers of logs, launchers) and sets the environment
as they say, so that whoever writes a file of settings could run anything. So each configuration,
of a command or of one job of a sweep, is compared with that of the suite's and Hydra's own files
alone. Nothing is acted upon while it is composed, and what differs is refused before anything is.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from omegaconf import DictConfig, OmegaConf

from repro.errors import RequestError

Key = tuple[str, ...]

SETTABLE = ("mode", "run.dir", "sweep.dir", "sweep.subdir", "sweeper.params")
WRITTEN = ("overrides", "runtime", "job.override_dirname")
"""What Hydra itself writes there: the words of the command, versions and folders."""
MADE = ("launcher", "sweeper")
"""What Hydra makes objects of, with all its interpolations resolved: one may bring a target."""
MOST_JOBS = 1024
STEM = re.compile(r"\w[\w.+=-]*")


def check(
    config: DictConfig,
    usual: Callable[[Key, Key], DictConfig],
    folder: str | None,
    said: Key = (),
) -> None:
    """Refuse a configuration that sets more of Hydra's own settings than a request may.

    Args:
        config: as it was composed, of a command or of one job of a sweep.
        usual: the configuration of the suite's and Hydra's own files alone, with given choices of
            theirs among Hydra's settings, and with some words of the command.
        folder: of the user's own files, as it stands in Hydra's search path.
        said: the command's words about the launcher. Only they may set its values: some of these
            are lines for a shell.

    Raises:
        RequestError: with the setting, and those that can be set.
    """
    chosen = {str(group): name for group, name in config.hydra.runtime.choices.items() if name}
    for group, name in chosen.items():
        for choice in [name] if isinstance(name, str) else name:
            if not STEM.fullmatch(str(choice)):
                raise RequestError(f"{group}={choice}: expected the name of a file, not its path")
    words = tuple(f"{group}={name}" for group, name in chosen.items() if "hydra/" in group)
    expected = _leaves(_tree(usual(words, ())))
    if folder is not None:
        # An option of the command names it.
        del expected["searchpath",]
        expected["searchpath", "0"] = folder
    found = _leaves(_tree(config))
    for key in (*found, *expected):
        same = key in found and key in expected and found[key] == expected[key]
        if not same and not _may_differ(key, expected):
            raise refusal(".".join(("hydra", *key)))
    _check_launcher(config, usual(words, said))
    jobs = found.get(("launcher", "n_jobs"), 1)
    if isinstance(jobs, int) and (jobs == 0 or abs(jobs) > MOST_JOBS):
        raise RequestError(
            f"hydra.launcher.n_jobs={jobs}: expected how many runs at once, up to {MOST_JOBS}, "
            "or -1: as many as there are cores"
        )


def _check_launcher(config: DictConfig, usual: DictConfig) -> None:
    # As they are written: what stands for the folder of runs has another value in each command.
    found, expected = (
        _leaves(OmegaConf.to_container(OmegaConf.create({"launcher": one.hydra.launcher})))
        for one in (config, usual)
    )
    for key in (*found, *expected):
        if found.get(key) != expected.get(key):
            raise RequestError(
                f"{'.'.join(('hydra', *key))} is set by a file: the launcher's own values are "
                "taken from the command's words only"
            )


def _may_differ(key: Key, expected: dict[Key, Any]) -> bool:
    if any(part.startswith("_") for part in key):
        # Such as _target_, below a setting that may be a tree.
        return False
    beginnings = [key[:end] for end in range(1, len(key) + 1)]
    if key[0] == "launcher":
        # A value of the launcher's own, or what stands in a list or tree that is one.
        return any(beginning in expected for beginning in beginnings)
    return any(".".join(beginning) in (*SETTABLE, *WRITTEN) for beginning in beginnings)


def refusal(setting: str) -> RequestError:
    """The refusal of a setting of Hydra's own, with those that can be set."""
    settable = ", ".join(f"hydra.{key}" for key in SETTABLE)
    return RequestError(
        f"{setting} cannot be set: of Hydra's own settings, a request has {settable} and those of "
        "the launcher, as in conf/hydra/launcher"
    )


def _tree(config: DictConfig) -> dict[str, Any]:
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
