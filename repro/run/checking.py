"""What is wrong with a configuration before any work: each check refuses it in one line."""

import re
from pathlib import Path

from repro.config.schema import AUTO, DRAWS, EAGER, NEW, TAKE_LAYERS, Config
from repro.errors import RequestError
from repro.model import init
from repro.protocol import protocols
from repro.protocol.boxes import CHOICES as CHOICES_OF_BOXES
from repro.run.schedule import OPTIMISERS, SCHEDULES
from repro.store import checks, identity
from repro.store.archive import ARCHIVE
from repro.store.files import nearest
from repro.track import curves

NAME = re.compile(r"[A-Za-z][\w.+-]*")
CHOICES = {
    "recipe.resize": ("isotropic", "square"),
    "recipe.optimiser": tuple(OPTIMISERS),
    "recipe.schedule": SCHEDULES,
    "recipe.init": tuple(init.FILLS),
    "init.between": tuple(init.FILLS),
    "precision": ("float32", "tf32", "bf16", "float64"),
    "test_precision": (AUTO, "float32", "tf32"),
    "finetune": ("all", "fc"),
    "boxes": CHOICES_OF_BOXES,
    "scale.draws": DRAWS,
    "compile": (EAGER, "default", "reduce-overhead", "max-autotune"),
    "channels_last": ("auto", "true", "false", "True", "False"),
    "track.name": curves.CHOICES,
}


def check(config: Config) -> None:
    """Refuse, by a RequestError, a configuration whose parts do not go together."""
    for key, known in CHOICES.items():
        group, _, name = key.rpartition(".")
        value = getattr(getattr(config, group) if group else config, name)
        if value not in known:
            raise RequestError(f"{key}={value} is not known: choose from {', '.join(known)}")
    for group in identity.GROUPS:
        name = getattr(config, group).name
        if not (NAME.fullmatch(identity.base(name)) and checks.NAME.fullmatch(name)):
            raise RequestError(
                f"{group}.name={name}: expected a letter, then letters, digits, ._-+"
            )
    if config.test_precision != AUTO and (config.precision == "float64" or config.data.transfer):
        said = f"test_precision={config.test_precision}"
        raise RequestError(f"{said}: nets of float64, and descriptors, take auto only")
    _check_store(config.runs)
    if config.weights is None:
        _check_trained(config)
    if config.data.transfer != protocols.transfers(config.test):
        raise RequestError("data.transfer is set by test=, as in test=[transfer_stacked]")
    if config.stack is not None and not config.data.transfer:
        raise RequestError("stack= is for descriptors, as in test=[transfer_stacked]")
    _check_start(config)
    _check_micro_batch(config)
    step, crop = 2**config.size.poolings, config.size.crop
    if crop % step:
        said = f"size.crop={crop} is no multiple of {step} (size.poolings={config.size.poolings})"
        raise RequestError(f"{said}: take {crop // step * step + step}")
    if config.locates and (config.weights is not None or config.data.on_device):
        key = "data.on_device" if config.weights is None else "weights"
        raise RequestError(f"boxes={config.boxes} goes on from a classification run: no {key}=")
    protocols.check(config.scale, config.test, crop, config.boxes)


def _check_store(folder: str) -> None:
    if not folder.strip() or "," in folder:
        raise RequestError(f"runs={folder}: name one folder, without a comma, as in runs=runs")
    try:
        there = nearest(Path(folder))
    except OSError as error:
        raise RequestError(f"runs={folder} cannot be used: {error.strerror}") from None
    if not there.is_dir():
        raise RequestError(f"runs={folder}: {there} is a file, name a folder")
    if Path(folder, ARCHIVE).is_file():
        raise RequestError(
            f"runs={folder} is a report that keeps its own runs: name another folder"
        )


def _check_trained(config: Config) -> None:
    recipe = config.recipe
    if protocols.transfers(config.test):
        said = f"test=[{','.join(config.test)}] takes a net that is given"
        raise RequestError(f"{said}: say weights=FILE, weights=FOLDER of a run, or weights=random")
    if config.weights_input is not None:
        raise RequestError("weights_input= is for nets of others: say which with weights=FILE")
    if config.data.test_only:
        raise RequestError("data.test_only=true leaves nothing to train on: leave it out")
    if recipe.schedule == "plateau" and recipe.patience < 1:
        raise RequestError(f"recipe.patience={recipe.patience}: a plateau lasts at least one epoch")


def _check_start(config: Config) -> None:
    if config.finetune == "fc" and not config.is_later_stage:
        raise RequestError("finetune=fc needs a net to start from, as scale=S384 has one")
    if config.scale.draws == NEW and not config.starts_from_another:
        raise RequestError("scale.draws=new: this run starts from no other; take another seed")
    if config.init.copy_from is not None and identity.base(config.arch.name) not in TAKE_LAYERS:
        takers = ", ".join(TAKE_LAYERS)
        raise RequestError(f"init={config.init.name}: layers of A go to {takers} only")


def _check_micro_batch(config: Config) -> None:
    said = f"micro_batch={config.micro_batch} divides the batch, and"
    if config.micro_batch is not None and config.arch.batch_norm:
        name = config.arch.name
        raise RequestError(f"{said} arch={name} normalises by the batch: take micro_batch=null")
    if config.micro_batch is not None and config.compile != EAGER:
        # Each part has other rows of the batch's dropout mask, which torch would compile anew; CUDA
        # graphs keep gradients where the next part overwrites them.
        raise RequestError(f"{said} compile={config.compile} takes it at once: take compile=none")
