"""The rules of docs/design.md about rooms, as far as the text of the code can break them."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from repro.config.choices import PACKAGE
from repro.model.cost import OF_KIND
from repro.paper import numbers
from repro.protocol.protocols import KINDS, PROTOCOLS
from repro.report.claims import claims
from repro.run.views import JUDGES

WITHOUT_TORCH = ("report", "paper", "protocol", "store")
FILES = {
    ".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts): file.read_text()
    for room in WITHOUT_TORCH
    for file in sorted((PACKAGE / room).rglob("*.py"))
}


GROUND = re.compile(r"repro\.(errors|config\.(schema|values|choices|way_in)|__version__)\b")
BELOW = {
    **{"protocol": set(), "paper": set(), "store": {"protocol"}},
    **{room: {"protocol", "store"} for room in ("data", "model", "track")},
    "weights": {"data", "model", "store"},
    "run": {"data", "model", "paper", "protocol", "store", "track", "weights"},
    "report": {"model", "paper", "protocol", "store"},
    "release": {"data", "model", "protocol", "report", "run", "store", "weights"},
}
"""By room: those that it may import, beside the ground that all stand on."""


def imports(file: Path) -> Iterator[str]:
    """The modules that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (one.name for one in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{one.name}" for one in node.names)


@pytest.mark.parametrize("room", BELOW)
def test_arrows_point_one_way(room: str) -> None:
    for file in (PACKAGE / room).rglob("*.py"):
        found = {name for name in imports(file) if name.startswith("repro.")}
        above = {name for name in found if not GROUND.match(name)}
        rooms = {name.split(".")[1] for name in above} - {room}
        assert file.stem == "__main__" or rooms <= BELOW[room], file
        assert not {name for name in imports(file) if re.match("hydra|omegaconf", name)}, file


def test_no_torch_is_imported() -> None:
    assert not [name for name, text in FILES.items() if re.search(r"(import|from) torch", text)]
    modules = [name.removesuffix(".__init__") for name in FILES if "__main__" not in name]
    program = f"import sys, {', '.join(modules)}; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize("room", ["report", "store"])
def test_no_protocol_claim_or_net_is_a_special_case(room: str) -> None:
    cells = {cell["label"] for number in (3, 4, 6) for cell in numbers.cells(number)}
    named = {*PROTOCOLS, *(claim.claim for claim in claims()), *cells}
    for name, text in FILES.items():
        if name.startswith(f"repro.{room}."):
            words = {n.value for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Constant)}
            assert not named & words, name


def test_each_kind_of_view_is_computed_and_counted() -> None:
    assert set(KINDS) == set(OF_KIND)
    assert {name for name, kind in KINDS.items() if not kind.boxes} == set(JUDGES)
