"""A run is its configuration: all that can change the result is hashed into the run's name.

The device, the number of workers or threads, the launcher and the progress bar are left out. So is
the path of a data folder: such data enters the hash by a fingerprint of the folder's contents.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from repro.config.choices import choice, names
from repro.config.schema import Config

SCHEMA = 2
"""2: scale models keep the paper's maps, normal initialisations go by fan-in, centre crops are
torchvision's."""
PUBLISHED = "published"
"""How a net that others trained is called where the recipe and the initialisation stand."""
LABEL = "+"
"""Stands between a group's name and what was changed in it: `quick+learning_rate=0.02`."""

# A key that was added later is left out of the hash while it has this value, so that older runs
# keep their identities.
INTRODUCED: dict[tuple[str, str], Any] = {
    ("scale", "draws"): "parent",
    ("recipe", "resize"): "isotropic",
    ("recipe", "subtract_mean"): True,
    ("recipe", "test_each_epoch"): False,
    ("recipe", "later_epochs"): None,
    ("data", "on_bad_image"): "error",
    ("data", "first_classes"): None,
    ("data", "source"): None,
    ("data", "in_memory"): False,
    ("data", "enlarge"): None,
}

GROUPS = ("arch", "scale", "size", "data", "recipe", "init")
NOT_IDENTITY = {"data": ("root", "verify", "test_only")}
TRAINED_BY = ("recipe", "init", "seed", "finetune", "parents")
"""What says how a net was trained: no part of a run that tests a published one."""


def base(name: str) -> str:
    """A group's name without what was changed in it."""
    return name.split(LABEL)[0]


def changes(config: Config, group: str) -> dict[str, Any]:
    """The values of a group that differ from those of the file in `conf/` that it is named after.

    Empty where there is no such file, as for a configuration from elsewhere.
    """
    chosen = getattr(config, group)
    name = base(chosen.name)
    if name not in names(group):
        return {}
    file, found = choice(group, name), {}
    for field in dataclasses.fields(chosen):
        usual = file.get(field.name, _default(field))
        if usual == "${recipe.init}":
            usual = config.recipe.init
        ignored = field.name in ("name", *NOT_IDENTITY.get(group, ()))
        if not ignored and getattr(chosen, field.name) != usual:
            found[field.name] = getattr(chosen, field.name)
    return found


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def content(config: Config, group: str) -> str:
    """A short hash of all values of a group but its name."""
    tree = dataclasses.asdict(getattr(config, group))
    for key in ("name", *NOT_IDENTITY.get(group, ())):
        del tree[key]
    return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()[:6]


def tell_apart(configs: Sequence[Config]) -> None:
    """Give what has one name and differs, as after a file was edited, names of their own."""
    for group in GROUPS:
        contents: dict[str, set[str]] = {}
        for config in configs:
            name = getattr(config, group).name
            contents.setdefault(name, set()).add(content(config, group))
        for config in configs:
            chosen = getattr(config, group)
            if len(contents.get(chosen.name, ())) > 1:
                # With a key, as in any changed name: `facade` alone is also what a net may be
                # called.
                chosen.name += f"{LABEL}content={content(config, group)}"


def substance(
    config: Config,
    parents: dict[str, str],
    fingerprint: str,
    published: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """All that can change the result of a run, as a plain tree.

    Args:
        config: the run's configuration.
        parents: the identities of the runs that this one starts from, by role.
        fingerprint: of the data folder's contents; empty where the name of the data says it all.
        published: what is known of the weights that others trained (`sha256`, `input`); None: the
            run trains its net.
    """
    tree: dict[str, Any] = {group: dataclasses.asdict(getattr(config, group)) for group in GROUPS}
    for group, keys in NOT_IDENTITY.items():
        for key in keys:
            del tree[group][key]
    for (group, key), default in INTRODUCED.items():
        if tree[group].get(key) == default:
            tree[group].pop(key, None)
    tree |= {
        "schema": SCHEMA,
        "seed": config.seed,
        "finetune": config.finetune,
        "precision": config.precision,
        "parents": parents,
        "fingerprint": fingerprint,
    }
    if published is None:
        return tree
    tested = {key: value for key, value in tree.items() if key not in TRAINED_BY}
    weights = {key: published[key] for key in ("sha256", "input")}
    return tested | {"resize": config.recipe.resize, "weights": weights}


def identity(
    config: Config,
    parents: dict[str, str],
    fingerprint: str,
    published: Mapping[str, Any] | None = None,
) -> str:
    """The first ten hexadecimal digits of the hash of a run's substance."""
    text = json.dumps(substance(config, parents, fingerprint, published), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def name(config: Config, identity: str) -> str:
    """The run's folder: what a reader wants to know first, then the identity."""
    words = [config.arch.name, config.scale.name, config.size.name, config.data.name]
    if config.weights is not None:
        words.insert(1, PUBLISHED)
        words += [config.recipe.resize] * (config.recipe.resize != "isotropic")
        words += [config.precision] * (config.precision != "float32")
        return "-".join([*words, identity])
    words += [config.recipe.name, config.init.name]
    if config.finetune != "all":
        words.append(config.finetune)
    if config.precision != "float32":
        words.append(config.precision)
    return "-".join([*words, f"s{config.seed}", identity])
