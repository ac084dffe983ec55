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
IDENTITY = re.compile(r"[0-9a-f]{10}")
PLACES = ("data.root", "runs", "weights")
"""The keys that hold folders or files. These may be called anything that a command line can say."""
OUTCOMES = ("trained", "did not learn", "diverged", PUBLISHED)
DIGEST = re.compile(r"[0-9a-f]{64}")
LARGEST = 10**12
MOST_WORDS = 2000
LONGEST = 200
"""Characters of a text in `environment`, at most."""

Check = tuple[Callable[[Any], bool], str]


def _number(low: float, high: float, *kinds: type) -> Callable[[Any], bool]:
    # What is not a number is in no interval.
    return lambda value: type(value) in kinds and low <= value <= high


def _numbers(low: float) -> Callable[[Any], bool]:
    one = _number(low, LARGEST, int, float)
    return lambda value: isinstance(value, list) and all(map(one, value))


def _or_none(check: Check) -> Check:
    return lambda value: value is None or check[0](value), f"{check[1]} or null"


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _said(value: Any) -> bool:
    if not isinstance(value, str):
        return value is None or _number(-LARGEST, LARGEST, bool, int, float)(value)
    whole = len(value) <= LONGEST and value.isprintable()
    return whole and (not value or value[0].isalnum())


NUMBER = (_number(0, LARGEST, int, float), "zero or a number above it")
COUNT = (_number(0, LARGEST, int), "zero or a whole number above it")
SOME = (_number(1, LARGEST, int), "a whole number above zero")
PERCENT = (_number(0, 100, int, float), "a number from 0 to 100")
TRUTH = (lambda value: isinstance(value, bool), "true or false")
TEXT = (_is_text, "text")
TREE = (lambda value: isinstance(value, dict), "keys with values")
SAID = (_said, f"null, a number or a line of {LONGEST} characters that begins with a letter")
"""What describes a machine: any text but a formula."""

RESULT: dict[str, Check] = {
    "identity": (lambda v: isinstance(v, str) and bool(IDENTITY.fullmatch(v)), "ten hex digits"),
    "outcome": (lambda value: value in OUTCOMES, f"one of {', '.join(OUTCOMES)}"),
    "reason": TEXT,
    "epochs": COUNT,
    "validation_error": _or_none(PERCENT),
    "seconds": NUMBER,
    "images_per_second": _or_none(NUMBER),
    "data": TREE,
    "environment": TREE,
}
"""The keys of a `result.json` that other code reads."""
LATER: dict[str, Check] = {
    "train_error": _or_none(PERCENT),
    "parameters": COUNT,
    "parents": (lambda v: isinstance(v, dict) and all(map(_is_text, v.values())), "names of runs"),
}
"""Keys that the results of older runs lack, and those of published nets."""
DATA: dict[str, Check] = {
    **dict.fromkeys(("test", "classes"), SOME),
    "validation_is_test": TRUTH,
}
SINCE: dict[str, Check] = {
    "smallest_side": _or_none(COUNT),
    "left_out": COUNT,
    "mean": (_numbers(0), "a list of numbers"),
    "mean_of": COUNT,
}
"""Keys of `data` that the results of older runs lack."""
SHA256: Check = (lambda v: isinstance(v, str) and bool(DIGEST.fullmatch(v)), "64 hex digits")
DIGESTS: dict[str, Check] = dict.fromkeys(("test_images", "weights", "log", "result"), SHA256)
"""Keys of `digests`. Older runs lack them all; a run that diverged has no weights."""
ORDERS = {"RGB": 3, "BGR": 3, "grey": 1}
"""Orders of channels that nets want, and how many channels each has."""
WEIGHTS: dict[str, Check] = {
    "sha256": SHA256,
    "format": (lambda v: _said(v) and isinstance(v, str), "a line that begins with a letter"),
    "input": TREE,
}
"""What is recorded of weights that others trained."""
INPUT: dict[str, Check] = {
    "order": (lambda value: value in ORDERS, f"one of {', '.join(ORDERS)}"),
    "input_range": (_number(1e-9, LARGEST, int, float), "a number above zero"),
    "mean": (_numbers(-LARGEST), "a list of numbers"),
    "std": (_numbers(1e-9), "a list of numbers above zero"),
}
ENVIRONMENT: dict[str, Check] = {"git_dirty": _or_none(TRUTH)}


def check_result(result: Mapping[str, Any]) -> None:
    """Refuse a `result.json` that does not say what it should.

    Raises:
        ValueError: which key, and what it should be.
    """
    _check(result, RESULT)
    _check(result, {key: check for key, check in LATER.items() if key in result})
    if (PUBLISHED in result) != (result["outcome"] == PUBLISHED):
        raise ValueError(f"its outcome is {result['outcome']} and {PUBLISHED} says otherwise")
    if PUBLISHED in result:
        _check_weights(result[PUBLISHED])
    data, environment = result["data"], result["environment"]
    # A published net was shown no image of these sets here.
    shown = COUNT if PUBLISHED in result else SOME
    _check(data, dict.fromkeys(("train", "validation"), shown) | DATA, "data.")
    _check(data, {key: check for key, check in SINCE.items() if key in data}, "data.")
    if "digests" in result:
        _check(result, {"digests": TREE})
        digests = result["digests"]
        known = {key: check for key, check in DIGESTS.items() if key in digests}
        _check(digests, known, "digests.")
    _check(environment, ENVIRONMENT, "environment.")
    _check(environment, dict.fromkeys(environment, SAID), "environment.")


def _check(tree: Mapping[str, Any], checks: Mapping[str, Check], path: str = "") -> None:
    absent = [path + key for key in checks if key not in tree]
    if absent:
        raise ValueError(f"it lacks {', '.join(absent)}")
    for key, (holds, words) in checks.items():
        if not holds(tree[key]):
            raise ValueError(f"{path}{key} is not {words}")


def check_plain(tree: Any) -> None:
    """Refuse a stored configuration that is no plain data, or has far more words than any run's.

    Raises:
        ValueError: the key.
    """
    for count, (path, text) in enumerate(_strings(tree)):
        if "${" in text:
            raise ValueError(f"{path} refers to something else, and stored values do not")
        if count > MOST_WORDS:
            raise ValueError(f"{path} is one of more than {MOST_WORDS} words")


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
    if not isinstance(found, dict):
        raise ValueError(f"{PUBLISHED} is not {TREE[1]}")
    _check(found, WEIGHTS, f"{PUBLISHED}.")
    wanted = found["input"]
    _check(wanted, INPUT, f"{PUBLISHED}.input.")
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
