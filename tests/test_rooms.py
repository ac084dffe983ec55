"""The rules of docs/design.md about rooms, as far as the text of the code can break them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from repro.config.choices import PACKAGE
from repro.model.cost import OF_KIND
from repro.paper import numbers
from repro.protocol.protocols import KINDS, PROTOCOLS
from repro.report.claims import claims
from repro.run.views import JUDGES

WITHOUT_TORCH = ("report", "paper", "protocol", "store")
HEAVY = ("torch", "torchvision")


def file_of(module: str) -> Path | None:
    """Where a module of the suite lies."""
    path = PACKAGE.parent.joinpath(*module.split("."))
    found = (path.with_suffix(".py"), path / "__init__.py")
    return next((file for file in found if file.is_file()), None)


def imports(tree: ast.AST) -> Iterator[str]:
    """The modules that a file imports anywhere, but for what only a type checker sees."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        else:
            yield from imports(node)


@cache
def imported(module: str) -> frozenset[str]:
    file = file_of(module)
    return frozenset(imports(ast.parse(file.read_text())) if file else ())


def way_to_torch(module: str) -> list[str]:
    """The modules from this one to the first that imports torch; empty: there is no such way."""
    ways, seen = [[module]], {module}
    for way in ways:
        for name in sorted(imported(way[-1])):
            if name.split(".")[0] in HEAVY:
                return [*way, name]
            if name.startswith("repro.") and name not in seen:
                seen.add(name)
                ways.append([*way, name])
    return []


def modules(room: str) -> list[str]:
    files = sorted((PACKAGE / room).rglob("*.py"))
    return [".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts) for file in files]


@pytest.mark.parametrize("room", WITHOUT_TORCH)
def test_no_torch_is_imported(room: str) -> None:
    assert modules(room)
    assert not [way for module in modules(room) if (way := way_to_torch(module))]


def test_a_way_to_torch_is_found() -> None:
    assert way_to_torch("repro.model.vgg")
    assert way_to_torch("repro.run.job"), "by way of other modules"


def texts(module: str) -> set[str]:
    file = file_of(module)
    assert file is not None
    found = (node for node in ast.walk(ast.parse(file.read_text())))
    return {n.value for n in found if isinstance(n, ast.Constant) and isinstance(n.value, str)}


@pytest.mark.parametrize("room", ["report", "store"])
def test_no_protocol_claim_or_net_is_a_special_case(room: str) -> None:
    cells = {cell["label"] for number in (3, 4, 6) for cell in numbers.cells(number)}
    named = {*PROTOCOLS, *(claim.claim for claim in claims()), *cells}
    found = {module: texts(module) & named for module in modules(room)}
    assert not {module: words for module, words in found.items() if words}


def test_each_kind_of_view_is_computed_and_counted() -> None:
    assert set(KINDS) == set(JUDGES) == set(OF_KIND)
