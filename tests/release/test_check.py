"""Stored views against the net: what is right passes, and what was tampered with does not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import repro.verify
from tests.release.conftest import Command

VIEWS = 9


@pytest.fixture
def copy(trained: Path, tmp_path: Path) -> Path:
    """The run, to be tampered with, and of its many crops those of one view."""
    folder = Path(shutil.copytree(trained, tmp_path / "elsewhere" / trained.name))
    for file in (folder / "views").glob("grid-*"):
        if file.stem != "grid-Q256":
            file.unlink()
    return folder


def verdicts(shown: str) -> dict[str, bool]:
    """Whether each view is within, by name."""
    rows = [line.split() for line in shown.splitlines()[1:-1]]
    return {row[0]: row[4] == "yes" for row in rows}


def rewrite(file: Path, **changes: np.ndarray) -> None:
    """Change a view, and leave out its digest, as views had none once."""
    with np.load(file) as stored:
        kept = {name: array for name, array in stored.items() if name != "digest"}
    np.savez_compressed(file, **(kept | changes))


def forget_digests(folder: Path) -> None:
    """Leave a run as those were that knew no digests."""
    result = folder / "result.json"
    result.write_text(json.dumps(json.loads(result.read_text()) | {"digests": {}}))
    for file in (folder / "views").iterdir():
        rewrite(file)


def test_what_was_computed_here_is_as_stored(copy: Path, way_in: Command) -> None:
    status, shown, error = way_in(repro.verify, f"run={copy}")
    assert (status, error) == (0, "")
    found = verdicts(shown)
    assert len(found) == VIEWS
    assert all(found.values())
    assert shown.splitlines()[1].split()[1] == "18", "200 are asked for and 18 there are"


@pytest.mark.parametrize("known", [True, False])
def test_one_flipped_bit_of_the_weights_is_noticed(
    copy: Path, way_in: Command, known: bool
) -> None:
    """By the digest of the weights; and by the posteriors, of runs made before there was one."""
    file = copy / "weights.safetensors"
    if not known:
        forget_digests(copy)
    state = load_file(file)
    bits = state["classifier.6.bias"].view(np.uint32)
    bits[1] ^= np.uint32(1 << 30)
    save_file(state, file)
    status, shown, error = way_in(repro.verify, f"run={copy}")
    assert status == 1
    if known:
        assert (shown, error.count("\n")) == ("", 1)
        assert str(file) in error
        return
    assert not any(verdicts(shown).values())


def test_a_damaged_view_is_a_row(copy: Path, way_in: Command) -> None:
    (copy / "views" / "grid-Q256.npz").write_bytes(b"PK")
    status, shown, _ = way_in(repro.verify, f"run={copy}", "images=3")
    assert status == 1
    assert [view for view, within in verdicts(shown).items() if not within] == ["grid-Q256"]


def test_other_data_are_refused(
    copy: Path, photographs: Path, way_in: Command, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(photographs, other)
    images = sorted((other / "test" / "cat").iterdir())
    images[0].rename(images[0].with_name("new.png"))
    status, shown, error = way_in(repro.verify, f"run={copy}", f"data.root={other}")
    assert (status, shown, error.count("\n")) == (2, "", 1)
    assert "test/cat/new.png" in error


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "run="),
        (["run=RUN", "data.root=/nowhere"], "/nowhere"),
        (["run=RUN", "device=cuda:9"], "device=cuda:9"),
    ],
)
def test_a_wrong_request_is_one_line(
    words: list[str], said: str, trained: Path, way_in: Command
) -> None:
    words = [word.replace("RUN", str(trained)) for word in words]
    status, shown, error = way_in(repro.verify, *words)
    assert (status, shown, error.count("\n")) == (2, "", 1)
    assert said in error
