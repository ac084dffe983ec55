"""The rules of docs/design.md about rooms, as far as the text of the code can break them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache

import pytest

from repro.config.choices import PACKAGE
from repro.model.cost import OF_KIND
from repro.paper import numbers
from repro.protocol.protocols import KINDS, PROTOCOLS
from repro.report.claims import claims
from repro.run.views import JUDGES


@cache
def tree(module: str) -> ast.Module:
    """The code of a module of the suite; of others, nothing."""
    path = PACKAGE.parent.joinpath(*module.split("."))
    found = (path.with_suffix(".py"), path / "__init__.py")
    file = next((file for file in found if module.startswith("repro") and file.is_file()), None)
    return ast.parse(file.read_text() if file else "")


def imports(node: ast.AST) -> Iterator[str]:
    """The modules that a file imports anywhere, but for what only a type checker sees."""
    for inner in ast.iter_child_nodes(node):
        if isinstance(inner, ast.If) and "TYPE_CHECKING" in ast.unparse(inner.test):
            continue
        if isinstance(inner, ast.Import):
            yield from (alias.name for alias in inner.names)
        elif isinstance(inner, ast.ImportFrom) and inner.module:
            yield inner.module
            yield from (f"{inner.module}.{alias.name}" for alias in inner.names)
        else:
            yield from imports(inner)


@cache
def imported(module: str) -> list[str]:
    return sorted(set(imports(tree(module))))


def way_to_torch(module: str) -> list[str]:
    """The modules from this one to the first that imports torch; empty: there is no such way."""
    ways, seen = [[module]], {module}
    for way in ways:
        for name in imported(way[-1]):
            if name.split(".")[0] in ("torch", "torchvision"):
                return [*way, name]
            if name.startswith("repro.") and name not in seen:
                seen.add(name)
                ways.append([*way, name])
    return []


def modules(room: str) -> list[str]:
    files = sorted((PACKAGE / room).rglob("*.py"))
    assert files
    return [".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts) for file in files]


@pytest.mark.parametrize("room", ["report", "paper", "protocol", "store"])
def test_no_torch_is_imported(room: str) -> None:
    assert way_to_torch("repro.run.job"), "by way of other modules"
    assert not [way for module in modules(room) if (way := way_to_torch(module))]


@pytest.mark.parametrize("room", ["report", "store"])
def test_no_protocol_claim_or_net_is_a_special_case(room: str) -> None:
    cells = {cell["label"] for number in (3, 4, 6) for cell in numbers.cells(number)}
    named = {*PROTOCOLS, *(claim.claim for claim in claims()), *cells}
    for module in modules(room):
        texts = {n.value for n in ast.walk(tree(module)) if isinstance(n, ast.Constant)}
        assert not named & texts, module


def test_each_kind_of_view_is_computed_and_counted() -> None:
    assert set(KINDS) == set(JUDGES) == set(OF_KIND)
