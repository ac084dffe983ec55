"""What the store keeps as JSON in its `.cache`: each file has a digest, checked when it is read."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from tqdm import tqdm

from repro.store.files import write_whole


def keep(path: Path, found: Any) -> None:
    """Keep what was found, for `recall`.

    Raises:
        RunError: it cannot be written.
    """
    write_whole(path, json.dumps({"found": found, "sha256": _digest(found)}).encode())


def recall(path: Path) -> Any:
    """What `keep` kept; None where nothing was kept. A damaged file is nothing, and a line says so.

    The line goes to standard error.
    """
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
        if tree["sha256"] == _digest(tree["found"]):
            return tree["found"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        pass
    damaged(path)
    return None


def damaged(path: Path) -> None:
    """Say that a kept file is damaged and is made anew."""
    tqdm.write(f"{path} is damaged: it is made anew", file=sys.stderr)


def _digest(found: Any) -> str:
    return hashlib.sha256(json.dumps(found).encode()).hexdigest()
