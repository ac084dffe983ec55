"""An archive: one file with the runs that a report is made from, without weights and posteriors.

It is a zip of a folder of runs (configurations, logs, results, ranks) and a `MANIFEST.json`: the
digests of its `files`, and of each file of `ranks` its runs, its images and its numbers. One folder
gives the same bytes. It is read whole: other verdicts could follow from a part.
"""

import io
import json
import os
import re
import zipfile
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from repro.errors import RequestError, leave_out, one_line
from repro.store import ranks
from repro.store.expected import SHORT, sha256
from repro.store.files import read_whole, state_of, write_whole
from repro.store.runs import LOG, finished
from repro.store.scores import BEGIN
from repro.store.sharing import shared_line

ARCHIVE = "runs.zip"
MANIFEST = "MANIFEST.json"
COMMANDS = "commands.txt"
"""The command lines that made the runs of an archive."""
UNPACKED = "vgg-repro-runs-"
"""How the name begins of the folder that an archive is unpacked to."""
MEMBER = re.compile(r"(?:[^\W_][\w.+=,@\[\]-]*/)?[^\W_][\w.+=,@\[\]-]*")
MOST, LARGEST = 20_000, 2**30
"""Members, and bytes of all of them unpacked."""


def pack(folder: Path, file: Path) -> None:
    """Put a folder of runs into an archive; a RequestError says what of it has no place there."""
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())
    if found := [name for name in names if not MEMBER.fullmatch(name) or name == MANIFEST]:
        raise RequestError(f"{folder / found[0]} has no place in an archive of runs")
    try:
        members = {name: read_whole(folder / name, LARGEST, links=False) for name in names}
        _check_size(len(members) + 1, sum(map(len, members.values())))
    except (OSError, ValueError) as error:
        raise RequestError(f"{folder} cannot be packed: {one_line(error)}") from None
    manifest = {
        "files": {name: sha256(content) for name, content in members.items()},
        "ranks": _ties(folder),
    }
    text = (json.dumps(manifest, indent=1) + "\n").encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in {MANIFEST: text, **members}.items():
            # Its date is 1980, wherever and whenever it is written.
            entry = zipfile.ZipInfo(name)
            entry.create_system, entry.external_attr = 3, 0o644 << 16
            archive.writestr(entry, content, zipfile.ZIP_DEFLATED, compresslevel=9)
    write_whole(file, buffer.getvalue())


@lru_cache
def contents(folder: Path) -> frozenset[str]:
    """What a report follows from: runs with weights, logs, scores, numbers of ranks, commands."""
    every = folder.glob("*/*")
    found = {str(one.relative_to(folder)) for one in every if one.name == LOG or BEGIN in one.name}
    for run in finished(folder):
        found.add(f"{run.name}, weights {str(run.tested.weights)[:SHORT]}")
    if (commands := folder / COMMANDS).is_file():
        lines = read_whole(commands).decode(errors="replace").splitlines()
        found.update(filter(None, map(shared_line, lines)))
    ranked = [("+".join(sorted(one["runs"])), one["numbers"]) for one in _ties(folder).values()]
    numbers = {f"{number} of {names}" for names, own in ranked for number in own}
    return frozenset(found | numbers)


def opened(file: Path) -> Path:
    """The folder of runs that an archive holds, unpacked for this process; refused if damaged."""
    if (state := state_of(file)) is None:
        raise RequestError(f"{file} cannot be looked at")
    return Path(_opened(file.absolute(), state).name, "runs")


def is_unpacked(folder: Path) -> bool:
    """Whether a folder of runs is that of an archive, of this process."""
    return folder.parent.name.startswith(UNPACKED)


@lru_cache
def _opened(file: Path, state: tuple[int, int]) -> TemporaryDirectory[str]:
    try:
        members = _members(read_whole(file, LARGEST))
        manifest = json.loads(members.pop(MANIFEST))
        known = {str(name): str(digest) for name, digest in manifest["files"].items()}
        ties = manifest["ranks"]
    except Exception as error:
        raise RequestError(f"{file} is damaged: {one_line(error)}; fetch it again") from None
    wrong = dict.fromkeys(known.keys() - members.keys(), "it is missing")
    for name, content in members.items():
        if name not in known:
            wrong[name] = "the manifest does not list it"
        elif sha256(content) != known[name]:
            wrong[name] = "its content has another digest"
    for name, why in sorted(wrong.items()):
        leave_out(f"{file}: {name}: {why}")
    if wrong:
        raise RequestError(f"{file} is not whole, and a part may say otherwise: fetch it again")
    # A killed process leaves it to the system.
    try:
        place = TemporaryDirectory(prefix=UNPACKED, ignore_cleanup_errors=True)
        runs = Path(place.name, "runs")
        for name, content in members.items():
            path = runs / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    except OSError as error:
        said = f"{file} cannot be unpacked ({error.strerror})"
        raise RequestError(f"{said}: set TMPDIR to a folder with room") from None
    try:
        same = _ties(runs) == ties
    except RequestError as error:
        raise RequestError(f"{file}: {str(error).replace(f'{runs}{os.sep}', '')}") from None
    if not same:
        raise RequestError(f"{file} is damaged: its ranks are of other runs than {MANIFEST} says")
    return place


def _members(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries, names = archive.infolist(), archive.namelist()
        _check_size(len(names), sum(entry.file_size for entry in entries))
        if len(set(names)) < len(names) or not all(map(MEMBER.fullmatch, names)):
            raise ValueError("it holds what is no run's, or two members of one name")
        return {entry.filename: archive.read(entry) for entry in entries}


def _check_size(files: int, size: int) -> None:
    if files > MOST or size > LARGEST:
        raise ValueError(f"it holds more than {MOST:,} files or {LARGEST:,} bytes")


def _ties(folder: Path) -> dict[str, Any]:
    names = {path.name.rpartition("-")[2]: path.name for path in folder.iterdir()}
    ties = {}
    for file in sorted((folder / ranks.FOLDER).glob("*.npz")):
        found = ranks.decoded(file)
        if found is None or found.runs != file.stem or not names.keys() >= {*file.stem.split("+")}:
            raise RequestError(f"{file}: ranks of no run that stands beside them")
        ties[f"{ranks.FOLDER}/{file.name}"] = {
            "runs": [names[identity] for identity in file.stem.split("+")],
            "images": found.images,
            "numbers": sorted(found.ranks),
        }
    return ties
