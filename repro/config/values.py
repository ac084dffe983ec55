"""Plain data, composed or stored, become a configuration of `repro.config.schema`, or a refusal."""

import functools
from dataclasses import MISSING, fields, is_dataclass
from types import NoneType
from typing import Any, cast, get_args, get_origin, get_type_hints

from repro.config.schema import Config
from repro.errors import RequestError, flat


def check_values(section: Any, path: str = "") -> None:
    """Refuse a value that is not what stands beside its key, in a section and below it."""
    for key in fields(section):
        value = getattr(section, key.name)
        holds, words = key.metadata.get("bound", (None, ""))
        if is_dataclass(value):
            check_values(value, f"{path}{key.name}.")
        elif holds is not None and value is not None and not holds(value):
            raise RequestError(f"{path}{key.name}={value}: expected {words}")


GONE: dict[str, tuple[Any, ...]] = {
    "activations": (False, True),
    "data.cache_side": (None,),
    "data.contents": (False,),
    "preprocessing_images": (None,),
}
"""Keys that older runs have and the schema has no more, with the values that change nothing."""
TAKEN: dict[type, tuple[tuple[type, ...], str]] = {
    bool: ((bool,), "true or false"),
    int: ((int, str), "a whole number"),
    float: ((float, int, str), "a number"),
    str: ((str, int, float, bool), "plain text, without ${"),
}
"""By type of a key: the types of the values that it takes, and words for them."""

_hints = functools.cache(get_type_hints)


def typed(tree: Any) -> Config:
    """A composed or stored configuration, plain data, as a `Config`; a wrong key is refused."""
    if not isinstance(tree, dict):
        from omegaconf import OmegaConf

        tree = OmegaConf.to_container(tree, resolve=True)
    return cast(Config, _section(Config, tree, ""))


def _section(kind: Any, tree: Any, path: str) -> Any:
    if not isinstance(tree, dict):
        raise RequestError(f"{path[:-1]}={tree}: expected keys with values")
    hints, values = _hints(kind), {}
    for key, value in tree.items():
        place = f"{path}{key}"
        if key in hints:
            values[key] = _value(hints[key], value, place)
        elif value not in GONE.get(place, ()):
            raise RequestError(f"{place} is not known: choose from {', '.join(hints)}")
    try:
        return kind(**values)
    except TypeError:
        needed = (key.name for key in fields(kind) if key.default is key.default_factory is MISSING)
        missing = next(key for key in needed if key not in values)
        raise RequestError(f"{path}{missing} is missing") from None


def _value(kind: Any, value: Any, key: str) -> Any:
    kinds = get_args(kind)
    if NoneType in kinds:
        if value is None:
            return None
        kind = kinds[0]
    if is_dataclass(kind):
        return _section(kind, value, f"{key}.")
    if get_origin(kind) is list:
        if not isinstance(value, list):
            raise RequestError(f"{key}={value}: expected a list, as in {key}=[single_scale,centre]")
        return [_value(get_args(kind)[0], one, key) for one in value]
    taken, words = TAKEN[kind]
    try:
        if type(value) in taken and "${" not in str(value) and str(value).isprintable():
            return kind(value)
    except ValueError:
        pass
    if kind is str and not isinstance(value, str):
        words = "one word" if value is not None else "a word, be it none"
    raise RequestError(f"{key}={flat(str(value))[:200]}: expected {words}")
