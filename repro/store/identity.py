"""A run is its configuration: what can change the result, hashed into a name.

The device, the number of workers or threads, the launcher and the progress bar are not part of it,
nor is where a data folder lies: folder data enters by a fingerprint of its contents.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any

from repro.config import Config

SCHEMA = 1

# A key added later leaves the identity of older runs alone as long as it has this value.
# ("recipe", "new_key"): its default when it was introduced
INTRODUCED: dict[tuple[str, str], Any] = {}

GROUPS = ("arch", "scale", "size", "data", "recipe", "init")
NOT_IDENTITY = {"data": ("root", "verify")}


def content(config: Config, group: str) -> str:
    """A short hash of all values of a group but its name."""
    tree = dataclasses.asdict(getattr(config, group))
    for key in ("name", *NOT_IDENTITY.get(group, ())):
        del tree[key]
    return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()[:6]


def substance(config: Config, parents: dict[str, str], fingerprint: str) -> dict[str, Any]:
    """All that can change the result of a run, as a plain tree.

    Args:
        config: the run's configuration.
        parents: the identities of the runs that this one starts from, by role.
        fingerprint: of the data folder's contents; empty where the name of the data says it all.
    """
    tree: dict[str, Any] = {group: dataclasses.asdict(getattr(config, group)) for group in GROUPS}
    for group, keys in NOT_IDENTITY.items():
        for key in keys:
            del tree[group][key]
    for (group, key), default in INTRODUCED.items():
        if tree[group].get(key) == default:
            tree[group].pop(key, None)
    return tree | {
        "schema": SCHEMA,
        "seed": config.seed,
        "finetune": config.finetune,
        "precision": config.precision,
        "parents": parents,
        "fingerprint": fingerprint,
    }


def identity(config: Config, parents: dict[str, str], fingerprint: str) -> str:
    """The first ten hexadecimal digits of the hash of a run's substance."""
    text = json.dumps(substance(config, parents, fingerprint), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def name(config: Config, identity: str) -> str:
    """The run's folder: what a reader wants to know first, then the identity."""
    words = [config.arch.name, config.scale.name, config.size.name, config.data.name]
    words += [config.recipe.name, config.init.name]
    if config.finetune != "all":
        words.append(config.finetune)
    if config.precision != "float32":
        words.append(config.precision)
    return "-".join([*words, f"s{config.seed}", identity])
