"""What the three ways in do alike."""

from __future__ import annotations

import subprocess
import sys

import pytest

import repro.verify
from repro.config.words import whole
from repro.release import command
from repro.run.interruption import Interrupted
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


@pytest.mark.parametrize("stop", [KeyboardInterrupt, Interrupted])
def test_who_interrupts_gets_a_line(
    stop: type[BaseException], way_in: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*words: object) -> None:
        raise stop

    monkeypatch.setattr(repro.verify, "required", interrupted)
    status, shown, error = way_in(repro.verify, "run=x")
    assert (status, shown, error.count("\n")) == (75, "", 1)


def test_whole_numbers() -> None:
    assert whole("n", "12", command.MOST) == 12
    assert whole("n", "0", command.MOST, least=0) == 0
