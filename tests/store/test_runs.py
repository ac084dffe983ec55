from __future__ import annotations

import os
from pathlib import Path

import pytest

from repro.errors import RequestError
from repro.run.request import resolve
from repro.store import runs
from repro.store.folder import hold
from tests.conftest import Compose


def test_a_folder_that_is_another_run_is_refused(tmp_path: Path, compose: Compose) -> None:
    request = resolve(compose(f"runs={tmp_path}"))
    with hold(tmp_path, request.name, lambda _: None) as folder:
        folder.write_config(request.config, request.record)
    request.check_folder()
    text = (request.folder / "config.yaml").read_text()
    (request.folder / "config.yaml").write_text(text.replace("seed: 0", "seed: 1"))
    with pytest.raises(RequestError, match="contradicts its config.yaml"):
        request.check_folder()


def test_a_folder_with_other_files_is_refused(tmp_path: Path, compose: Compose) -> None:
    request = resolve(compose(f"runs={tmp_path}"))
    request.folder.mkdir()
    request.check_folder()
    (request.folder / "holiday.txt").write_text("mine")
    with pytest.raises(RequestError, match="no config.yaml"):
        request.check_folder()


def test_what_is_damaged_is_left_out_of_the_finished(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "D-broken").mkdir()
    (tmp_path / "D-broken" / "config.yaml").write_text("arch: [")
    (tmp_path / "D-broken" / "result.json").write_text('{"name": "D-broken"}')
    (tmp_path / ".locks").mkdir()
    assert runs.finished(tmp_path) == []
    assert "result.json is damaged: it lacks identity, outcome" in capsys.readouterr().err


def test_a_run_that_another_process_works_on_is_not_interrupted(tmp_path: Path) -> None:
    for name in ("A", "B", "C"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text("")
    (tmp_path / "A" / "failed.json").write_text('{"reason": "earlier\\n  than\\u001b this"}')
    with hold(tmp_path, "A", lambda _: None):
        (tmp_path / ".locks" / "B.lock").write_text("")
        os.utime(tmp_path / ".locks" / "B.lock", times=(0, 0))
        (a, b, c) = [reason for _, reason in runs.unfinished(tmp_path)]
    assert a == "another process works on it"
    assert b == c == "interrupted: the same command goes on with it"
    assert runs.failure(tmp_path / "A") == "earlier than this"
    assert runs.why_unfinished(tmp_path / "A") == "earlier than this"


def test_who_died_on_this_host_works_on_nothing(tmp_path: Path) -> None:
    with hold(tmp_path, "A", lambda _: None):
        lock = tmp_path / ".locks" / "A.lock"
        held = lock.read_text()
        assert runs.why_unfinished(tmp_path / "A") == "another process works on it"
        # No process has so large a number.
        lock.write_text(held.replace(f"pid={os.getpid()}", f"pid={2**31 - 1}"))
        assert runs.why_unfinished(tmp_path / "A") is None
        lock.write_text(held)


@pytest.mark.parametrize(("outcome", "says"), [("diverged", "diverged and has"), (None, "missing")])
def test_weights_that_are_not_there_are_told_from_those_that_never_were(
    outcome: str | None, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "read_result", lambda _: {"outcome": outcome or "trained"})
    said = runs.without_weights(tmp_path / "A")
    assert says in said
    assert ("try another seed" in said) == (outcome == "diverged")
    assert ("put it back" in said) == (outcome is None)
