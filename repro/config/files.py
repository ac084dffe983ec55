"""Reading one file of settings: YAML of a size, a depth and an encoding that settings have."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, ClassVar

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from repro.errors import RequestError, one_line

LARGEST = 1_000_000
"""Bytes."""
DEEPEST = 20
MOST_VALUES = 5_000
"""With every alias written out: a few lines of aliases of aliases may stand for billions."""
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
    """What a file of settings says.

    Raises:
        RequestError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except OSError as error:
        raise RequestError(f"{path} cannot be read: {error.strerror}") from None
    if len(content) > LARGEST:
        raise refusal(path, f"it has more than {LARGEST:,} bytes")
    try:
        return content.decode()
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
            raise refusal(path, "expected lines of KEY: VALUE")
        if _count(node, {}, DEEPEST) > MOST_VALUES:
            raise refusal(path, f"it holds more than {MOST_VALUES:,} values")
        tree: dict[str, Any] = loader.construct_document(node)
    except RecursionError:
        raise refusal(path, f"it is nested more than {DEEPEST} deep, or names itself") from None
    except (yaml.YAMLError, ValueError) as error:
        raise refusal(path, one_line(error)) from None
    return content, tree


def refusal(path: Path, why: str) -> RequestError:
    """The refusal of a file that cannot be read."""
    return RequestError(f"{path} cannot be read as settings: {why}")


def _count(node: Node, known: dict[int, int], deep: int) -> int:
    """How many values a node stands for.

    Raises:
        RecursionError: it is too deep, as one is that holds an alias of itself.
        ValueError: a key stands there twice.
    """
    if deep < 0:
        raise RecursionError
    if isinstance(node, ScalarNode):
        return 1
    if id(node) not in known:
        below: list[Node] = []
        if isinstance(node, SequenceNode):
            below = node.value
        elif isinstance(node, MappingNode):
            keys = [key.value for key, _ in node.value if isinstance(key, ScalarNode)]
            if twice := {key for key in keys if key != "<<" and keys.count(key) > 1}:
                raise ValueError(f"{min(twice)} stands there twice")
            below = [part for pair in node.value for part in pair]
        known[id(node)] = 1 + sum(_count(part, known, deep - 1) for part in below)
    return known[id(node)]
