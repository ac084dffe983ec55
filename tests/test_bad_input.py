"""Bad input: status 2, a clear line, no traceback, nothing left in the store."""

from __future__ import annotations

from pathlib import Path

import pytest

from repro.command import command

LIGHT = ["size=tiny", "recipe=smoke", "recipe.train_images=64", "progress=false", "threads=1"]


def refused(runs: Path, *words: str) -> int:
    return command([*LIGHT, f"runs={runs}", *words])


@pytest.mark.parametrize("words", [["arch=Z"], ["tests=[centre]"], ["test=[]"]])
def test_refused(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(tmp_path / "runs", *words) == 2
    assert not (tmp_path / "runs").exists()
    assert capsys.readouterr().err.strip()
