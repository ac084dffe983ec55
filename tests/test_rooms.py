"""The rules of docs/design.md about rooms, as far as the text of the code can break them."""

import ast
import re
import subprocess
import sys

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
