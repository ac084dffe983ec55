"""What the files of a run may say.

Anyone can write such files, and what they say is shown on a page. So each value is checked when it
is read: its type, its bounds, and for names the characters. The code that uses the values needs no
checks of its own. Free text is not checked here; it is escaped where it is shown.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from typing import Any

from repro.config.schema import Config, check_values
from repro.store.identity import GROUPS, PUBLISHED

NAME = re.compile(r"[^\W_][\w.+=,\[\]-]*")
"""The name of a run's folder, or of a group. It begins with a letter or a digit, because a table's
cell that begins with = + - @ is a formula."""
WORD = re.compile(r"(?:[^\W_][\w.+=,:/\[\]-]*)?")
"""Any other text of a configuration, such as `conv3-64`, `maxpool2/2` or `cuda:0`."""
PLACES = ("data.root", "runs", "weights")
"""The keys that hold folders or files. These may be called anything that a command line can say."""
OUTCOMES = ("trained", "did not learn", "diverged", PUBLISHED)
ORDERS = {"RGB": 3, "BGR": 3, "grey": 1}
"""Orders of channels that nets want, and how many channels each has."""
LARGEST = 10**12
LONGEST = 200
"""Characters of a text in `environment`, at most."""

Check = tuple[Callable[[Any], bool], str]
"""Whether a value is right, and words for what it should be."""


def _number(low: float, words: str, *kinds: type, high: float = LARGEST) -> Check:
    # What is not a number is in no interval.
    return lambda value: type(value) in kinds and low <= value <= high, words


def _numbers(low: float, words: str) -> Check:
    one, _ = _number(low, "", int, float)
    return lambda value: isinstance(value, list) and all(map(one, value)), words


def _or_none(check: Check) -> Check:
    return lambda value: value is None or check[0](value), f"{check[1]} or null"


def _matches(pattern: str, words: str) -> Check:
    return lambda value: isinstance(value, str) and bool(re.fullmatch(pattern, value)), words


def _said(value: Any) -> bool:
    """Whether a value may describe a machine: any text but a formula."""
    if isinstance(value, str):
        fits = len(value) <= LONGEST and value.isprintable()
        return fits and (not value or value[0].isalnum())
    return value is None or _number(-LARGEST, "", bool, int, float)[0](value)


NUMBER = _number(0, "zero or a number above it", int, float)
COUNT = _number(0, "zero or a whole number above it", int)
SOME = _number(1, "a whole number above zero", int)
PERCENT = _or_none(_number(0, "a number from 0 to 100", int, float, high=100))
TRUTH: Check = (lambda value: isinstance(value, bool), "true or false")
TEXT: Check = (lambda value: isinstance(value, str), "text")
TREE: Check = (lambda value: isinstance(value, dict), "keys with values")
SAID = f"null, a number or a line of {LONGEST} characters that begins with a letter"
SHA256 = _matches("[0-9a-f]{64}", "64 hex digits")

RESULT: dict[str, Check] = {
    "identity": _matches("[0-9a-f]{10}", "ten hex digits"),
    "outcome": (lambda value: value in OUTCOMES, f"one of {', '.join(OUTCOMES)}"),
    "reason": TEXT,
    "epochs": COUNT,
    "validation_error": PERCENT,
    "seconds": NUMBER,
    "images_per_second": _or_none(NUMBER),
    # A published net was shown no image of these sets here.
    "data.train": COUNT,
    "data.validation": COUNT,
    "data.test": SOME,
    "data.classes": SOME,
    "data.validation_is_test": TRUTH,
    "environment": TREE,
    "environment.git_dirty": _or_none(TRUTH),
}
"""The keys of a `result.json` that other code reads."""
LATER: dict[str, Check] = {
    "train_error": PERCENT,
    "parameters": COUNT,
    "parents": (lambda v: isinstance(v, dict) and all(map(TEXT[0], v.values())), "names of runs"),
    "data.smallest_side": _or_none(COUNT),
    "data.left_out": COUNT,
    "data.mean": _numbers(0, "a list of numbers"),
    "data.mean_of": COUNT,
    "digests": TREE,
    **{f"digests.{key}": SHA256 for key in ("test_images", "weights", "log", "result")},
}
"""Keys that the results of older runs lack, and those of published or diverged nets."""
WEIGHTS: dict[str, Check] = {
    "sha256": SHA256,
    "format": (lambda v: _said(v) and isinstance(v, str), "a line that begins with a letter"),
    "input.order": (lambda value: value in ORDERS, f"one of {', '.join(ORDERS)}"),
    "input.input_range": _number(1e-9, "a number above zero", int, float),
    "input.mean": _numbers(-LARGEST, "a list of numbers"),
    "input.std": _numbers(1e-9, "a list of numbers above zero"),
}
"""What is recorded of weights that others trained."""
ABSENT = object()


def check_result(result: Mapping[str, Any]) -> None:
    """Refuse a `result.json` that does not say what it should.

    Raises:
        ValueError: which key, and what it should be.
    """
    _check(result, RESULT)
    _check(result, LATER, needed=False)
    for key, value in result["environment"].items():
        if not _said(value):
            raise ValueError(f"environment.{key} is not {SAID}")
    if (PUBLISHED in result) != (result["outcome"] == PUBLISHED):
        raise ValueError(f"its outcome is {result['outcome']} and {PUBLISHED} says otherwise")
    if PUBLISHED in result:
        _check_weights(result[PUBLISHED])
    else:
        _check(result, dict.fromkeys(("data.train", "data.validation"), SOME))


def _check(tree: Any, checks: Mapping[str, Check], needed: bool = True) -> None:
    found = {path: _at(tree, path) for path in checks}
    absent = [path for path, value in found.items() if value is ABSENT]
    if absent and needed:
        raise ValueError(f"it lacks {', '.join(absent)}")
    for path, (holds, words) in checks.items():
        if path not in absent and not holds(found[path]):
            raise ValueError(f"{path} is not {words}")


def _at(tree: Any, path: str) -> Any:
    first, _, rest = path.partition(".")
    if not isinstance(tree, Mapping) or first not in tree:
        return ABSENT
    return _at(tree[first], rest) if rest else tree[first]


def check_config(config: Config) -> None:
    """Refuse a stored configuration with a number or a word that no run was ever started with.

    Raises:
        RequestError: a number that is out of its bounds.
        ValueError: a string with other characters than names and words have.
    """
    check_values(config)
    for group in GROUPS:
        name = getattr(config, group).name
        if not NAME.fullmatch(name):
            raise ValueError(f"{group}.name={name[:40]!a} is no name")
    for path, text in _strings(asdict(config)):
        # A back-tick ends what a page shows as a command.
        fits = text.isprintable() and "`" not in text if path in PLACES else WORD.fullmatch(text)
        if not fits:
            raise ValueError(f"{path}={text[:40]!a} holds characters that it has no use for")


def check_published(config: Config, found: Any) -> None:
    """Refuse what a record says of weights that others trained, where it is not what it should be.

    Args:
        config: of the run.
        found: what the record says; None: nothing.

    Raises:
        ValueError: which key, and what it should be.
    """
    if (config.weights is None) != (found is None):
        raise ValueError(f"weights={config.weights!a} and what is recorded of them do not agree")
    if found is not None:
        _check_weights(found)


def _check_weights(found: Any) -> None:
    _check({PUBLISHED: found}, {f"{PUBLISHED}.{key}": check for key, check in WEIGHTS.items()})
    wanted = found["input"]
    if not len(wanted["mean"]) == len(wanted["std"]) == ORDERS[wanted["order"]]:
        raise ValueError(f"{PUBLISHED}.input has not a mean and a std for each channel")


def _strings(tree: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(tree, str):
        yield path, tree
    elif isinstance(tree, dict):
        for key, value in tree.items():
            yield from _strings(value, f"{path}.{key}".strip("."))
    elif isinstance(tree, list):
        for value in tree:
            yield from _strings(value, path)
