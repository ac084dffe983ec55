"""What the three ways in do alike."""

from __future__ import annotations

import subprocess
import sys

import pytest

import repro.verify
from tests.release.conftest import Command


@pytest.mark.parametrize("name", ["export", "predict", "verify"])
def test_help_needs_no_torch(name: str) -> None:
    lines = (
        f"import sys, repro.{name} as way; sys.argv = ['x', '--help']",
        "try: way.main()",
        "except SystemExit as left: assert not left.code",
        "assert not {'torch', 'pandas', 'matplotlib', 'hydra'} & set(sys.modules)",
    )
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert f"python -m repro.{name} run=" in done.stdout


def test_who_interrupts_gets_a_line(way_in: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*words: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(repro.verify, "required", interrupted)
    status, shown, error = way_in(repro.verify, "run=x")
    assert (status, shown, error.count("\n")) == (75, "", 1)
