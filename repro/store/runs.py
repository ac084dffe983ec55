"""The store: a folder of runs. Each run is a folder of files, and each file is whole or absent.

A run's folder holds `config.yaml`, `log.csv`, `crops.png` and `weights.safetensors`. `result.json`
is written when training has ended; a run that has it is never trained again, and the file is never
changed. `views/*.npz` follow. During training there are `checkpoint-*`. A run that failed leaves
`failed.json`. Folders whose names begin with a dot (locks, caches, Hydra's own) are not runs.

`result.json` also holds the digests of the weights, of the log, of the list of test images and of
its own content. Who reads the weights, the log or a view compares it with these (see
`read_weights`, `read_log` and `repro.store.views`). Runs of older versions lack some or all.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repro.config.choices import STORED, read_file
from repro.config.schema import Config, typed
from repro.errors import RequestError, RunError, flat, one_line
from repro.store import identity as identities
from repro.store.checks import LONGEST, NAME, check_config, check_published, check_result
from repro.store.expected import RESULT_DIGEST, Expected, sha256
from repro.store.files import read_whole
from repro.store.identity import PUBLISHED
from repro.store.leases import at_work

CONFIG = "config.yaml"
RECORD = "record"
"""The key of that file that holds the run's identity, its parents and its data's fingerprint, and
what is known of published weights."""
LOG = "log.csv"
LARGEST_LOG = 2**26
"""Bytes."""
WEIGHTS = "weights.safetensors"
CROPS = "crops.png"
RESULT = "result.json"
FAILED = "failed.json"
TRACK = "track"
"""A folder of live curves, where they were asked for; the suite itself reads none."""
CHECKPOINTS = ("checkpoint-0.safetensors", "checkpoint-1.safetensors")
"""They are written in turn, so that one is whole while the other is written."""


@dataclass(frozen=True)
class Run:
    """A finished run as it lies in the store."""

    folder: Path
    name: str
    identity: str
    config: Config
    result: dict[str, Any]

    @property
    def published(self) -> dict[str, Any] | None:
        """What is known of the weights that others trained; None: the net was trained here."""
        return self.result.get(PUBLISHED)

    @property
    def tested(self) -> Expected:
        """What its views must be of."""
        return Expected.of(self.result)


def read_config(folder: Path) -> tuple[Config, dict[str, Any]]:
    """The configuration of a run's folder and its record (identity, parents, fingerprint).

    Raises:
        RequestError: it cannot be read, or it is not the configuration that the folder is named
            after.
    """
    path = folder / CONFIG
    try:
        _, tree = read_file(path, STORED)
        record = tree.pop(RECORD)
        config = typed(tree)
        check_config(config)
        published = record.get(PUBLISHED)
        check_published(config, published)
        expected = identities.identity(config, record["parents"], record["fingerprint"], published)
    except OSError as error:
        raise _unreadable(path, error) from None
    except Exception as error:
        reason = f"it lacks {error}" if isinstance(error, KeyError) else one_line(error)
        raise RequestError(
            f"{path} cannot be read as a run's configuration: {reason}; move the folder away"
        ) from error
    if identities.name(config, expected) != folder.name:
        raise RequestError(
            f"{folder} contradicts its config.yaml, which belongs to "
            f"{identities.name(config, expected)}: move the folder away"
        )
    return config, record


def _unreadable(path: Path, error: OSError) -> RequestError:
    return RequestError(f"{path} cannot be read: {error.strerror}; it may be whole: leave it there")


def check_folder(folder: Path) -> None:
    """Refuse a folder that stands where a run belongs and is not that run.

    Raises:
        RequestError: its configuration is another's, or it holds files and no configuration.
    """
    if not folder.is_dir():
        raise RequestError(f"{folder} is a file where the folder of a run belongs: move it away")
    if (folder / CONFIG).exists():
        read_config(folder)
        read_result(folder)
        for path in (folder / LOG, folder / WEIGHTS, *folder.glob("views/*.npz")):
            if path.is_dir():
                raise RequestError(f"{path} is a folder where a file belongs: move it away")
    elif any(path.name[0] != "." and path.name != FAILED for path in folder.iterdir()):
        raise RequestError(f"{folder} holds files but no {CONFIG}: move the folder away")


def read_result(folder: Path) -> dict[str, Any] | None:
    """How training ended, or None where it has not.

    Raises:
        RequestError: `result.json` is damaged.
    """
    path = folder / RESULT
    if not os.path.isfile(path):
        return None
    try:
        result: dict[str, Any] = json.loads(read_whole(path).decode("utf-8"))
        if result["name"] != folder.name:
            raise ValueError(f"it belongs to {str(result['name'])[:LONGEST]}")
        check_result(result)
        if not folder.name.endswith(f"-{result['identity']}"):
            raise ValueError("its identity is not the folder's")
        known = result.get("digests", {}).get(RESULT_DIGEST)
        if known is not None and known != digest_of(result):
            raise ValueError("its content has another digest")
    except OSError as error:
        raise _unreadable(path, error) from None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        reason = one_line(error)
        raise RequestError(f"{path} is damaged: {reason}; remove it to train again") from None
    return result


def digest_of(result: dict[str, Any]) -> str:
    """The digest of the content of a `result.json`, its own digest left aside."""
    digests = {key: value for key, value in result["digests"].items() if key != RESULT_DIGEST}
    return sha256(json.dumps(result | {"digests": digests}, sort_keys=True).encode())


def read_log(run: Run) -> bytes | None:
    """The content of a run's log; None where it has none, or where it is not the one it wrote."""
    try:
        content = read_whole(run.folder / LOG, LARGEST_LOG)
    except OSError:
        return None
    known = run.result.get("digests", {}).get("log")
    return content if known in (None, sha256(content)) else None


def read_run(folder: Path) -> Run | None:
    """The run of a folder; None where its training has not ended.

    Raises:
        RequestError: its configuration or result is damaged, or one of them another run's.
    """
    result = read_result(folder)
    if result is None:
        return None
    config, record = read_config(folder)
    if result.get(PUBLISHED) != record.get(PUBLISHED):
        raise RequestError(f"{folder / RESULT} is of other weights than {CONFIG}")
    return Run(folder, folder.name, result["identity"], config, result)


def read_weights(folder: Path) -> bytes | None:
    """The content of a finished run's weights; None where it has none.

    Raises:
        RequestError: `result.json` is damaged.
        RunError: the weights cannot be read, or are not those that training ended with.
    """
    path, result = folder / WEIGHTS, read_result(folder)
    try:
        content = read_whole(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}") from None
    known = None if result is None else Expected.of(result).weights
    if known is not None and sha256(content) != known:
        raise RunError(
            f"{path} is damaged: its digest is not the one in {RESULT}; remove the folder "
            f"{folder} to train again"
        )
    return content


@dataclass(frozen=True)
class Started:
    """A run, finished or not."""

    config: Config
    fingerprint: str
    """The fingerprint of the data folder; empty for data that has none."""
    result: dict[str, Any] | None


def started(store: Path) -> list[Started]:
    """All runs of a store, finished or not; what is damaged is left out."""
    found = []
    for folder in _folders(store):
        try:
            config, record = read_config(folder)
            found.append(Started(config, record["fingerprint"], read_result(folder)))
        except RequestError:
            continue
    return found


def _folders(store: Path, named: bool = True) -> list[Path]:
    """Those that hold a run's configuration, or, of these, those that no run is called."""
    if not store.is_dir():
        return []
    return sorted(
        path
        for path in store.iterdir()
        if not path.name.startswith(".")
        # Unlike `Path.is_file`, it is no error where a folder cannot be looked into.
        and os.path.isfile(path / CONFIG)
        and bool(NAME.fullmatch(path.name)) == named
    )


def finished(store: Path) -> list[Run]:
    """All finished runs, by name; what is damaged is left out with a line on standard error."""
    runs = []
    for folder in _folders(store, named=False):
        print(f"left out: {store}: no run is called {folder.name!a}", file=sys.stderr)
    for folder in _folders(store):
        try:
            if (run := read_run(folder)) is not None:
                runs.append(run)
        except RequestError as error:
            print(f"left out: {error}", file=sys.stderr)
    return runs


def unfinished(store: Path) -> list[tuple[str, str]]:
    """Names of the runs that are not finished, each with the reason known."""
    rows = []
    for folder in _folders(store):
        if not os.path.isfile(folder / RESULT):
            reason = why_unfinished(folder) or "interrupted: the same command goes on with it"
            rows.append((folder.name, reason))
    return rows


def names(store: Path) -> set[str]:
    """Names of the runs whose training has ended, whole or damaged."""
    return {folder.name for folder in _folders(store) if os.path.isfile(folder / RESULT)}


def why_unfinished(folder: Path) -> str | None:
    """What is known of a run that is not finished: who works on it, or why it failed; or None."""
    if at_work(folder.parent, folder.name):
        return "another process works on it"
    return failure(folder)


def without_weights(folder: Path) -> str:
    """Why a run whose training has ended has no weights, and what to do about it."""
    result = read_result(folder)
    if result is not None and result["outcome"] == "diverged":
        return f"{folder.name} diverged and has no weights to start from: try another seed"
    return f"{folder / WEIGHTS} is missing: put it back, or remove its folder to train again"


def failure(folder: Path) -> str | None:
    """The line that a failed run left, or None."""
    try:
        reason = json.loads(read_whole(folder / FAILED))["reason"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return flat(str(reason))
