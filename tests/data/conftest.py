"""Image folders and sets made on the spot."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from repro.config.choices import choice
from repro.config.schema import Data
from repro.data.images import ArrayImages, FileImages
from repro.data.split import Source, Split


def save(path: Path, height: int, width: int, seed: int = 0) -> Path:
    """A PNG of noise, whatever the path's ending says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path, "PNG")
    return path


def fill(root: Path, **sets: dict[str, int]) -> Path:
    """root/SET/CLASS/N.png, as many of each class as are asked for."""
    for name, classes in sets.items():
        for label, (kind, count) in enumerate(classes.items()):
            (root / name / kind).mkdir(parents=True, exist_ok=True)
            for n in range(count):
                save(root / name / kind / f"{n}.png", 8, 9 + n % 3, seed=100 * label + n)
    return root


def data(name: str, root: Path | str = "data", **changes: object) -> Data:
    return replace(Data(**choice("data", name)), root=str(root), **changes)  # type: ignore[arg-type]


def counts(source: Source) -> list[dict[int, int]]:
    """Images by class, of each of three sets that have none in common."""
    names = [name for part in source.parts for name in part.ids]
    assert len(set(names)) == len(names)
    return [dict(Counter(part.labels.tolist())) for part in source.parts]


def arrays(count: int, channels: int = 1, height: int = 12, width: int = 17) -> Split:
    random = np.random.default_rng(count)
    pixels = random.integers(0, 256, (count, channels, height, width), dtype=np.uint8)
    ids = tuple(str(index) for index in range(count))
    return Split(ArrayImages(torch.as_tensor(pixels)), np.arange(count), ids)


@pytest.fixture
def photographs(tmp_path: Path) -> Split:
    """Seven files of several shapes, portrait and landscape."""
    shapes = [(20, 31), (31, 20), (20, 31), (40, 62), (25, 25), (31, 20), (20, 30)]
    paths = [save(tmp_path / f"{n}.png", *shape, seed=n) for n, shape in enumerate(shapes)]
    return Split(FileImages(paths, 3), np.arange(7), tuple(path.name for path in paths))
