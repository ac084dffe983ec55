"""The files of `conf/`, read without Hydra: which choices a group has, and what each holds.

Hydra composes what is run. The help, the report and the names of runs read one file at a time.
"""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import yaml

from repro.errors import RequestError, one_line
from repro.store.files import read_whole

PACKAGE = Path(__file__).resolve().parents[1]
# The wheel carries conf/ inside the package; a checkout has it at its root.
CONF = PACKAGE / "conf" if (PACKAGE / "conf").is_dir() else PACKAGE.parent / "conf"
LARGEST = 1_000_000
"""Bytes of a file of settings."""
STORED: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""Reads what PyYAML wrote; in C, where libyaml is there."""


class Loader(STORED):  # type: ignore[misc]
    """Reads what people write: 1e-3 is a number, as it is for Hydra, and a date is text."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {
        first: [(tag, found) for tag, found in kinds if not tag.endswith(":timestamp")]
        for first, kinds in STORED.yaml_implicit_resolvers.items()
    }


FLOAT = re.compile(r"[-+]?\d[\d_]*(\.[\d_]*)?[eE][-+]?\d+$")
Loader.add_implicit_resolver("tag:yaml.org,2002:float", FLOAT, list("-+0123456789"))


def read_file(path: Path, kind: Any = Loader) -> tuple[str, dict[str, Any]]:
    """The text of a file of settings, and its keys and values as plain data, read by `kind`."""
    try:
        text = read_whole(path, LARGEST).decode()
        # With a few of them a small file becomes an endless tree.
        if "*" in text and any(isinstance(e, yaml.AliasEvent) for e in yaml.parse(text, kind)):
            raise ValueError("it has an alias (*NAME): write its value out")
        tree = yaml.load(text, kind) or {}
        if not isinstance(tree, dict):
            raise ValueError("expected lines of KEY: VALUE")
    except (OSError, yaml.YAMLError, ValueError, RecursionError) as error:
        raise RequestError(f"{path} cannot be read as settings: {one_line(error)}") from None
    return text, tree


@dataclass(frozen=True)
class Choice:
    """A file of `conf/` with those that it builds on; `chosen`: by group what it chooses there."""

    comments: tuple[str, ...]
    values: dict[str, Any]
    chosen: dict[str, str | None]

    @property
    def comment(self) -> str:
        """Its first line, which says what it is."""
        return next((line for line in self.comments if not line.startswith("@package")), "")

    @property
    def swept(self) -> dict[str, list[str]]:
        """By key, the values that an experiment varies, as words."""
        params = self.values.get("hydra", {}).get("sweeper", {}).get("params", {})
        return {key: [word.strip() for word in str(w).split(",")] for key, w in params.items()}


def groups() -> tuple[str, ...]:
    """The groups of `conf/`, without Hydra's own."""
    return tuple(sorted(p.name for p in CONF.iterdir() if p.is_dir() and p.name != "hydra"))


def names(group: str) -> tuple[str, ...]:
    """The choices of a group."""
    return _names(CONF / group)


@cache
def _names(folder: Path) -> tuple[str, ...]:
    return tuple(sorted(file.stem for file in folder.glob("*.yaml")))


def choice(group: str, name: str) -> dict[str, Any]:
    """The values of `conf/GROUP/NAME.yaml`, with those of the files that it builds on."""
    return read(group, name).values


def read(group: str, name: str) -> Choice:
    """A file of a group, with the files that it builds on; an unknown name is refused."""
    # Listed instead of looked for: `../arch/A` would be a file too.
    if name not in names(group):
        raise RequestError(f"{group}={name} is not known: choose from {', '.join(names(group))}")
    return _read(CONF / group / f"{name}.yaml", group)


@cache
def config() -> Choice:
    """`conf/config.yaml`: the scalars, and the default of each group."""
    return _read(CONF / "config.yaml")


# Each file is read once: a sweep asks for it for every run, a report for every stored one.
@cache
def _read(file: Path, group: str | None = None) -> Choice:
    text, tree = read_file(file)
    values: dict[str, Any] = {}
    chosen: dict[str, str | None] = {}
    defaults = tree.pop("defaults", None) or []
    # What a file says itself holds against what it builds on.
    for entry in defaults if "_self_" in defaults else [*defaults, "_self_"]:
        if entry == "_self_":
            values = values | tree
        elif isinstance(entry, dict):
            for key, name in entry.items():
                other = key.removeprefix("override ").partition("@")[0].strip("/ ")
                chosen[other] = None if name is None else str(name)
        elif group is not None:
            found = read(group, entry)
            values, chosen = values | found.values, chosen | found.chosen
    lines = (line for line in text.splitlines() if line.startswith("#"))
    return Choice(tuple(line.removeprefix("#").strip() for line in lines), values, chosen)


def help_text(introduction: str, protocols: list[str]) -> str:
    """The help: what the command does, every group with its choices, every scalar and protocol."""
    parts = [introduction.strip(), "", "Groups, as GROUP=CHOICE (* the default):"]
    usual = {key: name for key, name in config().chosen.items() if not key.startswith("hydra/")}
    for group, default in (usual | {"hydra/launcher": "basic"}).items():
        width = max(map(len, names(group)))
        parts += ["", f"  {group}"]
        for name in names(group):
            mark = "*" if name == default else " "
            parts.append(f"  {mark} {name:<{width}}  {read(group, name).comment}")
    lines = read_file(CONF / "config.yaml")[0].splitlines()
    starts = [line.partition(":")[0] for line in lines]
    scalars = lines[starts.index("seed") : starts.index("hydra")]
    parts += ["", "Scalars, as KEY=VALUE:", "", *(f"    {line}".rstrip() for line in scalars)]
    parts += ["Protocols, as test=[NAME,NAME]:", "", *(f"    {line}" for line in protocols), ""]
    return "\n".join([*parts, OPTIONS])


OPTIONS = """\
Any value of a group can be changed too, as in recipe.epochs=12 or size.width=0.5.
With -m a comma makes a sweep: seed=0,1,2.

Options:

    -m, --multirun      a sweep: a run for each combination of the values given
    --cfg job           print the configuration and stop (Hydra's own: hydra; both: all)
    --config-dir DIR    a folder of your own files, laid out as conf/

Then: python -m repro.report"""
