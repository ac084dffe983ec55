from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from repro.errors import RequestError
from repro.store.checks import check_config
from repro.store.runs import read_config, read_result
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
    ("change", "says"),
    [
        ({"identity": "=1+1"}, "identity is not ten hex digits"),
        ({"identity": "9876543210"}, "its identity is not the folder's"),
        ({"outcome": "<b>"}, "outcome is not one of trained, did not learn, diverged"),
        ({"outcome": ["trained"]}, "outcome is not one of"),
        ({"reason": None}, "reason is not text"),
        ({"epochs": True}, "epochs is not zero or a whole number above it"),
        ({"validation_error": float("nan")}, "validation_error is not a number from 0 to 100"),
        ({"validation_error": {"mean": 9.0}}, "validation_error is not a number from 0 to 100"),
        ({"parameters": "many"}, "parameters is not zero or a whole number above it"),
        ({"parents": ["a8397db866"]}, "parents is not names of runs"),
        ({"data": RESULT["data"] | {"mean": "grey"}}, "data.mean is not a list of numbers"),
        ({"seconds": 10**400}, "seconds is not zero or a number above it"),
        ({"data": None}, "data is not keys with values"),
        ({"data": {}}, "it lacks data.train, data.validation"),
        ({"data": RESULT["data"] | {"test": 0}}, "data.test is not a whole number above zero"),
        ({"data": RESULT["data"] | {"left_out": "3"}}, "data.left_out is not zero or"),
        ({"digests": []}, "digests is not keys with values"),
        ({"digests": {"weights": "="}}, "digests.weights is not 64 hex digits"),
        ({"digests": {"test_images": 7}}, "digests.test_images is not 64 hex digits"),
        ({"environment": {}}, "it lacks environment.git_dirty"),
        ({"environment": {"git_dirty": None, "cpu": []}}, "environment.cpu is not null"),
        ({"environment": {"git_dirty": None, "cpu": "@a"}}, "environment.cpu is not null"),
        ({"environment": {"git_dirty": None, "cpu": "a\nb"}}, "environment.cpu is not null"),
        ({"name": "a\n\x1b[31mb"}, "it belongs to a [31mb"),
    ],
)
def test_what_is_no_result_is_said_in_a_line(
    tmp_path: Path, change: dict[str, Any], says: str
) -> None:
    with pytest.raises(RequestError) as caught:
        read_result(write(tmp_path, json.dumps(RESULT | change)))
    assert f"result.json is damaged: {says}" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("text", ["[]", "null", "[" * 100_000, '{"name": "A', ""])
def test_what_is_no_tree_is_damaged(tmp_path: Path, text: str) -> None:
    with pytest.raises(RequestError, match="result.json is damaged: "):
        read_result(write(tmp_path, text))


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("arch.name", "x+<img src=x>", "arch.name='x[+]<img src=x>' is no name"),
        ("size.name", "=1", "size.name='=1' is no name"),
        ("precision", "=1+1", "precision='=1[+]1' holds characters"),
        ("arch.pool", "a b", "arch.pool='a b' holds characters"),
        ("data.root", "a`b", "data.root='a`b' holds characters"),
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


def test_a_few_lines_that_stand_for_billions_are_refused_at_once(tmp_path: Path) -> None:
    lines = ["a0: &a0 [" + ", ".join("x" * 9) + "]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
    folder = tmp_path / NAME
    folder.mkdir()
    (folder / "config.yaml").write_text("\n".join(lines))
    with pytest.raises(RequestError, match="aliases stand for more than 100,000 values"):
        read_config(folder)
