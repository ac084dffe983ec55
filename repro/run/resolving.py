"""From one composed configuration to a request: checked, named, with the runs it starts from.

Everything that can be known before work starts is found out here.
"""

import copy
import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from repro.config import choices
from repro.config.choices import choice, names
from repro.config.schema import Config, Data, Init, Scale
from repro.config.values import check_values
from repro.data import sources
from repro.data.split import Description, too_many
from repro.data.targets import target
from repro.errors import RequestError
from repro.model import init, reading
from repro.protocol import protocols
from repro.protocol.boxes import NONE
from repro.run.checking import check
from repro.run.request import Request
from repro.run.weights import adopt, fix, inspect
from repro.store import identity, runs, views
from repro.store.checks import check_config

LONGEST_NAME = 200
"""Bytes of a run's name: files named after it stay below a file system's 255."""


Describe = Callable[[Data, Path, bool], Description]


def resolve(
    config: Config,
    describe: Describe = sources.check,
    known: dict[str, Request] | None = None,
    command: tuple[str, ...] | None = None,
) -> Request:
    """Check a configuration and find what it asks for; a RequestError says what is wrong.

    `describe` finds out what is known of a data set, `known` holds what was resolved before,
    `command` are the words that the configuration was composed of.
    """
    known = {} if known is None else known
    key = repr(config)
    if key not in known:
        known[key] = _resolved(config, describe, known, command)
    return known[key]


def _resolved(
    composed: Config, describe: Describe, known: dict[str, Request], command: tuple[str, ...] | None
) -> Request:
    # The runs that it starts from are resolved as this one was composed.
    config, published, partner = copy.deepcopy(composed), None, None
    check_values(config)
    config.data.boxes = config.locates
    if config.weights is not None:
        adopt(config, command or ())
        fix(config)
    check(config)
    # Decoding every image is work.
    decode = config.data.verify and not config.dry_run
    description = _described(config, describe, decode and config.weights is None)
    _check_enough(config, description)
    images = {"channels": config.data.channels, "classes": description.classes}
    net = reading.locating(reading.spec_of(config.arch, config.size, **images), config.boxes)
    if config.weights is not None:
        net, published = inspect(config, net, description.names)
        partner = _partner(config, description)
        if decode:
            description = _described(config, describe, True)
    _label(config, description.fingerprint)
    # A published net starts from no other.
    starts = _parents(composed) if published is None else ()
    parents = {role: resolve(parent, describe, known, command) for role, parent in starts}
    if "init" in parents:
        init.copied(net, parents["init"].net)
    own = identity.identity(
        config,
        {role: parent.identity for role, parent in parents.items()},
        description.fingerprint,
        None if published is None else published.record,
    )
    if partner is not None and partner.identity == own:
        raise RequestError(f"stack={config.stack} is this very run: name that of another net")
    looks = tuple(dict.fromkeys(_views(config)))
    request = Request(config, net, description, parents, own, looks, published, command, partner)
    _check_storable(request)
    return request


def _check_storable(request: Request) -> None:
    """Refuse a run that could not be written, or not be read again."""
    if len(request.name.encode()) > LONGEST_NAME:
        advice = "put values into a file, as conf/recipe/mine.yaml"
        raise RequestError(f"{request.name}: too long a name: {advice}")
    try:
        check_config(request.config)
    except ValueError as error:
        raise RequestError(str(error)) from None


def _check_enough(config: Config, there: Description) -> None:
    """Refuse a run that wants more training images than there are, where that is known."""
    wanted = config.recipe.train_images
    if config.weights is None and wanted and there.train is not None and wanted > there.train:
        raise RequestError(too_many(wanted, there.train))


def _views(config: Config) -> Iterator[protocols.View]:
    for test in config.test:
        if config.data.transfer:
            own = target(identity.unlabelled(config.data)).qs
            yield from protocols.TRANSFERS[test].views(own, config.data.mirror)
        else:
            yield from protocols.views(test, config)


def _partner(config: Config, here: Description) -> runs.Run | None:
    """The run whose descriptors are stacked with this one's; a RequestError: it cannot be."""
    if config.stack is None:
        return None
    found = runs.read_run(Path(config.stack).resolve())
    if found is None or found.fingerprint != here.fingerprint or not found.config.data.transfer:
        raise RequestError(f"stack={config.stack}: expected a run of descriptors of these images")
    if (_seen(found.config), found.config.recipe.resize) != (_seen(config), config.recipe.resize):
        raise RequestError(f"stack={config.stack} saw them by another data= or recipe.resize=")
    # Stored names say what was changed.
    if dataclasses.replace(found.config.size, name=config.size.name) != config.size:
        raise RequestError(f"stack={config.stack} is a net of another size")
    if absent := views.missing(found.folder, list(_views(config)), found.tested):
        raise RequestError(f"stack={config.stack} lacks {absent[0].name}: give it the same test=")
    return found


def _seen(config: Config) -> Data:
    """The data of a configuration, wherever they lie, however they are held, whatever net looks."""
    return dataclasses.replace(
        identity.unlabelled(config.data), root="", verify=False, in_memory=False, classes=None
    )


def _described(config: Config, describe: Describe, decode: bool) -> Description:
    data = dataclasses.replace(identity.unlabelled(config.data), verify=decode)
    return describe(data, Path(config.runs) / runs.CACHE, config.progress)


def _label(config: Config, fingerprint: str) -> None:
    """Let the name of each group say what was changed in it, so that no two settings share one."""
    for group in identity.GROUPS:
        chosen = getattr(config, group)
        name = identity.base(chosen.name)
        if name not in names(group):
            continue
        changed = identity.changes(config, group)
        words = [f"{key}={_short(value)}" for key, value in changed.items()]
        if group == "data" and fingerprint:
            words.append(fingerprint[:6])
        chosen.name = identity.LABEL.join([name, *words])


def _short(value: Any) -> str:
    if isinstance(value, list):
        return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:6]
    word = f"{value:g}" if isinstance(value, float) else str(value).lower()
    return word.replace("/", "-")


def _parents(config: Config) -> Iterator[tuple[str, Config]]:
    parent = copy.deepcopy(config)
    parent.finetune = "all"
    # What is tested in a longer way, as by crops, is what was asked for.
    usual = choices.config().values["test"]
    parent.test = [name for name in config.test if name in usual] or usual[:1]
    if config.locates:
        parent.boxes = NONE
        yield "boxes", parent
    elif config.scale.parent is not None:
        parent.scale = Scale(**choice("scale", config.scale.parent))
        yield "scale", parent
    elif config.init.copy_from is not None:
        parent.arch = dataclasses.replace(parent.arch, **choice("arch", config.init.copy_from))
        parent.scale = Scale(**choice("scale", "S256"))
        parent.init = Init(config.recipe.init, config.recipe.init)
        yield "init", parent
