"""A run is its configuration: all that can change the result is hashed into the run's name.

The device, workers, threads and launcher are left out. So is the path of a data folder: a
fingerprint of its contents enters instead.
"""

import dataclasses
import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from repro.config.choices import choice, names
from repro.config.schema import Config, Data

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
    ("data", "on_device"): False,
    ("data", "enlarge"): None,
    ("data", "transfer"): False,
    ("data", "background"): True,
}

GROUPS = ("arch", "scale", "size", "data", "recipe", "init")
NOT_IDENTITY = {"data": ("root", "verify", "test_only", "boxes")}
TRAINED_BY = ("recipe", "init", "seed", "finetune", "parents")
"""The keys about training, which are no part of a run that tests a published net."""


def base(name: str) -> str:
    """A group's name without what was changed in it."""
    return name.split(LABEL)[0]


def unlabelled(data: Data) -> Data:
    """The data as its file names it, without what the label adds."""
    return dataclasses.replace(data, name=base(data.name))


def changes(config: Config, group: str) -> dict[str, Any]:
    """The values of a group that differ from those of its file in `conf/`, if it has one."""
    chosen = getattr(config, group)
    if base(chosen.name) not in names(group):
        return {}
    file, found = choice(group, base(chosen.name)), {}
    for field in dataclasses.fields(chosen):
        value, factory = getattr(chosen, field.name), field.default_factory
        usual = file.get(field.name, factory() if callable(factory) else field.default)
        if usual == "${recipe.init}":
            usual = config.recipe.init
        if value != usual and field.name not in ("name", *NOT_IDENTITY.get(group, ())):
            found[field.name] = value
    return found


def tell_apart(runs: Sequence[tuple[Config, str]]) -> None:
    """Rename, in place, groups of one name that differ, as after their file was edited.

    A run has its configuration and the fingerprint of its data.
    """
    for group in GROUPS:
        contents = defaultdict(list)
        for config, fingerprint in runs:
            chosen = getattr(config, group)
            tree = dataclasses.asdict(chosen)
            # That of the images: of a run that locates, that of its boxes follows.
            tree |= {"fingerprint": fingerprint[:64]} if group == "data" else {}
            for key in ("name", *NOT_IDENTITY.get(group, ())):
                del tree[key]
            contents[chosen.name].append((chosen, _hash(tree)[:6]))
        for found in contents.values():
            if len({short for _, short in found}) > 1:
                for chosen, short in found:
                    # With a key, as in any changed name: `facade` alone may be a net's name.
                    chosen.name += f"{LABEL}content={short}"


def _hash(tree: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()


def identity(
    config: Config,
    parents: dict[str, str],
    fingerprint: str,
    published: Mapping[str, Any] | None = None,
) -> str:
    """The first ten hexadecimal digits of the hash of all that can change a run's result.

    `parents` are the identities of the runs that it starts from, by role; `fingerprint` is empty
    where the data's name says it all; `published` is what is known of weights that others trained.
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
    if config.locates:
        tree["boxes"] = config.boxes
    if published is not None:
        tree = {key: value for key, value in tree.items() if key not in TRAINED_BY}
        tree["resize"] = config.recipe.resize
        tree["weights"] = {key: published[key] for key in ("sha256", "input")}
    return _hash(tree)[:10]


def name(config: Config, identity: str) -> str:
    """The run's folder: what a reader wants to know first, then the identity."""
    net, data = config.arch.name, (config.scale.name, config.size.name, config.data.name)
    recipe = config.recipe
    precision = "" if config.precision == "float32" else config.precision
    if config.weights is not None:
        resize = "" if recipe.resize == "isotropic" else recipe.resize
        words = [net, PUBLISHED, *data, resize, precision]
    else:
        finetune = "" if config.finetune == "all" else config.finetune
        boxes = "" if config.boxes == "none" else config.boxes
        words = [net, *data, recipe.name, config.init.name, finetune, boxes, precision]
        words.append(f"s{config.seed}")
    return "-".join(word for word in (*words, identity) if word)
