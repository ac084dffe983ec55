"""Runs that may be compared with each other, and the command that makes another of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import yaml

from repro.config import CONF, Config, choice
from repro.store.identity import base, changes
from repro.store.runs import Run


@dataclass(frozen=True, order=True)
class Setting:
    """What all runs of one comparison share; numbers of two settings are never mixed."""

    data: str
    size: str
    recipe: str
    init: str
    precision: str

    def __str__(self) -> str:
        words = f"{self.data}, size {self.size}, recipe {self.recipe}, init {self.init}"
        return words if self.precision == "float32" else f"{words}, {self.precision}"

    @property
    def slug(self) -> str:
        """For names of files."""
        words = (self.data, self.size, self.recipe, self.init, self.precision)
        return "-".join(words).replace("=", "-").replace("+", "-").replace(".", "_")


def setting(config: Config) -> Setting:
    """The setting of a run."""
    return Setting(
        config.data.name,
        config.size.name,
        config.recipe.name,
        config.init.name,
        config.precision,
    )


def by_setting(runs: list[Run]) -> dict[Setting, list[Run]]:
    """Runs grouped by setting, both in order."""
    groups: dict[Setting, list[Run]] = {}
    for run in runs:
        groups.setdefault(setting(run.config), []).append(run)
    return dict(sorted(groups.items()))


@lru_cache
def _config() -> dict[str, Any]:
    tree: dict[str, Any] = yaml.safe_load((CONF / "config.yaml").read_text(encoding="utf-8"))
    return tree


def _defaults() -> dict[str, str]:
    groups: dict[str, str] = {}
    for row in _config()["defaults"]:
        if isinstance(row, dict):
            groups |= row
    return groups


def command(
    run: Run, *, arch: str, scale: str, test: str | None = None, finetune: Sequence[str] = ()
) -> str:
    """The command line that makes a run in the setting and the store of another one.

    Args:
        run: a run of that setting.
        arch: the configuration wanted.
        scale: the training scale wanted.
        test: the protocol wanted.
        finetune: `["fc"]` where only the FC layers are to be tuned.
    """
    defaults, like = _defaults(), run.config
    words = ["python -m repro.run", f"arch={arch}"]
    if scale != defaults["scale"]:
        words.append(f"scale={scale}")
    for group in ("size", "data", "recipe"):
        name = base(getattr(like, group).name)
        if name != defaults[group]:
            words.append(f"{group}={name}")
        for key, value in changes(like, group).items():
            words.append(f"{group}.{key}={'null' if value is None else value}")
    if like.data.root != choice("data", base(like.data.name)).get("root", "data"):
        words.append(f"data.root={like.data.root}")
    if like.init.name != like.recipe.init:
        words.append(f"init={base(like.init.name)}")
    if like.precision != "float32":
        words.append(f"precision={like.precision}")
    words += [f"finetune={layers}" for layers in finetune]
    if test is not None and test not in _config()["test"]:
        # Quoted, for shells to which brackets mean files.
        words.append(f"'test=[{test}]'")
    if str(run.folder.parent) != "runs":
        words.append(f"runs={run.folder.parent}")
    return " ".join(words)
