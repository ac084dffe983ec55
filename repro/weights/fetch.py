"""The file of weights that a configuration names: one of the user's, or one of torchvision's."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

import torch

from repro.errors import RequestError, flat, one_line

TORCHVISION = "torchvision:"
"""Begins the name of a net of torchvision's, as in `torchvision:vgg16`."""


def locate(weights: str, progress: bool, fetch: bool = True) -> Path:
    """The file that `weights` names; torchvision's is fetched into torch's cache, once and whole.

    `progress` shows a bar; without `fetch` nothing is fetched. RequestError: torchvision has no
    such net, or its file is not there, cannot be fetched or is damaged.
    """
    if not weights.startswith(TORCHVISION):
        return Path(os.path.expanduser(weights))
    from torchvision import models

    name = weights.removeprefix(TORCHVISION)
    known = [known for known in models.list_models(module=models) if known.startswith("vgg")]
    if name not in known:
        raise RequestError(f"weights={weights} is not known: choose from {', '.join(known)}")
    url = str(models.get_model_weights(name).DEFAULT.url)
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[1]
    # The beginning of its SHA-256 stands in the file's name.
    digest = re.findall(r"-([0-9a-f]{8,64})\.", path.name)[0]
    if not path.is_file():
        if not fetch:
            raise RequestError(f"weights={weights} is not at {path} yet, and nothing is fetched")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # It writes beside, compares the hash and renames.
            torch.hub.download_url_to_file(url, str(path), digest, progress)
        except (OSError, RuntimeError) as error:
            raise RequestError(
                f"weights={weights} cannot be fetched from {url}: {flat(one_line(error))}"
            ) from None
    if not sha256(path).startswith(digest):
        raise RequestError(f"{path} is damaged: its SHA-256 does not begin with {digest}")
    return path


def sha256(path: Path) -> str:
    """The digest of a file's content, 64 hex digits; RequestError where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RequestError(flat(f"weights={path} cannot be read: {reason}")) from None
