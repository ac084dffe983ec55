from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from repro.errors import RequestError
from repro.store.checks import check_config
from repro.store.runs import read_result
from tests.conftest import Compose

NAME = "A-S256-0123456789"
RESULT: dict[str, Any] = {
    "name": NAME,
    "identity": "0123456789",
    "outcome": "trained",
    "reason": "",
    "epochs": 1,
    "validation_error": 9.0,
    "seconds": 1.0,
    "images_per_second": None,
    "data": {"train": 9, "validation": 9, "test": 9, "classes": 2, "validation_is_test": False},
    "environment": {"git_dirty": None, "cpu": "Intel(R) Core(TM) i7 @ 3 GHz"},
}


def write(tmp_path: Path, text: str) -> Path:
    folder = tmp_path / NAME
    folder.mkdir()
    (folder / "result.json").write_text(text)
    return folder


def test_a_result_is_read(tmp_path: Path) -> None:
    assert read_result(write(tmp_path, json.dumps(RESULT))) == RESULT


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"identity": "=1+1"}, "identity"),
        ({"identity": "9876543210"}, "identity"),
        ({"outcome": "<b>"}, "outcome"),
        ({"epochs": True}, "epochs"),
        ({"validation_error": float("nan")}, "validation_error"),
        ({"seconds": 10**400}, "seconds"),
        ({"data": None}, "data"),
        ({"data": RESULT["data"] | {"mean": "grey"}}, "data.mean"),
        ({"digests": {"weights": "="}}, "digests.weights"),
        ({"environment": {}}, "environment.git_dirty"),
        ({"environment": {"git_dirty": None, "cpu": "@a"}}, "environment.cpu"),
        ({"name": "a\n\x1b[31mb"}, "a [31mb"),
    ],
)
def test_what_is_no_result_is_said_in_a_line(
    tmp_path: Path, change: dict[str, Any], key: str
) -> None:
    with pytest.raises(RequestError, match="result.json is damaged: ") as caught:
        read_result(write(tmp_path, json.dumps(RESULT | change)))
    assert key in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("text", ["[]", "[" * 100_000, ""])
def test_what_is_no_tree_is_damaged(tmp_path: Path, text: str) -> None:
    with pytest.raises(RequestError, match="result.json is damaged: "):
        read_result(write(tmp_path, text))


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("arch.name", "x+<img src=x>", "arch.name='x[+]<img src=x>' is no name"),
        ("arch.pool", "a b", "arch.pool='a b' holds characters"),
        ("size.width", float("nan"), "size.width=nan: expected a number above zero"),
    ],
)
def test_what_no_run_was_started_with(compose: Compose, path: str, value: Any, says: str) -> None:
    config = compose("data.root=/my photos")
    check_config(config)
    *groups, key = path.split(".")
    setattr(getattr(config, groups[0]) if groups else config, key, value)
    with pytest.raises((RequestError, ValueError), match=says):
        check_config(config)
