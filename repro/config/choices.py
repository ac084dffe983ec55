"""The files of `conf/`, read without Hydra: which choices a group has, and what each holds.

Hydra composes what is run. The help, the report and the names of runs read one file at a time,
with the files of its group that it builds on, which is faster and needs no Hydra.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from repro.config import files
from repro.errors import RequestError

PACKAGE = Path(__file__).resolve().parents[1]
# The wheel carries conf/ inside the package; a checkout has it at its root.
CONF = PACKAGE / "conf" if (PACKAGE / "conf").is_dir() else PACKAGE.parent / "conf"

ITSELF = "_self_"


@dataclass(frozen=True)
class Choice:
    """The content of `conf/GROUP/NAME.yaml`, with that of the files that it builds on."""

    comment: str
    """What the file says that it is."""
    values: dict[str, Any]
    chosen: dict[str, str | None]
    """By group the choices that it makes, or changes, in other groups."""

    @property
    def swept(self) -> dict[str, list[str]]:
        """By key, the values that an experiment varies, as words."""
        params = self.values.get("hydra", {}).get("sweeper", {}).get("params", {})
        return {
            key: [word.strip() for word in str(words).split(",")] for key, words in params.items()
        }


def groups() -> tuple[str, ...]:
    """The groups of `conf/`, without Hydra's own."""
    return tuple(sorted(p.name for p in CONF.iterdir() if p.is_dir() and p.name != "hydra"))


def names(group: str) -> tuple[str, ...]:
    """The choices of a group."""
    return tuple(sorted(file.stem for file in (CONF / group).glob("*.yaml")))


def unknown_choice(group: str, name: object) -> RequestError:
    """The refusal of a choice that there is not, with those that there are."""
    return RequestError(f"{group}={name} is not known: choose from {', '.join(names(group))}")


def choice(group: str, name: str) -> dict[str, Any]:
    """The values of `conf/GROUP/NAME.yaml`, with those of the files that it builds on.

    Raises:
        RequestError: there is no such file, or it cannot be read.
    """
    return read(group, name).values


def read(group: str, name: str) -> Choice:
    """A file of a group, with the files that it builds on.

    Raises:
        RequestError: there is no such file, or it cannot be read.
    """
    # Listed instead of looked for: `../arch/A` would be a file too.
    if name not in names(group):
        raise unknown_choice(group, name)
    return _read(CONF / group / f"{name}.yaml")


@lru_cache
def config() -> Choice:
    """`conf/config.yaml`: the scalars, and the default of each group."""
    return _read(CONF / "config.yaml")


def scalar_lines() -> list[str]:
    """The lines of `config.yaml` with the scalars and what is said of them."""
    lines = files.text(CONF / "config.yaml").splitlines()
    starts = [line.partition(":")[0] for line in lines]
    return lines[starts.index("seed") : starts.index("hydra")]


def first_comment(group: str, name: str) -> str:
    """The first line of comment of a file that is not Hydra's."""
    return _first(files.text(CONF / group / f"{name}.yaml"))


def note(group: str, name: str, key: str) -> str:
    """The text of a comment `# KEY: ...` of a file; empty where it has no such comment."""
    text = files.text(CONF / group / f"{name}.yaml")
    found = (line.partition(":") for line in _comments(text))
    return next((said.strip() for word, _, said in found if word == key), "")


def _first(text: str) -> str:
    return next((line for line in _comments(text) if not line.startswith("@package")), "")


def _comments(text: str) -> list[str]:
    return [line.removeprefix("#").strip() for line in text.splitlines() if line.startswith("#")]


def _read(file: Path, above: tuple[Path, ...] = ()) -> Choice:
    text, tree = files.read(file)
    values: dict[str, Any] = {}
    chosen: dict[str, str | None] = {}
    defaults = tree.pop("defaults", None) or []
    if not isinstance(defaults, list):
        raise RequestError(f"{file}: its defaults are no list, as in defaults: [quick, {ITSELF}]")
    if ITSELF not in defaults:
        # What a file says itself holds against what it builds on.
        defaults = [*defaults, ITSELF]
    for entry in defaults:
        if entry == ITSELF:
            values = _merged(values, tree)
        elif isinstance(entry, dict):
            for key, name in entry.items():
                group = key.removeprefix("override ").partition("@")[0].strip("/ ")
                chosen[group] = None if name is None else str(name)
        elif file.parent != CONF:
            base = file.with_name(f"{entry}.yaml")
            if base in above or base == file:
                raise RequestError(f"{file} builds on itself: see its list of defaults")
            if entry not in names(file.parent.name):
                raise RequestError(f"{file} builds on {entry}, which is not there")
            found = _read(base, (*above, file))
            values, chosen = _merged(values, found.values), chosen | found.chosen
    return Choice(_first(text), values, chosen)


def _merged(values: dict[str, Any], others: dict[str, Any]) -> dict[str, Any]:
    merged = dict(values)
    for key, value in others.items():
        before = merged.get(key)
        if isinstance(before, dict) and isinstance(value, dict):
            value = _merged(before, value)
        merged[key] = value
    return merged
