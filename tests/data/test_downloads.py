"""Data sets that are fetched: whole or not at all, by one process at a time."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from repro.config.schema import Data
from repro.data.datasets import DataSet
from repro.errors import RunError
from repro.run.interruption import Interrupted


def fetch(root: Path) -> None:
    folder = root / "set" / "raw"
    folder.mkdir(parents=True)
    (folder / "a").write_text("a")
    (folder / "b").write_text("b")


def get(root: Path, how: object = fetch, said: list[str] | None = None) -> None:
    say = (said if said is not None else []).append
    kind = DataSet(None, folder="set/raw", bring=how)  # type: ignore[arg-type]
    kind.fetch(Data("set", 3, True, root=str(root)), say, lambda: None)


def names(root: Path) -> set[str]:
    return {path.name for path in (root / "set" / "raw").iterdir()}


@pytest.mark.parametrize(
    "ending", [OSError("no route\nto host"), Interrupted(), KeyboardInterrupt()]
)
def test_a_part_is_never_taken_for_the_whole(tmp_path: Path, ending: BaseException) -> None:
    def breaks_off(root: Path) -> None:
        (root / "set" / "raw").mkdir(parents=True)
        (root / "set" / "raw" / "a").write_text("a")
        raise ending

    expected = RunError if isinstance(ending, OSError) else type(ending)
    with pytest.raises(expected) as caught:
        get(tmp_path, breaks_off)
    if isinstance(ending, OSError):
        assert "set/raw" in str(caught.value)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "set").exists()
    get(tmp_path)
    assert names(tmp_path) == {"a", "b"}
    assert not list(tmp_path.glob(".fetching*"))


def test_one_fetches_and_the_others_wait(tmp_path: Path) -> None:
    calls: list[int] = []
    said: list[str] = []

    def slowly(root: Path) -> None:
        calls.append(1)
        time.sleep(1)
        fetch(root)

    found: list[set[str]] = []

    def takes_part() -> None:
        get(tmp_path, slowly, said)
        found.append(names(tmp_path))

    threads = [threading.Thread(target=takes_part) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert calls == [1]
    assert found == [{"a", "b"}] * 3
    assert said == ["another process fetches set; waiting"] * 2
