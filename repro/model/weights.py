"""Weights of a finished run, on disk and back."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load, save

from repro.errors import RunError
from repro.model.vgg import VGG
from repro.store.runs import WEIGHTS, read_weights, without_weights


def weights(net: VGG) -> bytes:
    """The content of a run's file of weights."""
    return save({name: t.detach().cpu().contiguous() for name, t in net.state_dict().items()})


def load_weights(net: VGG, folder: Path) -> None:
    """Load a finished run's weights into a net of the same shape.

    Raises:
        RunError: the run has none, since it diverged or the file was removed; or it is damaged.
    """
    content = read_weights(folder)
    if content is None:
        raise RunError(without_weights(folder))
    try:
        net.load_state_dict(load(content))
    except (SafetensorError, RuntimeError) as error:
        path, reason = folder / WEIGHTS, str(error).splitlines()[0]
        raise RunError(
            f"{path} is damaged: {reason}; remove the folder {folder} to train again"
        ) from None
