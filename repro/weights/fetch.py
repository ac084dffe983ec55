"""The file of weights that a configuration names: one of the user's, or one of torchvision's."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import torch

from repro.errors import RequestError, flat, one_line

TORCHVISION = "torchvision:"
"""Begins the name of a net of torchvision's, as in `torchvision:vgg16`."""
HASHED = re.compile(r"-([0-9a-f]{8,64})\.")
"""In the name of torchvision's files: the beginning of their SHA-256."""


def locate(weights: str, progress: bool, fetch: bool = True) -> Path:
    """The file that `weights` names; torchvision's is fetched into torch's cache, once and whole.

    Args:
        weights: a path, or `torchvision:NAME`.
        progress: whether a download shows a bar.
        fetch: False: what is not there is not fetched.

    Raises:
        RequestError: torchvision has no such net, or its file cannot be fetched or is damaged.
    """
    if not weights.startswith(TORCHVISION):
        try:
            return Path(weights).expanduser()
        except RuntimeError as error:
            raise RequestError(f"weights={weights} cannot be looked at: {error}") from None
    url = _url(weights)
    name = url.rsplit("/", 1)[1]
    digest, path = HASHED.findall(name)[0], Path(torch.hub.get_dir()) / "checkpoints" / name
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


def _url(weights: str) -> str:
    from torchvision import models

    known = [name for name in models.list_models(module=models) if name.startswith("vgg")]
    name = weights.removeprefix(TORCHVISION)
    if name not in known:
        raise RequestError(f"weights={weights} is not known: choose from {', '.join(known)}")
    return str(models.get_model_weights(name).DEFAULT.url)


def sha256(path: Path) -> str:
    """The digest of a file's content, 64 hex digits.

    Raises:
        RequestError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RequestError(flat(f"weights={path} cannot be read: {reason}")) from None
