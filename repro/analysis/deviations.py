"""Where a run departs from the paper, found from its configuration and from nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from repro.config import Recipe, choice
from repro.paper import published
from repro.spec.scales import pixels
from repro.store.identity import base, changes
from repro.store.runs import Run

# What each key of the recipe is called and in which unit; keys that are not here do not depart.
RECIPE = {
    "batch": "mini-batch of {} images",
    "optimiser": "optimiser {}",
    "learning_rate": "initial learning rate {}",
    "momentum": "momentum {}",
    "weight_decay": "weight decay {}",
    "dropout": "dropout {}",
    "schedule": "learning rate schedule: {}",
    "epochs": "at most {} epochs",
    "warmup": "warm-up over {} iterations",
    "clip": "gradient clipped to norm {}",
    "input_range": "input in 0-{} minus the mean",
    "colour_shift": "colour shift with standard deviation {}",
    "train_images": "{} training images used",
    "resize": "images rescaled to S or Q: {}",
    "subtract_mean": "the training set's mean colour subtracted",
}
NOTHING = {
    "subtract_mean": "no mean colour subtracted",
    "warmup": "no warm-up",
    "clip": "gradient not clipped",
    "colour_shift": "no colour shift",
    "train_images": "all training images used",
}


def deviations(run: Run) -> list[tuple[str, str, str]]:
    """What departs from the paper in one run: (section, here, the paper)."""
    return [*_net(run), *_size(run), *_data(run), *_recipe(run), *_init(run), *_scale(run)]


def _net(run: Run) -> Iterator[tuple[str, str, str]]:
    arch = run.config.arch
    if published.is_table1(arch) or arch.name == "B-5x5":
        return
    normalised = ", batch normalisation after each convolution" if arch.batch_norm else ""
    yield "2.1", f"{arch.name}: not a column of Table 1{normalised}", "the six columns of Table 1"


def _size(run: Run) -> Iterator[tuple[str, str, str]]:
    size = run.config.size
    if size.crop != 224:
        scales = f"S and Q scaled by {size.crop}/224, so that 256 is {pixels(256, size.crop)}"
        yield "3.1", f"crop of {size.crop} pixels; {scales}", "crop of 224 pixels"
    if size.width != 1:
        yield "2.1", f"every layer {size.width:g} times as wide", "conv3-64 to conv3-512, FC-4096"


def _data(run: Run) -> Iterator[tuple[str, str, str]]:
    config, counts = run.config, run.result["data"]
    if base(config.data.name) != "imagenet":
        here = (
            f"{config.data.name}: {counts['train']:,} training, {counts['validation']:,} "
            f"validation and {counts['test']:,} test images of {counts['classes']} classes"
        )
        yield "4", here, "ILSVRC-2012: 1.3M training and 50,000 validation images, 1000 classes"
    if config.data.cache_side is not None:
        here = f"training images kept with the smallest side at most {config.data.cache_side}"
        yield "3.1", f"{here}, and rescaled from there", "rescaled from the original"
    if config.data.channels == 1:
        yield "2.1", "one channel; no colour shift", "RGB"
    if not config.data.mirror:
        paper = "random flips in training, mirror images in testing"
        yield "3.1, 3.2", "no mirror images: the data says that they are not of its classes", paper


def _recipe(run: Run) -> Iterator[tuple[str, str, str]]:
    recipe, paper = run.config.recipe, choice("recipe", "paper")
    for key in RECIPE:
        here, there = getattr(recipe, key), paper.get(key, getattr(Recipe, key, None))
        if key == "colour_shift" and run.config.data.channels == 1:
            continue
        if here != there:
            yield "3.1", _words(key, here), _words(key, there)
    if recipe.schedule == "plateau" and recipe.drops != paper["drops"]:
        yield "3.1", f"rate divided {recipe.drops} times", f"rate divided {paper['drops']} times"


def _init(run: Run) -> Iterator[tuple[str, str, str]]:
    init = run.config.init
    if init.name == "glorot":
        return  # The paper's own later advice, Section 3.1.
    if init.copy_from is None and not (
        init.name == "normal_literal" and run.config.arch.name == "A"
    ):
        paper = "A from N(0, variance 0.01), deeper nets from A; or Glorot and Bengio's"
        yield "3.1", f"initialisation {init.name}", paper
    if "normal" in init.between and run.config.size.width != 1:
        here = "standard deviation times the root of the paper's fan-in over the fan-in here"
        yield "3.1", here, "one standard deviation for all layers"


def _scale(run: Run) -> Iterator[tuple[str, str, str]]:
    if run.config.precision not in ("float32", "tf32"):
        yield "3.3", f"precision {run.config.precision}", "float32"
    changed = changes(run.config, "scale").keys() & {"smin", "smax", "parent"}
    if changed or base(run.config.scale.name) not in ("S256", "S384", "jitter"):
        smin, smax = run.config.scale.smin, run.config.scale.smax
        here = f"S={smin}" if smin == smax else f"S in [{smin}; {smax}]"
        if run.config.scale.parent is not None:
            here += f", trained on from {run.config.scale.parent}"
        yield "3.1", here, "S=256, S=384 from it, S in [256; 512] from that"
    share = {"S256": 1.0, "S384": 0.1}.get(base(run.config.scale.name))
    if share is not None and run.config.scale.lr_factor != share:
        here = f"S={run.config.scale.name} at {run.config.scale.lr_factor:g} of the learning rate"
        yield "3.1", here, f"at {share:g} of it"
    if run.config.finetune == "fc" and run.config.scale.name != "jitter":
        yield "3.1", "only the FC layers fine-tuned", "all layers fine-tuned"


def open_choices(run: Run) -> list[str]:
    """What the paper does not say and this run had to choose."""
    config = run.config
    chosen = ["The validation error is that of centre crops at the one test scale."]
    if config.recipe.schedule == "plateau":
        chosen.append(f"A plateau is {config.recipe.patience} epochs without a new best error.")
    if config.scale.name.startswith("jitter"):
        chosen.append(
            f"Jittered S starts at {config.scale.lr_factor:g} of the recipe's learning rate and "
            f"lasts {config.recipe.epochs} epochs; the paper gives neither."
        )
    if config.recipe.test_each_epoch:
        chosen.append(
            "The error on the test images was logged after each epoch; it steers nothing."
        )
    if run.result["data"]["validation_is_test"]:
        chosen.append(
            "The learning rate was steered by the images that the errors are reported on, "
            "as the paper presumably did."
        )
    return chosen


def _words(key: str, value: Any) -> str:
    if not value and key in NOTHING:
        return NOTHING[key]
    return RECIPE[key].format(f"{value:g}" if isinstance(value, float) else value)
