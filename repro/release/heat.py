"""The class score map of one class as a picture over the image, at several test scales."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from repro.data.images import decode
from repro.data.rescale import rescale
from repro.model.cost import receptive_field
from repro.model.dense import Dense
from repro.protocol.rescaling import rescaling
from repro.protocol.scales import pixels, several_q
from repro.release.command import check_places
from repro.release.trained import Trained
from repro.store.files import write_whole


def places(paths: Sequence[Path], folder: Path, overwrite: bool) -> list[Path]:
    """Where the picture of each image goes: its number on the command line, and its name."""
    width = max(2, len(str(len(paths))))
    names = [f"{n:0{width}d}-{path.stem[:40]}.png" for n, path in enumerate(paths, start=1)]
    check_places(found := [folder / name for name in names], overwrite)
    return found


def score_map(trained: Trained, image: Tensor, q: int) -> tuple[Tensor, Tensor]:
    """An image rescaled to Q, uint8 (C, H, W), and its posteriors cell by cell, (classes, h, w).

    Each cell is what the net says of the window of the crop's size around it (Section 3.2).
    """
    side, how = pixels(q, trained.net.spec.crop), rescaling(trained.config.recipe.resize)
    scaled = rescale(image, side, how)
    with torch.inference_mode():
        cells = Dense(trained.net)(trained.prepare(scaled[None])).softmax(dim=1)
    return scaled, cells[0].float().cpu()


def draw(trained: Trained, path: Path, place: Path, label: int, name: str) -> None:
    """Write the picture of an image file: the posterior of one class over it at each Q.

    A cell is a square as wide as the net's step, in the middle of its window.
    """
    from matplotlib.figure import Figure

    image, qs = decode(path, trained.config.data.channels), several_q(trained.config.scale)
    crop, step = trained.net.spec.crop, receptive_field(trained.net.spec.layers)[1]
    tall = min(2.0, image.shape[-2] / image.shape[-1])
    figure = Figure(figsize=(3.2 * len(qs) + 0.6, 3.2 * tall + 0.9), layout="constrained")
    axes, first = figure.subplots(1, len(qs)), (crop - step) / 2
    for axis, q in zip(axes, qs, strict=True):
        scaled, cells = score_map(trained, image, q)
        (height, width), (rows, columns) = scaled.shape[-2:], cells.shape[-2:]
        grey = scaled.float().mean(dim=0).numpy()
        axis.imshow(grey, cmap="gray", vmin=0, vmax=255, extent=(0, width, height, 0))
        extent = (first, first + columns * step, first + rows * step, first)
        heat = axis.imshow(
            cells[label].numpy(), "inferno", vmin=0, vmax=1, alpha=0.6, extent=extent
        )
        axis.set(xlim=(0, width), ylim=(height, 0), xticks=[], yticks=[])
        axis.set_title(f"Q={q}: {rows}x{columns} cells", fontsize=9)
    figure.colorbar(heat, ax=axes[-1], shrink=0.8).set_label("posterior", fontsize=9)
    # Dollar signs of a name are no formula.
    title = f"{name}: each cell sees {crop}x{crop} pixels around it"
    figure.suptitle(title, fontsize=10, parse_math=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120, metadata={"Software": None})
    write_whole(place, buffer.getvalue())
