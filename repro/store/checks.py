"""What the files of a run may say.

Anyone can write such files, and what they say is shown on a page: so each value is checked when it
is read. Free text is escaped where shown.
"""

import re
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from repro.config.schema import Config
from repro.config.values import check_values
from repro.store.identity import GROUPS, PUBLISHED

NAME = re.compile(r"[^\W_][\w.+=,\[\]-]*")
"""The name of a run, or of a group. A table's cell that begins with = + - @ would be a formula."""
WORD = re.compile(r"(?:[^\W_][\w.+=,:/\[\]-]*)?")
"""Any other text of a configuration, such as `conv3-64`, `maxpool2/2` or `cuda:0`."""
FOLDERS, SOURCES = ("data.root", "runs"), ("weights", "stack")
PLACES = (*FOLDERS, *SOURCES)
"""The keys that hold folders or files, which may have any name that a command line can say: where
images and runs lie on one machine, and nets that are read."""
ORDERS = {"RGB": 3, "BGR": 3, "grey": 1}
"""Orders of channels that nets want, and how many channels each has."""
LARGEST = 10**12


def _between(low: float, high: float) -> Callable[[Any], bool]:
    # What is not a number is in no interval.
    return lambda value: type(value) in (int, float) and low <= value <= high


def _line(value: Any) -> bool:
    fits = isinstance(value, str) and len(value) <= 200 and value.isprintable()
    return fits and (not value or value[0].isalnum())


COUNT, SOME = range(LARGEST), range(1, LARGEST)
ANY, ABOVE_ZERO = _between(-LARGEST, LARGEST), _between(1e-9, LARGEST)
NUMBER, PERCENT = _between(0, LARGEST), (None, _between(0, 100))
SHA256 = re.compile("[0-9a-f]{64}")
WEIGHTS = {
    "sha256": SHA256,
    "format": _line,
    "input": {
        "order": tuple(ORDERS),
        "input_range": ABOVE_ZERO,
        "mean": [ANY],
        "std": [ABOVE_ZERO],
    },
    "trained?": {
        "run": str,
        "data": str,
        "recipe": str,
        "seed": COUNT,
        "learnt?": bool,
        "train_errors?": [NUMBER],
    },
}
"""The record of weights that others trained."""
RESULT = {
    "name": str,
    "identity": re.compile("[0-9a-f]{10}"),
    "outcome": ("trained", "did not learn", "diverged", PUBLISHED),
    "reason": str,
    "epochs": COUNT,
    "train_error?": PERCENT,
    "validation_error": PERCENT,
    "seconds": NUMBER,
    "images_per_second": (None, NUMBER),
    "parameters?": COUNT,
    "data": {
        "train": COUNT,
        "validation": COUNT,
        "test": SOME,
        "classes": SOME,
        "validation_is_test": bool,
        "smallest_side?": (None, COUNT),
        "left_out?": COUNT,
        "mean?": [NUMBER],
        "mean_of?": COUNT,
        "odd_boxes?": {"*": COUNT},
    },
    "digests?": {"*": SHA256},
    "environment": {"git_dirty": (None, bool), "*": (None, bool, ANY, _line)},
    f"{PUBLISHED}?": WEIGHTS,
}
"""The keys of a `result.json` that other code reads, each with what it may be (see `_fits`).

Older runs lack those with a question mark, and so do some outcomes; a star is any other key."""


def _fits(value: Any, rule: Any) -> bool:
    """Whether a value is one of some (a tuple), a list of one kind, in a range, of a type, ..."""
    if isinstance(rule, tuple):
        return any(_fits(value, one) for one in rule)
    if isinstance(rule, list):
        return isinstance(value, list) and all(_fits(one, rule[0]) for one in value)
    if isinstance(rule, range):
        return type(value) is int and value in rule
    if isinstance(rule, re.Pattern):
        return isinstance(value, str) and rule.fullmatch(value) is not None
    if isinstance(rule, type):
        return type(value) is rule
    return bool(rule(value)) if callable(rule) else value == rule


def _check(value: Any, rule: Any, path: str = "") -> None:
    if not isinstance(rule, dict):
        if not _fits(value, rule):
            raise ValueError(f"{path} is not what a run writes there")
        return
    if not isinstance(value, dict):
        raise ValueError(f"{path or 'it'} is not keys with values")
    if absent := [key for key in rule if key[-1] not in "?*" and key not in value]:
        raise ValueError(f"it lacks {', '.join(f'{path}.{key}'.strip('.') for key in absent)}")
    rules = {key.strip("?"): inner for key, inner in rule.items()}
    for key, inner in value.items():
        if key in rules or "*" in rules:
            _check(inner, rules.get(key, rules.get("*")), f"{path}.{key}".strip("."))


def check_result(result: Any) -> None:
    """Refuse, with a ValueError that names the key, a `result.json` that no run writes."""
    _check(result, RESULT)
    published = result["outcome"] == PUBLISHED
    if (PUBLISHED in result) != published:
        raise ValueError(f"its outcome is {result['outcome']} and {PUBLISHED} says otherwise")
    if published:
        check_published(result[PUBLISHED])
    # A published net was shown no image of these sets here.
    elif not (result["data"]["train"] and result["data"]["validation"]):
        raise ValueError("data.train or data.validation is not above zero")


def check_published(found: Any) -> None:
    """Refuse, with a ValueError, what a record says of weights that others trained."""
    _check(found, WEIGHTS, PUBLISHED)
    wanted = found["input"]
    if not len(wanted["mean"]) == len(wanted["std"]) == ORDERS[wanted["order"]]:
        raise ValueError(f"{PUBLISHED}.input has not a mean and a std for each channel")


def check_config(config: Config) -> None:
    """Refuse a stored configuration with a value that no run had, by a Request- or ValueError."""
    check_values(config)
    for group in GROUPS:
        name = getattr(config, group).name
        if not NAME.fullmatch(name):
            raise ValueError(f"{group}.name={name[:40]!a} is no name")
    _check_words(asdict(config), "")


def _check_words(tree: Any, path: str) -> None:
    if isinstance(tree, dict | list):
        for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
            _check_words(value, f"{path}.{key}".strip("."))
    elif isinstance(tree, str):
        # A back-tick ends what a page shows as a command.
        fits = tree.isprintable() and "`" not in tree if path in PLACES else WORD.fullmatch(tree)
        if not fits:
            raise ValueError(f"{path}={tree[:40]!a} holds characters that it has no use for")
