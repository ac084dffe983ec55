"""torch's `.pth`, opened with `weights_only=True`, which builds tensors and runs nothing.

Older torch could be made to run code even so (CVE-2026-24747), hence the bound on its version. What
may run is more than tensors need, and can fill the memory: the pickle is looked through before.
"""

from __future__ import annotations

import mmap
import pickle
import pickletools
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from repro.errors import RequestError
from repro.weights import state_dict
from repro.weights.found import Found

OLDEST = "2.10"
WRAPPED = ("state_dict", "model", "model_state_dict")
"""Keys under which checkpoints keep a state dict."""
GLOBALS = re.compile(
    r"collections OrderedDict|torch [A-Za-z0-9]+Storage"
    r"|torch\._utils _rebuild_(tensor_v2|parameter)"
)
"""All that a state dict names in its pickle."""
PICKLE = re.compile(r"[^/]+/data\.pkl")
"""The entry of an archive that torch unpickles."""
MOST_ENTRIES = 10_000
"""Entries of an archive: one for each tensor, and a few."""
MOST_OPERATIONS = 100_000
"""Of a pickle: some twenty for each tensor."""
MOST_TUPLES = 20
"""That stand in a pickle once and are taken again: tuples of tuples can be large without end."""
OLDER_PICKLES = 5
"""Pickles at the beginning of a file that is no archive."""
ENTRY = b"PK\x01\x02"
"""Begins each entry of an archive's list."""
MORE = "it holds more than tensors, so that it is not opened: save the net's state_dict()"


def read(path: Path) -> Found:
    """The layers of a state dict.

    Raises:
        RequestError: torch is too old, or the file holds more than tensors, or too many.
        Exception: torch's own, where the file is damaged.
    """
    if torch.__version__ < OLDEST:
        raise RequestError(
            f"torch {torch.__version__} can be made to run code by such a file (CVE-2026-24747): "
            f"install torch {OLDEST} or newer, or take a safetensors file"
        )
    zipped = zipfile.is_zipfile(path)
    if zipped:
        _check_archive(path)
    else:
        with path.open("rb") as file:
            _check_pickles(file, OLDER_PICKLES)
    try:
        # Mapped, a zip file's tensors take memory only as they are read.
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except Exception as error:
        if isinstance(error, pickle.UnpicklingError) or "weights_only" in str(error):
            raise RequestError(MORE) from None
        raise
    return state_dict.layers(_tensors(content))


def _check_archive(path: Path) -> None:
    # Python keeps a good deal for each entry.
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        place, entries_left = content.find(ENTRY), MOST_ENTRIES
        while place >= 0:
            entries_left -= 1
            if entries_left < 0:
                raise RequestError(f"it is an archive of more than {MOST_ENTRIES:,} entries")
            place = content.find(ENTRY, place + 1)
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    names = [entry.filename for entry in entries]
    # torch looks for its entries whatever their case.
    folded = [name.casefold() for name in names]
    if len(set(folded)) < len(names):
        raise RequestError("it is an archive of several entries of one name")
    if any(name.endswith("constants.pkl") for name in folded):
        raise RequestError("it is a TorchScript program, not weights: save the net's state_dict()")
    pickles = [name for name in folded if name.endswith("data.pkl")]
    if len(pickles) != 1 or not PICKLE.fullmatch(next(n for n in names if n.casefold() in pickles)):
        some = ", ".join(names[:3])
        raise RequestError(f"it is an archive of {some} ...: expected torch's state dict")
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise RequestError("it is a compressed archive: torch stores its tensors as they are")
    with zipfile.ZipFile(path) as archive:
        for name in (name for name in names if name.endswith("data.pkl")):
            with archive.open(name) as pickled:
                _check_pickles(pickled, 1)


def _check_pickles(file: IO[bytes], count: int) -> None:
    """Refuse pickles that name more than tensors need, or could be large without end."""
    left, taken_again = MOST_OPERATIONS, 0
    for _ in range(count):
        tuples, before = set(), ""
        for operation, argument, _ in pickletools.genops(file):
            left -= 1
            name = operation.name
            if name == "GLOBAL" and not GLOBALS.fullmatch(str(argument)):
                raise RequestError(MORE)
            if name.endswith("BINPUT") and before.startswith("TUPLE"):
                tuples.add(argument)
            taken_again += name.endswith("BINGET") and argument in tuples
            if left < 0 or taken_again > MOST_TUPLES:
                raise RequestError("its pickle has more in it than any net's state dict")
            before = name


def _tensors(content: Any) -> Mapping[str, Tensor]:
    for key in WRAPPED:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping):
        raise RequestError(f"it holds a {type(content).__name__}: expected a state dict")
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise RequestError(f"its {name!r} is a {type(value).__name__}: expected tensors only")
    return content
