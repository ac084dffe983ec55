"""Weights that others trained: what their file says before any work, and what of a run is fixed."""

import csv
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from safetensors.torch import save

from repro.config.schema import EAGER, Config, Init, Recipe
from repro.errors import RequestError, RunError
from repro.model.init import initialise
from repro.model.layers import Spec
from repro.model.reading import spec_of
from repro.model.vgg import VGG
from repro.protocol.protocols import transfers
from repro.store.expected import sha256
from repro.store.identity import PUBLISHED, base
from repro.store.runs import CONFIG, RESULT, WEIGHTS, Run, log_content, read_config, read_run
from repro.weights.contents import CAFFE, Convention, Weights
from repro.weights.read import file_digest, locate, read, read_any

RANDOM = "random"
"""The value of `weights` that trains nothing and takes no file."""


@dataclass(frozen=True)
class WeightFile:
    """The weights that a run tests, as it records them."""

    path: Path
    sha256: str
    format: str
    convention: Convention
    trained: dict[str, Any] | None = None
    """The run of ours that trained them: its name, data, recipe and seed; None: not known."""

    @property
    def record(self) -> dict[str, Any]:
        """As it stands in `config.yaml` and `result.json`."""
        known = {"sha256": self.sha256, "format": self.format, "input": self.convention.tree}
        return known if self.trained is None else known | {"trained": self.trained}

    @property
    def words(self) -> str:
        """The file in a few words."""
        return f"weights of a file by {self.format}, SHA-256 {self.sha256[:10]}..."


def fix(config: Config) -> None:
    """Fix what says how a net is trained, and ask for the test images only."""
    # None of these numbers acts; they stand in the records of such runs.
    config.recipe = Recipe(
        name=PUBLISHED, batch=1, epochs=1, optimiser="sgd", learning_rate=1.0, momentum=0.0,
        weight_decay=0.0, dropout=0.0, schedule="constant", patience=0, drops=0, warmup=0,
        clip=None, input_range=255.0, colour_shift=0.0, init="normal", resize=config.recipe.resize,
    )  # fmt: skip
    # Random weights are made of the distribution and the seed.
    random = config.weights == RANDOM
    if random and not transfers(config.test):
        raise RequestError(f"weights={RANDOM} is for descriptors, as in test=[transfer_stacked]")
    if random and config.init.copy_from is not None:
        raise RequestError(f"init={config.init.name} starts from a run, weights={RANDOM} from none")
    config.init = Init(PUBLISHED, config.init.between if random else "normal")
    config.seed, config.finetune = config.seed if random else 0, "all"
    config.micro_batch, config.compile = None, EAGER
    config.data.test_only, config.data.transfer = True, transfers(config.test)


def folder_of(weights: str) -> Path | None:
    """The folder of a run that `weights=` names, if it is one."""
    folder = Path(os.path.expanduser(weights))
    # A configuration belongs to the folder's own name, not to that of a link.
    return folder.resolve() if weights.strip() and folder.is_dir() else None


def adopt(config: Config, words: Iterable[str]) -> None:
    """Take arch, size, scale of the run that `weights=` names; other `words` are refused."""
    if (folder := folder_of(str(config.weights))) is None:
        return
    own, _ = read_config(folder)
    given = {re.split("[=.]", word.lstrip("+"))[0] for word in words}
    for group in ("arch", "scale", "size"):
        theirs = getattr(own, group)
        theirs = replace(theirs, name=base(theirs.name))
        named = group in given or ("net" in given and group != "size")
        if named and group != "scale" and theirs != getattr(config, group):
            here, there = (f"{group}={getattr(one, group).name}" for one in (config, own))
            said = f"{here} contradicts weights={folder}, of {there}"
            raise RequestError(f"{said}: leave {group} out")
        # A net may be tested as one of another S.
        if group != "scale" or not named:
            setattr(config, group, theirs)


def _of_folder(folder: Path, digest: str) -> dict[str, Any]:
    """What a run's weights were trained on; a RequestError: these are not those of the run."""
    run = read_run(folder)
    if run is None or digest != run.tested.weights:
        why = "it has not ended" if run is None else f"its {WEIGHTS} is not what it left there"
        raise RequestError(f"weights={folder} is no run to take a net of: {why}")
    own = run.config
    # By these a report says whether the net is trained out.
    ended = {"learnt": run.learnt, "train_errors": _train_errors(run)}
    # All that tells one net of this arch and size from another.
    words = [own.recipe.name, own.init.name, own.scale.name, *["fc"] * (own.finetune == "fc")]
    names = {"data": own.data.name, "recipe": ", ".join(words), "seed": own.seed}
    return {"run": folder.name, **names, **ended}


def _train_errors(run: Run) -> list[float]:
    """The training errors (%) of a run by epoch; none: its log is missing or damaged."""
    try:
        log = csv.DictReader((log_content(run) or b"").decode().splitlines())
        return [float(row["train_error"]) for row in log]
    except (KeyError, TypeError, ValueError):
        return []


def _random(config: Config, net: Spec) -> Weights:
    """The weights of a net as its initialisation and seed have it, not trained."""
    made = VGG(net, 0.0)
    full = spec_of(config.arch, channels=net.channels, classes=net.classes)
    initialise(made, config.init.between, full, config.seed)
    return Weights(made.state_dict(), CAFFE, "random weights")


def _random_file(config: Config, net: Spec) -> WeightFile:
    if net.channels != len(CAFFE.mean):
        raise RequestError(f"weights={RANDOM} takes RGB images: data.channels=3")
    if config.weights_input is not None:
        raise RequestError(f"weights_input= is of a file, and weights={RANDOM} has none")
    found, made = _random(config, net), {"run": "", "data": "", "recipe": config.init.between}
    digest = sha256(save(dict(found.tensors)))
    trained = {**made, "seed": config.seed}
    return WeightFile(Path(RANDOM), digest, found.format, found.convention, trained)


def inspect(config: Config, net: Spec, names: Sequence[str]) -> tuple[Spec, WeightFile]:
    """The net of a configuration's file of weights, and the file's record; it is not held.

    The net is `net`, of classes of these `names`, or, for descriptors, with the file's classes. The
    initialisation's name comes to tell the file. RequestErrors are those of `repro.weights.read`.
    """
    assert config.weights is not None
    if not config.weights.strip():
        raise RequestError("weights= names no file: say which, or weights=null to train the net")
    if net.channels != 3 and config.weights.startswith("torchvision:"):
        # Before half a gigabyte is fetched.
        raise RequestError(f"weights={config.weights} wants RGB images, as in data=imagenet")
    if config.data.transfer and len(net.linears) < 2:
        said = "has no hidden FC layer (arch.fc), hence no descriptor: take another net"
        raise RequestError(f"arch={config.arch.name} {said}")
    if config.weights == RANDOM:
        file = _random_file(config, net)
    else:
        folder = folder_of(config.weights)
        where = config.weights if folder is None else str(folder / WEIGHTS)
        path = locate(where, config.progress, fetch=not config.dry_run)
        digest = file_digest(path)
        own_files = (path.with_name(name) for name in (CONFIG, RESULT))
        if path.name == WEIGHTS and all(map(os.path.isfile, own_files)):
            # The file of a run, by its own name or a link: what it was trained on is known.
            folder = path.parent.resolve()

        def of_classes(classes: int) -> Spec:
            if not config.data.transfer:
                return net
            return spec_of(config.arch, config.size, channels=net.channels, classes=classes)

        own = () if config.data.transfer else names
        net, found = read_any(path, of_classes, config.weights_input, own)
        trained = None if folder is None else _of_folder(folder, digest)
        file = WeightFile(path, digest, found.format, found.convention, trained)
    wants = [re.sub("[:/]", "-", config.weights_input)] if config.weights_input else []
    config.init.name = "-".join([PUBLISHED, file.sha256[:8], *wants])
    return net, file


def read_alone(config: Config) -> tuple[Spec, WeightFile, Weights]:
    """A net with no data set beside it: it has as many classes as its file says."""
    assert config.weights is not None
    path = locate(config.weights, config.progress)

    def of_classes(classes: int) -> Spec:
        return spec_of(config.arch, config.size, channels=config.data.channels, classes=classes)

    net, found = read_any(path, of_classes, config.weights_input)
    return net, WeightFile(path, file_digest(path), found.format, found.convention), found


def read_again(file: WeightFile, config: Config, net: Spec, names: Sequence[str]) -> Weights:
    """The weights of a file that was inspected; a RunError says that it is another one by now."""
    if config.weights == RANDOM:
        return _random(config, net)
    if file_digest(file.path) != file.sha256:
        raise RunError(f"{file.path} has changed since the command was given: give it again")
    return read(file.path, net, config.weights_input, () if config.data.transfer else names)
