"""What the three ways in do alike."""

from __future__ import annotations

import subprocess
import sys

import pytest


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
