"""The files of `conf/`: where they lie, which choices a group has, and what each holds."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from repro.errors import RequestError

PACKAGE = Path(__file__).resolve().parents[1]
# The wheel carries conf/ inside the package; a checkout has it at its root.
CONF = PACKAGE / "conf" if (PACKAGE / "conf").is_dir() else PACKAGE.parent / "conf"


@dataclass(frozen=True)
class Choice:
    """What `conf/GROUP/NAME.yaml` holds, with the files that it builds on."""

    comment: str
    """What the file says that it is."""
    values: dict[str, Any]
    chosen: dict[str, str | None]
    """By group the choices that it makes, or changes, in other groups."""

    @property
    def swept(self) -> dict[str, list[str]]:
        """What an experiment varies: by key, its values as words."""
        params = self.values.get("hydra", {}).get("sweeper", {}).get("params", {})
        return {
            key: [word.strip() for word in str(words).split(",")] for key, words in params.items()
        }


def names(group: str) -> tuple[str, ...]:
    """The choices of a group."""
    return tuple(sorted(file.stem for file in (CONF / group).glob("*.yaml")))


def unknown_choice(group: str, name: object) -> RequestError:
    """The refusal of a choice that there is not, with those that there are."""
    return RequestError(f"{group}={name} is not known: choose from {', '.join(names(group))}")


def choice(group: str, name: str) -> dict[str, Any]:
    """The values of `conf/GROUP/NAME.yaml`, with those of the files that it builds on.

    Raises:
        RequestError: there is no such file.
    """
    return read(group, name).values


def read(group: str, name: str) -> Choice:
    """A file of a group, with the files that it builds on.

    Raises:
        RequestError: there is no such file.
    """
    # Listed instead of looked for: `../arch/A` would be a file too.
    if name not in names(group):
        raise unknown_choice(group, name)
    return _read(CONF / group / f"{name}.yaml")


@lru_cache
def config() -> Choice:
    """`conf/config.yaml`: the scalars, and the default of each group."""
    return _read(CONF / "config.yaml")


def _read(file: Path) -> Choice:
    tree: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    base: dict[str, Any] = {}
    chosen: dict[str, str | None] = {}
    for entry in tree.pop("defaults", []):
        if isinstance(entry, dict):
            chosen |= {k.removeprefix("override ").lstrip("/"): v for k, v in entry.items()}
        elif file.parent != CONF:
            base |= choice(file.parent.name, entry)
    return Choice(first_comment(file), base | tree, chosen)


def first_comment(file: Path) -> str:
    """What a file of `conf/` says that it is: its first line of comment that is not Hydra's."""
    found = (comment for comment in comments(file) if not comment.startswith("@package"))
    return next(found, "")


def note(group: str, name: str, key: str) -> str:
    """What a comment `# KEY: ...` of a file says, for keys that are no part of a configuration.

    Empty where the file has no such comment.
    """
    found = (line.partition(":") for line in comments(CONF / group / f"{name}.yaml"))
    return next((text.strip() for word, _, text in found if word == key), "")


def comments(file: Path) -> list[str]:
    """The lines of comment of a file of `conf/`."""
    lines = file.read_text(encoding="utf-8").splitlines()
    return [line.removeprefix("#").strip() for line in lines if line.startswith("#")]
