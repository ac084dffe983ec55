import errno
import multiprocessing
import os
import re
import shutil
import threading
import time
from pathlib import Path

import pytest

from repro.errors import RunError
from repro.store import files, leases, runs
from repro.store.folder import Folder, hold


def test_a_file_is_whole_or_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "result.json"
    files.write_whole(target, b"first")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match="the disk is full"):
        files.write_whole(target, b"second")
    assert target.read_bytes() == b"first"
    assert os.listdir(tmp_path) == ["result.json"]
    with pytest.raises(RunError, match=f"cannot write {target}/x: "):
        files.write_whole(target / "x", b"")
    (tmp_path / "failed.json").mkdir()
    with pytest.raises(RunError, match="cannot remove .*failed.json: "):
        Folder(tmp_path, lambda: None).remove("failed.json")


def _hold(store: Path, seconds: float, log: Path) -> None:
    with hold(store, "run", say=lambda _: None), log.open("a") as file:
        file.write("in\n")
        file.flush()
        time.sleep(seconds)
        file.write("out\n")


def test_one_process_at_a_time_and_a_dead_one_is_taken_over(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    log = tmp_path / "log"
    dead = context.Process(target=_hold, args=(tmp_path, 60, log))
    dead.start()
    while not (log.exists() and log.read_text()):
        time.sleep(0.05)
    assert f"(process {dead.pid} on " in str(runs.why_unfinished(tmp_path / "run"))
    dead.kill()
    dead.join()
    assert runs.why_unfinished(tmp_path / "run") is None
    with hold(tmp_path, "run", lambda _: None):
        other = context.Process(target=_hold, args=(tmp_path, 0, log))
        other.start()
        time.sleep(2)
        assert log.read_text().count("in") == 1, "the other waits"
    other.join(timeout=20)
    assert log.read_text().count("out") == 1


def test_whose_lease_was_taken_over_writes_and_removes_nothing(tmp_path: Path) -> None:
    with hold(tmp_path, "run", lambda _: None) as folder:
        folder.write("log.csv", b"first")
        lock = tmp_path / ".locks" / "run.lock"
        aside = lock.rename(lock.with_name("aside"))
        back = threading.Timer(0.15, aside.rename, [lock])
        back.start()
        folder.write("log.csv", b"second")
        back.join()
        other = lock.with_name("other")
        other.write_text(re.sub("token=.*", f"token={'0' * 32}", lock.read_text()))
        # At once, though this process is told of it only when it next refreshes the lease.
        other.replace(lock)
        acts = (lambda: folder.write("log.csv", b""), lambda: folder.remove("log.csv"))
        for act in (*acts, folder.check):
            with pytest.raises(RunError, match="run was taken over by another process"):
                act()
    assert (tmp_path / "run" / "log.csv").read_bytes() == b"second"
    assert os.listdir(tmp_path / "run") == ["log.csv"]
    assert "0" * 32 in lock.read_text(), "the other's lease is left to it"


@pytest.mark.parametrize("gone", [".", ".locks", "run"])
def test_what_is_gone_is_not_made_anew_in_the_middle(gone: str, tmp_path: Path) -> None:
    store = tmp_path / "store"
    with hold(store, "run", lambda _: None) as folder:
        folder.write("config.yaml", b"first")
        if gone == "run":
            shutil.move(store / "run", tmp_path / "elsewhere" / "run")
        else:
            # An unmounted disk leaves the empty folder that it was mounted on, or nothing.
            store.rename(tmp_path / "elsewhere")
            if gone == ".locks":
                store.mkdir()
        with pytest.raises(RunError, match="is gone: it was deleted"):
            folder.write("log.csv", b"")
        assert not [*store.rglob("*.csv")]
    assert (tmp_path / "elsewhere" / "run" / "config.yaml").read_bytes() == b"first"


@pytest.mark.parametrize("name", ["x+/../../out", "..", ".locks", "a/b", "", "/tmp/out"])
def test_a_name_that_leads_out_of_the_store_is_none(name: str, tmp_path: Path) -> None:
    (tmp_path / "store" / ".locks" / "x+").mkdir(parents=True)
    with (
        pytest.raises(RunError, match="is no name of a run"),
        hold(tmp_path / "store", name, lambda _: None),
    ):
        pytest.fail("it is held")
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_an_empty_lock_is_taken_over_and_a_folder_in_its_place_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = tmp_path / ".locks" / "run.lock"
    lock.parent.mkdir()
    lock.touch()
    os.utime(lock, times=(0, 0))
    with hold(tmp_path, "run", lambda _: None) as folder:
        folder.write("log.csv", b"first")
    # By a clock that is ahead: it is waited for no longer than a holder that stands still.
    lock.touch()
    os.utime(lock, times=(time.time() + 3600,) * 2)
    with monkeypatch.context() as patch:
        patch.setattr(leases, "LEASE_SECONDS", 0.2)
        with hold(tmp_path, "run", lambda _: None) as folder:
            folder.write("log.csv", b"second")
    lock.mkdir()
    with pytest.raises(RunError, match="run.lock"), hold(tmp_path, "run", lambda _: None):
        pytest.fail("it is held")


def test_a_run_that_another_process_works_on_is_not_interrupted(tmp_path: Path) -> None:
    for name in ("A", "B"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text("")
    (tmp_path / "A" / "failed.json").write_text('{"reason": "earlier\\n  than\\u001b this"}')
    with hold(tmp_path, "A", lambda _: None):
        a, b = [reason for _, reason in runs.unfinished(tmp_path)]
    assert a.startswith("another process works on it")
    assert b.startswith("interrupted")
    assert runs.why_unfinished(tmp_path / "A") == "earlier than this"
