"""Weights that others trained: what their file says before any work, and what of a run is fixed."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repro.config.schema import EAGER, Config, Init, Recipe
from repro.errors import RequestError, RunError
from repro.model.layers import Net
from repro.model.reading import at_size
from repro.store.identity import PUBLISHED
from repro.weights.contents import Convention, Weights
from repro.weights.read import locate, read, read_any, sha256


@dataclass(frozen=True)
class WeightFile:
    """The weights that a run tests, as it records them."""

    path: Path
    sha256: str
    format: str
    """The program that wrote the file."""
    convention: Convention
    """The input that the net wants."""

    @property
    def record(self) -> dict[str, Any]:
        """As it stands in `config.yaml` and `result.json`."""
        return {"sha256": self.sha256, "format": self.format, "input": self.convention.tree}

    @property
    def words(self) -> str:
        """The file in a few words."""
        return f"weights of a file by {self.format}, SHA-256 {self.sha256[:10]}..."


def fix(config: Config) -> None:
    """Fix what says how a net is trained, and ask for the test images only.

    All that a recipe means to a test is how images are rescaled.
    """
    # None of these numbers acts; they stand in the records of such runs.
    config.recipe = Recipe(
        name=PUBLISHED, batch=1, epochs=1, optimiser="sgd", learning_rate=1.0, momentum=0.0,
        weight_decay=0.0, dropout=0.0, schedule="constant", patience=0, drops=0, warmup=0,
        clip=None, input_range=255.0, colour_shift=0.0, init="normal", resize=config.recipe.resize,
    )  # fmt: skip
    config.init = Init(PUBLISHED, "normal")
    config.seed, config.finetune = 0, "all"
    config.micro_batch, config.compile = None, EAGER
    config.data.test_only = True


def inspect(config: Config, net: Net, names: Sequence[str]) -> WeightFile:
    """The record of a configuration's file of weights, which is read whole once and not held.

    `names` are those of the classes, where they are known. The name of the configuration's
    initialisation comes to tell the file. A RequestError says that
    there is no such file, or that it is not this net (see `repro.weights.read`).
    """
    assert config.weights is not None
    if not config.weights.strip():
        raise RequestError("weights= names no file: say which, or weights=null to train the net")
    if net.channels != 3 and config.weights.startswith("torchvision:"):
        # Before half a gigabyte is fetched.
        why = f"weights={config.weights} wants RGB images, unlike data={config.data.name}"
        raise RequestError(f"{why}: say which, as in data=imagenet data.root=FOLDER")
    path = locate(config.weights, config.progress, fetch=not config.dry_run)
    digest = sha256(path)
    found = read(path, net, config.weights_input, names)
    said = [re.sub("[:/]", "-", config.weights_input)] if config.weights_input else []
    config.init.name = "-".join([PUBLISHED, digest[:8], *said])
    return WeightFile(path, digest, found.format, found.convention)


def read_alone(config: Config) -> tuple[Net, WeightFile, Weights]:
    """A net with no data set beside it: it has as many classes as its file says."""
    assert config.weights is not None
    path = locate(config.weights, config.progress)

    def of_classes(classes: int) -> Net:
        return at_size(config.arch, config.size, channels=config.data.channels, classes=classes)

    net, found = read_any(path, of_classes, config.weights_input)
    return net, WeightFile(path, sha256(path), found.format, found.convention), found


def read_again(file: WeightFile, config: Config, net: Net, names: Sequence[str]) -> Weights:
    """The weights of a file that was inspected; a RunError says that it is another one by now."""
    if sha256(file.path) != file.sha256:
        raise RunError(
            f"{file.path} has changed since the command was given: give the command again"
        )
    return read(file.path, net, config.weights_input, names)
