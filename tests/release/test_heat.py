"""The class score map over the image: what its cells say and where they lie."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from repro.data.images import decode
from repro.release.heat import extent, score_map
from repro.release.trained import finished_run, opened
from tests.release.conftest import Made, photograph


def test_one_cell_is_the_nets_answer(trained: Path, tmp_path: Path) -> None:
    # Q=224 makes of a square image the crop itself: one cell, at its middle.
    image = decode(photograph(tmp_path / "square.png", 50, 50, seed=3), 3)
    with opened(finished_run(trained), torch.device("cpu")) as net:
        scaled, cells = score_map(net, image, 224)
        with torch.inference_mode():
            whole = net.net(net.prepare(scaled[None])).softmax(dim=1)[0]
        left, right, bottom, top = extent(net, 1, 1)
    assert cells.shape == (3, 1, 1)
    np.testing.assert_allclose(cells[:, 0, 0], whole, atol=1e-5)
    assert (left + right, bottom + top) == (28, 28)


def test_a_cell_answers_to_what_lies_under_it(made: Made) -> None:
    """Where the image is changed, the cells change most that are drawn there."""
    image = torch.full((3, 64, 96), 120, dtype=torch.uint8)
    marked = image.clone()
    marked[:, 30:34, 60:64] = 255
    with opened(finished_run(made("arch=A")), torch.device("cpu")) as net:
        (scaled, plain), (_, found) = (score_map(net, each, 512) for each in (image, marked))
        rows, columns = plain.shape[1:]
        left, right, bottom, top = extent(net, rows, columns)
    assert scaled.shape[-2:] == (64, 96)
    change = np.abs(found - plain).sum(axis=0)
    weights = change / change.sum()
    across = left + (np.arange(columns) + 0.5) * (right - left) / columns
    down = top + (np.arange(rows) + 0.5) * (bottom - top) / rows
    assert (weights.sum(axis=0) @ across) == pytest.approx(62, abs=8)
    assert (weights.sum(axis=1) @ down) == pytest.approx(32, abs=8)
