"""Facts about images that are found out once and kept in the store's `.cache`, with a digest."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from tqdm import tqdm

from repro.store.files import write_whole


def keep(path: Path, fact: Any) -> None:
    """Keep a fact, for `recall`; a RunError says why it cannot be written."""
    write_whole(path, json.dumps({"found": fact, "sha256": _digest(fact)}).encode())


def recall(path: Path) -> Any:
    """What `keep` kept; None: nothing. A damaged file is nothing, and a line says so."""
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
        if tree["sha256"] == _digest(tree["found"]):
            return tree["found"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        pass
    tqdm.write(f"{path} is damaged: it is made anew", file=sys.stderr)
    path.unlink(missing_ok=True)
    return None


def _digest(fact: Any) -> str:
    return hashlib.sha256(json.dumps(fact).encode()).hexdigest()
