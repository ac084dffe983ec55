"""Where a run departs from the paper: from its configuration, its layer list and its data.

One list: a row for each departure, and none twice. Where the paper says nothing, the row says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from repro.config.choices import choice
from repro.config.schema import PARENT, STATISTICS_IMAGES, Recipe
from repro.model import reading
from repro.model.cost import receptive_field
from repro.model.geometry import LRN_WINDOW, block_sides, lrn_channels, map_side
from repro.paper import numbers
from repro.protocol.protocols import readings
from repro.protocol.scales import PAPER_CROP, pixels
from repro.report.built import EXAMPLE, TABLE1, as_run, at_full_size
from repro.report.settings import Comparison
from repro.report.titles import s_words, title, worded
from repro.store.identity import base, changes
from repro.store.runs import Run

Row = tuple[str, str, str]
NOT_SAID = "not said"
INPUT = "input in 0-255, minus the training set's mean colour"

IN_MEMORY = ("mnist5k", "mnist", "fashion_mnist", "cifar10", "cifar100")
"""Data whose images are no files."""

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
    "colour_shift": "colour shift with standard deviation {}",
    "train_images": "{} training images used",
    "resize": "images rescaled to S or Q: {}",
}
NOTHING = {
    "warmup": "no warm-up",
    "clip": "gradient not clipped",
    "colour_shift": "no colour shift",
    "train_images": "all training images used",
}


def deviations(run: Run) -> list[Row]:
    """What departs from the paper in one run: (section, here, the paper)."""
    parts = (_net, _size, _maps, _data, _recipe, _update, _init, _scale, _testing)
    return [row for part in parts for row in part(run)]


def departures(comparison: Comparison) -> pd.DataFrame:
    """What departs from the paper in a setting, a row each, with the nets that it holds for."""
    found: dict[Row, list[str]] = {}
    for net, runs in comparison.nets.items():
        for row in dict.fromkeys(row for run in runs for row in deviations(run)):
            found.setdefault(row, []).append(title(net))
    rows = [
        (*row, "all" if len(nets) == len(comparison.nets) else "; ".join(nets))
        for row, nets in found.items()
    ]
    return pd.DataFrame(rows, columns=["section", "here", "the paper", "runs"])


def not_covered() -> str:
    """What of the paper no run of this suite can show yet."""
    return (
        "Appendices A and B are not covered yet: localisation, and the nets as features for other "
        "data sets (Tables 8 to 12)."
    )


def _net(run: Run) -> Iterator[Row]:
    arch = run.config.arch
    if numbers.is_papers(arch):
        return
    normalised = ", batch normalisation after each convolution" if arch.batch_norm else ""
    yield "2.1", f"{arch.name}: not a column of Table 1{normalised}", "the six columns of Table 1"


def _size(run: Run) -> Iterator[Row]:
    size = run.config.size
    if size.crop != PAPER_CROP:
        scales = f"S and Q scaled by {size.crop}/224, so that 256 is {pixels(256, size.crop)}"
        yield "3.1", f"crop of {size.crop} pixels; {scales}", "crop of 224 pixels"
    if size.width != 1:
        yield "2.1", f"every layer {size.width:g} times as wide", "conv3-64 to conv3-512, FC-4096"


def _maps(run: Run) -> Iterator[Row]:
    """What of the paper's maps this size does not keep, from the layer list."""
    config, classes = run.config, run.result["data"]["classes"]
    here = as_run(config, classes)
    full = reading.at_full_size(config.arch, channels=here.channels, classes=classes)
    sides, papers = block_sides(here), block_sides(full)
    other = [block for block in sides if sides[block] != papers[block]]
    if other:
        blocks = f"block{'s' if len(other) > 1 else ''} {_listed(other)}"
        of_blocks = _listed([sides[block] for block in other])
        paper = f"{_listed([papers[block] for block in other])} cells"
        yield "2.1", f"maps of {of_blocks} cells a side in {blocks}", paper
    last, paper_last = map_side(here, here.crop), map_side(full, full.crop)
    if last != paper_last:
        yield "2.1", f"FC6 sees {last}x{last} cells", f"{paper_last}x{paper_last}"
    channels, paper_channels = lrn_channels(here), lrn_channels(full)
    if channels is not None and channels != paper_channels:
        window = f"local response normalisation over {min(channels, LRN_WINDOW)}"
        yield "2.1", f"{window} of {channels} channels", f"{LRN_WINDOW} of {paper_channels}"
    yield from _field(run)


def _field(run: Run) -> Iterator[Row]:
    """How much of the crop a cell sees; one row, of one net, for all columns of Table 1."""
    config, classes = run.config, run.result["data"]["classes"]
    name = EXAMPLE if config.arch.name in TABLE1 else None
    here = as_run(config, classes, name)
    full = (
        reading.at_full_size(config.arch, channels=here.channels, classes=classes)
        if name is None
        else at_full_size(name)
    )
    side, paper = receptive_field(here.layers)[0], receptive_field(full.layers)[0]
    if side * full.crop != paper * here.crop:
        seen = f"a cell before FC6 sees {side} pixels of a crop of {here.crop} ({here.name})"
        yield "2.3", seen, f"{paper} of {full.crop}"


def _listed(numbers: list[int]) -> str:
    """As in `1, 2 and 3`."""
    *first, last = map(str, numbers)
    return f"{', '.join(first)} and {last}" if first else last


def _data(run: Run) -> Iterator[Row]:
    config, counts = run.config, run.result["data"]
    if base(config.data.name) != "imagenet":
        here = (
            f"{worded(config.data.name)}: {counts['train']:,} training, {counts['validation']:,} "
            f"validation and {counts['test']:,} test images of {counts['classes']} classes"
        )
        yield "4", here, "ILSVRC-2012: 1.3M training and 50,000 validation images, 1000 classes"
    scale = config.scale
    qs = [q for test in config.test for reading in readings(test, scale) for q in reading]
    native, largest = counts.get("smallest_side"), pixels(max([scale.smax, *qs]), config.size.crop)
    if native is not None and native < largest:
        yield "3.1", f"images of {native} pixels enlarged, to {largest} at most", NOT_SAID
    if config.data.cache_side is not None:
        here = f"training images kept with the smallest side at most {config.data.cache_side}"
        yield "3.1", f"{here}, and rescaled from there", "rescaled from the original"
    if config.data.channels == 1:
        yield "2.1", "one channel; no colour shift", "RGB"
    if not config.data.mirror:
        paper = "random flips in training, mirror images in testing"
        yield "3.1, 3.2", "no mirror images: the data says that they are not of its classes", paper


def _recipe(run: Run) -> Iterator[Row]:
    recipe, paper = run.config.recipe, choice("recipe", "paper")
    for key in RECIPE:
        here, there = getattr(recipe, key), paper.get(key, getattr(Recipe, key, None))
        if key == "colour_shift" and run.config.data.channels == 1:
            continue
        if here != there:
            yield "3.1", _words(key, here), _words(key, there)
    if (recipe.input_range, recipe.subtract_mean) != (paper["input_range"], True):
        mean = "minus the training set's mean colour" if recipe.subtract_mean else "no mean"
        here = f"input in 0-{recipe.input_range:g}, {mean}"
        yield "3.1", here + ("" if recipe.subtract_mean else " subtracted"), INPUT
    if recipe.schedule == "plateau" and recipe.drops != paper["drops"]:
        yield "3.1", f"rate divided {recipe.drops} times", f"rate divided {paper['drops']} times"


def _update(run: Run) -> Iterator[Row]:
    """What the recipe's numbers do not show: how weights follow gradients, what the mean is of."""
    recipe, data = run.config.recipe, run.config.data
    moves = recipe.schedule != "constant" or recipe.warmup > 0
    if recipe.optimiser == "sgd" and recipe.momentum and moves:
        here = "momentum as torch has it, the learning rate outside the velocity"
        yield "3.1", here, "as Caffe has it, inside: the two differ at each change of the rate"
    if recipe.weight_decay:
        norm = " and batch normalisation" if run.config.arch.batch_norm else ""
        yield "3.1", f"weight decay on all parameters, biases{norm} too", NOT_SAID
    uses_colours = recipe.subtract_mean or (recipe.colour_shift > 0 and data.channels > 1)
    of, train = _mean_of(run), run.result["data"]["train"]
    if uses_colours and of < train:
        yield "3.1", f"mean and principal colours of {of:,} training images", "of all"


def _mean_of(run: Run) -> int:
    """How many training images the mean is of."""
    found, train = run.result["data"].get("mean_of"), int(run.result["data"]["train"])
    if found is not None:
        return int(found)
    # A run of before it was noted: of images in memory all, of files so many.
    return train if base(run.config.data.name) in IN_MEMORY else min(train, STATISTICS_IMAGES)


def _init(run: Run) -> Iterator[Row]:
    init = run.config.init
    as_published = run.config.arch.name == "A" and init.name == "normal_literal"
    if init.copy_from is None and not as_published:
        paper = "A from N(0, variance 0.01), deeper nets from A; Glorot's, it adds, needs no A"
        yield "3.1", f"initialisation {worded(init.name)}", paper
    if "normal" in init.between and run.config.size.width != 1:
        here = "standard deviation times the root of the paper's fan-in over the fan-in here"
        yield "3.1", here, "one standard deviation for all layers"


def _scale(run: Run) -> Iterator[Row]:
    if run.config.precision not in ("float32", "tf32"):
        yield "3.3", f"precision {run.config.precision}", "float32"
    changed = changes(run.config, "scale").keys() & {"smin", "smax", "parent"}
    if changed or base(run.config.scale.name) not in numbers.scales():
        smin, smax = run.config.scale.smin, run.config.scale.smax
        here = f"S={smin}" if smin == smax else f"S in [{smin}; {smax}]"
        if run.config.scale.parent is not None:
            here += f", trained on from {s_words(run.config.scale.parent)}"
        yield "3.1", here, "S=256, S=384 from it, S in [256; 512] from that"
    share = {"S256": 1.0, "S384": 0.1}.get(base(run.config.scale.name))
    if share is not None and run.config.scale.lr_factor != share:
        here = f"{s_words(base(run.config.scale.name))} at "
        here += f"{run.config.scale.lr_factor:g} of the learning rate"
        yield "3.1", here, f"at {share:g} of it"
    if base(run.config.scale.name) == "S384":
        later = run.config.recipe.later_epochs
        long = "as long as S=256 was" if later is None else f"for {later} epochs"
        yield "3.1", f"S=384 trained {long}, warm-up included", "the rate is given, the length not"
    if run.config.starts_from_another and run.config.scale.draws == PARENT:
        here = "a run that starts from another draws order, crops, flips, colours and dropout of an"
        yield "3.1", f"{here} epoch as that one did (scale.draws)", NOT_SAID
    if run.config.finetune == "fc" and run.config.scale.name != "jitter":
        yield "3.1", "only the FC layers fine-tuned", "all layers fine-tuned"


def _testing(run: Run) -> Iterator[Row]:
    if run.config.data.mirror:
        here = "centre crops: posteriors of the crop and of its mirror image averaged"
        yield "4.1", here, NOT_SAID


def open_choices(run: Run) -> list[str]:
    """What the paper does not say and this run had to choose."""
    config = run.config
    chosen = ["The validation error is that of centre crops at the one test scale."]
    if config.recipe.schedule == "plateau":
        chosen.append(f"A plateau is {config.recipe.patience} epochs without a new best error.")
    if config.scale.name.startswith("jitter"):
        chosen.append(
            f"Jittered S starts at {config.scale.lr_factor:g} of the recipe's learning rate and "
            f"lasts {config.epochs} epochs; the paper gives neither."
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
