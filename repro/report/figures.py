"""The figures of a setting: each is drawn once, and none is drawn of nothing."""

from __future__ import annotations

from collections.abc import Callable

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from repro.protocol.scales import PICTURED
from repro.report.depth import error_against_depth
from repro.report.dots import errors
from repro.report.drawing import STYLE, WIDTH, Drawn, drawn
from repro.report.learning import learning_curves
from repro.report.settings import Comparison
from repro.store.runs import CROPS, Run


def figures(comparison: Comparison) -> list[Drawn]:
    """The figures of a setting that it has something for."""
    with mpl.rc_context(STYLE):
        found = [drawer(comparison) for drawer in OF_SETTING.values()]
    return [figure for figure in found if figure is not None]


def training_crops(comparison: Comparison) -> Drawn | None:
    """Crops of the same images at S=256, S=384 and jittered, as a run left them."""
    image = next((found for run in comparison.runs if (found := _picture(run)) is not None), None)
    if image is None:
        return None
    height, width = image.shape[:2]
    share = 0.84
    figure = Figure(figsize=(WIDTH, WIDTH * share * height / width + 0.1))
    axes = figure.add_axes((0.99 - share, 0.01, share, 0.98))
    axes.imshow(image, interpolation="none")
    rows = range(len(PICTURED))
    labels = [f"S = {low}" if low == high else f"S in [{low}; {high}]" for low, high in PICTURED]
    axes.set_yticks([height * (row + 0.5) / len(rows) for row in rows], labels)
    axes.set_xticks([])
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    config = comparison.config
    caption = (
        f"Training crops of {config.size.crop} pixels of the same images of {config.data.name} at "
        "three training scales (paper pixels): the larger S, the smaller the part of the image."
    )
    return drawn("training-crops", caption, figure)


def _picture(run: Run) -> NDArray[np.uint8] | None:
    from PIL import Image

    try:
        with Image.open(run.folder / CROPS) as file:
            return np.asarray(file.convert("RGB"))
    except Exception:
        # As with views, there are many ways to be damaged, or to be too large.
        return None


OF_SETTING: dict[str, Callable[[Comparison], Drawn | None]] = {
    "error-against-depth": error_against_depth,
    "errors": errors,
    "learning-curves": learning_curves,
    "training-crops": training_crops,
}
"""What is drawn of every setting, by the figure's name."""
