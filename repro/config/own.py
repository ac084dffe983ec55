"""A folder of the user's own files, laid out as `conf/`, which `--config-dir` names.

Anyone may have written them. So each is plain data: nothing in it stands for anything else, and
it says nothing of Hydra's own settings, which Hydra calls and sets, but what an experiment sweeps.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigResult, ConfigSource
from omegaconf import OmegaConf

from repro.config import choices, files

PACKAGES = (None, "_global_", "_group_")
"""Where a file's keys may stand, by its line `# @package`."""


class OwnFiles(ConfigSource):
    """Hydra's way to such a folder: its groups are those of `conf/`."""

    @staticmethod
    def scheme() -> str:
        """How the folder is written in Hydra's search path: `own://FOLDER`."""
        return "own"

    def load_config(self, config_path: str) -> ConfigResult:
        """A file of the folder.

        Raises:
            RequestError: it cannot be read, or says more than such a file may.
        """
        path = self._place(self._normalize_file_name(config_path))
        text, tree = files.read(path)
        try:
            header = self._get_header_dict(text)
            check(tree, header["package"])
            config = OmegaConf.create(tree)
        except ValueError as error:
            raise files.refusal(path, str(error)) from None
        return ConfigResult(self.provider, self.full_path(), config, header)

    def available(self) -> bool:
        """Whether the folder is there."""
        return os.path.isdir(self.path)

    def is_group(self, config_path: str) -> bool:
        """Whether a path is a folder of files, and not one such as `runs/`, named as a scalar."""
        return self._known(config_path) and os.path.isdir(self._place(config_path))

    def is_config(self, config_path: str) -> bool:
        """Whether a path without its `.yaml` is a file of a group."""
        path = self._place(self._normalize_file_name(config_path))
        return self._known(config_path) and os.path.isfile(path)

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        """The names of the files in a group."""
        found = self._place(config_path).glob("*.yaml")
        return [] if results_filter == ObjectType.GROUP else sorted(path.stem for path in found)

    def _known(self, config_path: str) -> bool:
        parts = config_path.split("/")
        return parts[0] in choices.groups() and ".." not in parts

    def _place(self, config_path: str) -> Path:
        return Path(self.path) / config_path


def check(tree: dict[str, Any], package: str | None) -> None:
    """Refuse a file of other people's that says more than a choice of a group.

    Raises:
        ValueError: what it may not say.
    """
    if package not in PACKAGES:
        raise ValueError(f"@package {package}: expected _global_, or no such line")
    if "hydra" in str(tree.get("defaults")):
        raise ValueError("defaults: of Hydra's own choices none is made by a file")
    if "hydra" in tree and not _sweeps(tree["hydra"]):
        raise ValueError(
            "hydra: of Hydra's own settings a file has mode and sweeper.params; give the others "
            "on the command line"
        )
    for text in _texts(tree):
        if "${" in text or not text.isprintable():
            raise ValueError(f"{text[:40]!a}: expected plain text, without ${{")


def _sweeps(node: Any) -> bool:
    match node:
        case {"mode": _, **rest} if not rest:
            return True
        case {"sweeper": {"params": dict(), **more}, **rest}:
            return not more and rest.keys() <= {"mode"}
    return False


def _texts(tree: Any) -> Iterator[str]:
    if isinstance(tree, dict):
        tree = [*tree, *tree.values()]
    if isinstance(tree, list):
        for one in tree:
            yield from _texts(one)
    elif isinstance(tree, str):
        yield tree
