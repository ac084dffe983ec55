"""The class score map of one class as a picture over the image, at several test scales."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from repro.data.images import decode
from repro.data.rescale import rescale
from repro.model.cost import receptive_field
from repro.model.dense import Dense
from repro.protocol.rescaling import rescaling
from repro.protocol.scales import pixels, several_q
from repro.release.answers import say_aside
from repro.release.command import check_places
from repro.release.trained import Trained
from repro.run.memory import FitToMemory
from repro.store.files import write_whole

INCHES = 3.2
"""Side of a panel."""
LONGEST_STEM = 40
"""Characters of an image's name that its picture's keeps; several bytes each."""


def places(paths: Sequence[Path], folder: Path, overwrite: bool) -> list[Path]:
    """Where the picture of each image goes: its number on the command line, and its name.

    Raises:
        RequestError: one is there already, or the folder is a run's or cannot be written to.
    """
    width = max(2, len(str(len(paths))))
    found = [
        folder / f"{number:0{width}d}-{path.stem[:LONGEST_STEM]}.png"
        for number, path in enumerate(paths, start=1)
    ]
    check_places(found, overwrite)
    return found


def draw(trained: Trained, path: Path, place: Path, label: int, name: str) -> None:
    """Write the picture of one image and one class.

    Raises:
        RunError: the image cannot be decoded, or the picture cannot be written.
    """
    image = decode(path, trained.config.data.channels)
    write_whole(place, picture(trained, image, label, name))


def score_map(trained: Trained, image: Tensor, q: int) -> tuple[Tensor, NDArray[np.float32]]:
    """An image rescaled to Q, uint8 (C, H, W), and its posteriors cell by cell, (classes, h, w).

    Each cell is the soft-max of the class score map there: what the net says of the window of the
    crop's size that the cell stands for (Section 3.2). Their scores' mean is dense evaluation.

    Args:
        trained: the net.
        image: grey levels (C, H, W) as decoded.
        q: test scale in paper pixels.

    Raises:
        RunError: it does not fit into memory.
    """
    config = trained.config
    side = pixels(q, config.size.crop)
    scaled = rescale(image, side, rescaling(config.recipe.resize))
    net = Dense(trained.net)
    dense = FitToMemory(lambda images, shapes: net(trained.prepare(images)), say_aside)
    with torch.inference_mode():
        cells = dense(scaled[None], None).softmax(dim=1)
    return scaled, cells[0].float().cpu().numpy()


def extent(trained: Trained, rows: int, columns: int) -> tuple[float, float, float, float]:
    """Where the cells lie on the image: left, right, bottom, top in pixels.

    A cell is a square as wide as the net's step, in the middle of its window.
    """
    crop, step = trained.net.spec.crop, receptive_field(trained.net.spec.layers)[1]
    first = (crop - step) / 2
    return first, first + columns * step, first + rows * step, first


def picture(trained: Trained, image: Tensor, label: int, name: str) -> bytes:
    """A PNG: the image, and the posterior of one class over it at each of the net's several Q.

    Args:
        trained: the net.
        image: grey levels (C, H, W) as decoded.
        label: the class's number.
        name: what it is called.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    qs: Sequence[int] = several_q(trained.config.scale)
    tall = INCHES * min(2.0, image.shape[-2] / image.shape[-1])
    figure = Figure(figsize=(INCHES * (len(qs) + 1) + 0.6, tall + 0.9), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(qs) + 1)
    axes[0].imshow(_shown(image), cmap="gray", vmin=0, vmax=255)
    axes[0].set_title("image", fontsize=9)
    for axis, q in zip(axes[1:], qs, strict=True):
        scaled, cells = score_map(trained, image, q)
        height, width = scaled.shape[-2:]
        rows, columns = cells.shape[1:]
        axis.imshow(scaled.float().mean(dim=0).numpy(), cmap="gray", vmin=0, vmax=255,
                    extent=(0, width, height, 0))  # fmt: skip
        heat = {"cmap": "inferno", "vmin": 0, "vmax": 1, "interpolation": "nearest"}
        drawn = axis.imshow(cells[label], alpha=0.6, extent=extent(trained, rows, columns), **heat)
        axis.set(xlim=(0, width), ylim=(height, 0))
        axis.set_title(f"Q={q}: {rows}x{columns} cells", fontsize=9)
    for axis in axes:
        axis.set(xticks=[], yticks=[])
    crop = trained.net.spec.crop
    figure.colorbar(drawn, ax=axes[-1], shrink=0.8).set_label("posterior", fontsize=9)
    # Dollar signs of a name are no formula.
    figure.suptitle(f"{name}: each cell sees {crop}x{crop} pixels around it", fontsize=10,
                    parse_math=False)  # fmt: skip
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120, metadata={"Software": None})
    return buffer.getvalue()


def _shown(image: Tensor) -> NDArray[np.uint8]:
    rows: NDArray[np.uint8] = image.permute(1, 2, 0).numpy()
    return rows[..., 0] if rows.shape[-1] == 1 else rows
