"""Facts about images that took a look at all of them: kept in a file, bound by a digest."""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from tqdm import tqdm

from repro.errors import RunError
from repro.store.files import write_whole


def keep(path: Path, fact: Any) -> None:
    """Keep a fact, for `recall`; a RunError says why it cannot be written."""
    write_whole(path, json.dumps({"found": fact, "sha256": _digest(fact)}).encode())


def recall(path: Path) -> Any:
    """The fact kept at `path`; None: none is kept, or the file is damaged, and a line says so."""
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
        if tree["sha256"] == _digest(tree["found"]):
            return tree["found"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        pass
    tqdm.write(f"{path} is damaged: it is made anew", file=sys.stderr)
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise RunError(f"{path} cannot be removed: {error.strerror}; move it away") from None
    return None


def _digest(fact: Any) -> str:
    return hashlib.sha256(json.dumps(fact).encode()).hexdigest()
