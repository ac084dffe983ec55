"""The store: a folder of runs. Each run is a folder of files, and each file is whole or absent.

A run's folder holds `config.yaml`, `log.csv`, `crops.png` and `weights.safetensors`, of descriptors
`scores-*.npz`, and live curves where they were asked for. `result.json` is written when training
has ended; a run that has it is never trained again, and the file is never changed. `views/*.npz`
follow. During training there are `checkpoint-*`. A run that failed leaves `failed.json`. Folders
whose names begin with a dot (locks, caches, Hydra's own) are not runs.

`result.json` also holds the digests of the weights, the log, the list of test images and its own
content, and who reads any of these compares it. Runs of older versions lack some or all.
"""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from repro.config.choices import STORED, read_file
from repro.config.schema import Config
from repro.config.values import typed
from repro.errors import RequestError, RunError, flat, leave_out, one_line
from repro.store import identity as identities
from repro.store.checks import NAME, check_config, check_published, check_result
from repro.store.expected import RESULT_DIGEST, Expected, sha256
from repro.store.files import read_whole
from repro.store.identity import PUBLISHED
from repro.store.leases import holder

CACHE = ".cache"
"""The folder of a store for what was found out of data, to be found again."""
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
EVENTS = "events.out.tfevents.*"
"""The name of a file of live curves, where they were asked for; the suite itself reads none."""
CHECKPOINTS = ("checkpoint-0.safetensors", "checkpoint-1.safetensors")
"""They are written in turn, so that one is whole while the other is written."""


@dataclass(frozen=True)
class Run:
    """A finished run as it lies in the store; of an unfinished one, `result` is empty."""

    folder: Path
    name: str
    identity: str
    config: Config
    result: dict[str, Any]
    fingerprint: str = ""
    """The fingerprint of the data folder; empty for data that has none."""
    parents: tuple[str, ...] = ()
    """The identities of the runs that it starts from."""
    copies: tuple[Path, ...] = ()
    """Folders of the same net in other stores, which may hold more numbers of it."""

    @property
    def places(self) -> tuple[Path, ...]:
        """All folders that hold numbers of this net, the one that counts first."""
        return (self.folder, *self.copies)

    @property
    def published(self) -> dict[str, Any] | None:
        """The record of weights that others trained; None: the net was trained here."""
        return self.result.get(PUBLISHED)

    @property
    def learnt(self) -> bool:
        """Whether the validation error ended clearly below chance."""
        return bool(self.result["outcome"] == "trained")

    @property
    def tested(self) -> Expected:
        """The images and the weights that its views must be of."""
        return Expected.of(self.result)


def read_config(folder: Path) -> tuple[Config, dict[str, Any]]:
    """A run's configuration and its record (identity, parents, fingerprint), or a RequestError."""
    path = folder / CONFIG
    try:
        _, tree = read_file(path, STORED)
        record = tree.pop(RECORD)
        config = typed(tree)
        check_config(config)
        published = record.get(PUBLISHED)
        if (config.weights is None) != (published is None):
            raise ValueError(f"weights={config.weights!a} and {PUBLISHED} do not agree")
        if published is not None:
            check_published(published)
        parents = {str(role): str(one) for role, one in record["parents"].items()}
        expected = identities.identity(config, parents, record["fingerprint"], published)
    except Exception as error:
        reason = f"it lacks {error}" if isinstance(error, KeyError) else one_line(error)
        raise RequestError(f"{path} cannot be read: {reason}; move the folder away") from error
    if (name := identities.name(config, expected)) != folder.name:
        said = f"{folder} contradicts its {CONFIG}, that of {name}"
        raise RequestError(f"{said}: give the folder this name, or move it away")
    return config, record


def check_folder(folder: Path) -> None:
    """Refuse, with a RequestError, a folder that stands where a run belongs and is not that run."""
    if not folder.is_dir():
        raise RequestError(f"{folder} is a file where the folder of a run belongs: move it away")
    if (folder / CONFIG).exists():
        read_config(folder)
        read_result(folder)
        names = RESULT, LOG, WEIGHTS, CROPS, *CHECKPOINTS
        for path in (*(folder / name for name in names), *folder.glob("views/*")):
            if path.is_dir():
                raise RequestError(f"{path} is a folder where a file belongs: move it away")
        if os.path.lexists(views := folder / "views") and not views.is_dir():
            raise RequestError(f"{views} is a file where a folder belongs: move it away")
    elif any(path.name[0] != "." and path.name != FAILED for path in folder.iterdir()):
        raise RequestError(f"{folder} holds files but no {CONFIG}: move the folder away")


def check_outside(out: Path, key: str = "out") -> None:
    """Refuse, with a RequestError, to write a file or a folder into a run's folder."""
    for place in (out.resolve(), *out.resolve().parents):
        others = (place / name for name in (RESULT, WEIGHTS, LOG, FAILED))
        if os.path.isfile(place / CONFIG) and any(map(os.path.exists, others)):
            raise RequestError(f"{key}={out} is the folder of a run, or in it: name another")


def read_result(folder: Path) -> dict[str, Any] | None:
    """How training ended, or None; a RequestError: `result.json` is damaged or another's."""
    path = folder / RESULT
    try:
        result: dict[str, Any] = json.loads(read_whole(path).decode("utf-8"))
        check_result(result)
        if not (name := result["name"]).endswith(f"-{result['identity']}"):
            raise ValueError(f"it belongs to another run than {name[:200]}")
        if result.get("digests", {}).get(RESULT_DIGEST) not in (None, digest_of(result)):
            raise ValueError("its content has another digest")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise RequestError(f"{path} cannot be read, it may be whole: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        why = one_line(error)
        raise RequestError(f"{path} is damaged: {why}; remove it to train again") from None
    if name != folder.name:
        said = f"{path} belongs to {flat(name)[:200]}"
        raise RequestError(f"{said}: give the folder that name, or move this file away")
    return result


def as_json(content: dict[str, Any]) -> bytes:
    """The content of a JSON file of a run."""
    return (json.dumps(content, indent=1, allow_nan=False) + "\n").encode()


def as_yaml(tree: dict[str, Any]) -> bytes:
    """The content of a run's `config.yaml`."""
    text: str = yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)
    return text.encode()


def digest_of(result: dict[str, Any]) -> str:
    """The digest of the content of a `result.json`, its own digest left aside."""
    known = result.get("digests", {})
    digests = {key: value for key, value in known.items() if key != RESULT_DIGEST}
    return sha256(json.dumps(result | {"digests": digests}, sort_keys=True).encode())


def log_content(run: Run) -> bytes | None:
    """The content of a run's log; None where it has none, or where it is not the one it wrote."""
    try:
        content = read_whole(run.folder / LOG, LARGEST_LOG)
    except OSError:
        return None
    known = run.result.get("digests", {}).get("log")
    return content if known in (None, sha256(content)) else None


def read_weights(folder: Path) -> tuple[bytes, str]:
    """A finished run's weights and their digest; a RunError: none are those that training left."""
    path, result = folder / WEIGHTS, read_result(folder)
    try:
        content = read_whole(path)
    except FileNotFoundError:
        if result is not None and result["outcome"] == "diverged":
            raise RunError(f"{folder.name} diverged, has no weights: try another seed") from None
        raise RunError(f"{path} is missing: put it back, or remove its folder") from None
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}") from None
    known = None if result is None else Expected.of(result).weights
    if known not in (None, digest := sha256(content)):
        raise RunError(f"{path} is damaged: {RESULT} has another digest; remove the folder")
    return content, digest


def _read(folder: Path, result: dict[str, Any] | None) -> Run:
    config, record = read_config(folder)
    if result is not None and result.get(PUBLISHED) != record.get(PUBLISHED):
        raise RequestError(f"{folder / RESULT} is of other weights than {CONFIG}")
    identity = folder.name.rpartition("-")[2]
    parents = tuple(record["parents"].values())
    return Run(folder, folder.name, identity, config, result or {}, record["fingerprint"], parents)


def read_run(folder: Path) -> Run | None:
    """The run of a folder, None: its training has not ended; a RequestError: it is damaged."""
    result = read_result(folder)
    return None if result is None else _read(folder, result)


def _folders(store: Path) -> list[Path]:
    there = store.iterdir() if store.is_dir() else ()
    # Unlike `Path.is_file`, it is no error where a folder cannot be looked into.
    kept = CONFIG, RESULT
    found = (
        one for one in there if any(os.path.isfile(one / name) for name in kept) or _is_closed(one)
    )
    return sorted(path for path in found if path.name[0] != ".")


def _is_closed(folder: Path) -> bool:
    """Whether a folder with the name of a run cannot be looked into by this user."""
    named = re.fullmatch(f"{NAME.pattern}-[0-9a-f]{{10}}", folder.name)
    return named is not None and not os.access(folder, os.X_OK)


def _runs(store: Path, ended: bool) -> Iterator[Run]:
    for folder in _folders(store):
        try:
            if not NAME.fullmatch(folder.name):
                raise RequestError(f"{store}: no run is called {folder.name!a}")
            result = read_result(folder)
            if result is not None or not ended:
                yield _read(folder, result)
        except RequestError as error:
            if ended:
                leave_out(str(error))


def started(store: Path) -> list[Run]:
    """All runs of a store, finished or not; what is damaged is left out."""
    return list(_runs(store, ended=False))


def finished(store: Path) -> list[Run]:
    """All finished runs, by name; what is damaged is left out with a line on standard error."""
    return list(_runs(store, ended=True))


def names(store: Path) -> set[str]:
    """Names of the runs whose training has ended, whole or damaged."""
    named = (one for one in _folders(store) if NAME.fullmatch(one.name))
    return {folder.name for folder in named if os.path.isfile(folder / RESULT)}


def unfinished(store: Path) -> list[tuple[str, str]]:
    """Names of the runs that are not finished, each with the reason known."""
    usual = "interrupted: the same command goes on with it"
    there = (one for one in _folders(store) if not _is_closed(one))
    left = [one for one in there if not os.path.isfile(one / RESULT)]
    return [(one.name, why_unfinished(one) or usual) for one in left if NAME.fullmatch(one.name)]


def why_unfinished(folder: Path) -> str | None:
    """Why a run is not finished, where known: who works on it, or why it failed."""
    if (who := holder(folder.parent, folder.name)) is not None:
        return f"another process works on it ({who})"
    try:
        return flat(str(json.loads(read_whole(folder / FAILED))["reason"]))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
