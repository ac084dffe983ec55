"""One file of settings: YAML of the size, depth and encoding that settings have."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, ClassVar

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode

from repro.errors import RequestError, one_line

LARGEST = 1_000_000
"""Bytes."""
DEEPEST = 20
MOST_VALUES = 5_000
FLOAT = re.compile(r"[-+]?\d[\d_]*(\.[\d_]*)?[eE][-+]?\d+$")

STORED: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""Reads what PyYAML wrote; in C, where libyaml is there."""


class Loader(STORED):  # type: ignore[misc]
    """Reads what people write: 1e-3 is a number, as it is for Hydra, and a date is text."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {
        first: [(tag, found) for tag, found in kinds if not tag.endswith(":timestamp")]
        for first, kinds in STORED.yaml_implicit_resolvers.items()
    }


Loader.add_implicit_resolver("tag:yaml.org,2002:float", FLOAT, list("-+0123456789"))


def text(path: Path) -> str:
    """The text of a file of settings.

    Raises:
        RequestError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise refusal(path, f"it has more than {LARGEST:,} bytes")
        return content.decode()
    except OSError as error:
        raise RequestError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise refusal(path, "it is not written in UTF-8") from None


def read(path: Path, kind: Any = Loader) -> tuple[str, dict[str, Any]]:
    """The text of a file of settings, and its keys and values; none where it has only comments.

    Args:
        path: the file.
        kind: the class that tells a value's type: `Loader` or `STORED`.

    Raises:
        RequestError: it cannot be read, or is none.
    """
    content = text(path)
    try:
        loader = kind(content)
        node = loader.get_single_node()
        if node is None:
            return content, {}
        if not isinstance(node, MappingNode):
            raise ValueError("expected lines of KEY: VALUE")
        _check(node, set(), DEEPEST)
        tree: dict[str, Any] = loader.construct_document(node)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise refusal(path, one_line(error)) from None
    return content, tree


def refusal(path: Path, why: str) -> RequestError:
    """The refusal of a file that cannot be read."""
    return RequestError(f"{path} cannot be read as settings: {why}")


def _check(node: Node, seen: set[int], deep: int) -> None:
    """Refuse a tree that is too large, or that a few lines of aliases make larger than it looks.

    Raises:
        ValueError: what is wrong with it.
    """
    if id(node) in seen:
        raise ValueError("it has an alias (*NAME): write its value out")
    seen.add(id(node))
    if deep < 0 or len(seen) > MOST_VALUES:
        raise ValueError(f"it is {DEEPEST} deep or has more than {MOST_VALUES:,} values")
    if isinstance(node, ScalarNode):
        return
    below = list(node.value)
    if isinstance(node, MappingNode):
        keys = [str(key.value) for key, _ in node.value]
        if len(set(keys)) < len(keys):
            raise ValueError(f"a key stands there twice: {', '.join(keys)}")
        below = [part for pair in node.value for part in pair]
    for part in below:
        _check(part, seen, deep - 1)
