"""A run's files for others to read: they do not say where its images, weights and runs lay."""

import json
import re
import shlex
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from repro.config.schema import Config, Data
from repro.store.checks import FOLDERS, SOURCES
from repro.store.expected import RESULT_DIGEST
from repro.store.runs import CONFIG, RECORD, RESULT, as_json, as_yaml, digest_of

QUOTES = "'\""
"""Of Hydra, around a value that it would not take as it is."""
PLAIN = re.compile(r"[\w./+:@-]+( [\w./+:@-]+)*")


def shared(name: str, content: bytes) -> bytes:
    """The content of a run's file as an archive keeps it; the same where it names no place.

    Neither a run's identity nor what its views are bound to depends on what is left out. The
    digest that a result holds of itself is made anew.
    """
    known: dict[str, Callable[[bytes], bytes]] = {CONFIG: _config, RESULT: _result}
    return known[name](content) if name in known else content


def shared_words(command: Sequence[str]) -> list[str]:
    """The words of a command without those that name a folder; of a file's path its name stays."""
    split = [word.partition("=") for word in command]
    return [
        f"{key}={quoted(_file_name(value))}" if _key(key) in SOURCES else f"{key}{mark}{value}"
        for key, mark, value in split
        if _key(key) not in FOLDERS
    ]


def _file_name(value: str) -> str:
    return Path(value.strip(QUOTES).replace("\\'", "'")).name


def shared_line(command: str) -> str:
    """A command line without the folders that it names; empty where it is none."""
    with suppress(ValueError):
        return shlex.join(shared_words(shlex.split(command)))
    return ""


def quoted(value: str) -> str:
    """A value for a command's word as Hydra takes it, for the shell to be quoted yet."""
    return value if PLAIN.fullmatch(value) else "'" + value.replace("'", "\\'") + "'"


def _key(word: str) -> str:
    # Of an override of Hydra's, which may add a key.
    return word.lstrip("+")


def _config(content: bytes) -> bytes:
    tree: dict[str, Any] = yaml.safe_load(content)
    before = json.dumps(tree)
    # Older files lack keys.
    tree |= {"runs": Config.runs} if "runs" in tree else {}
    tree["data"] |= {"root": Data.root} if "root" in tree["data"] else {}
    tree |= {key: Path(tree[key]).name for key in SOURCES if isinstance(tree.get(key), str)}
    record = tree.get(RECORD, {})
    if isinstance(record.get("command"), list):
        record["command"] = shared_words([*map(str, record["command"])])
    if json.dumps(tree) == before:
        return content
    return as_yaml(tree)


def _result(content: bytes) -> bytes:
    result: dict[str, Any] = json.loads(content)
    command = result.get("command")
    own = shared_words([*map(str, command)]) if isinstance(command, list) else command
    if own == command:
        return content
    result["command"] = own
    if RESULT_DIGEST in result.get("digests", {}):
        result["digests"][RESULT_DIGEST] = digest_of(result)
    return as_json(result)
