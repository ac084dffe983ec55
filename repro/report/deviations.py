"""Where a run departs from the paper; `templates/deviations.yaml` words each departure."""

from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from repro.config.choices import choice
from repro.config.schema import PARENT, STATISTICS_IMAGES, Arch, Config, Recipe
from repro.model import cost, layers, reading
from repro.paper import numbers
from repro.protocol.protocols import EACH_Q, readings
from repro.protocol.scales import PAPER_CROP, pixels
from repro.report.net import TABLE1, built, s_words, title, worded
from repro.report.settings import Comparison
from repro.store.identity import base, changes
from repro.store.runs import Run

Row = tuple[str, str, str]
FILE = Path(__file__).with_name("templates") / "deviations.yaml"
KNOWN: dict[str, Any] = yaml.safe_load(FILE.read_text("utf-8"))
EXAMPLE = "D"
"""The net by which maps and windows are shown: the columns of Table 1 share them."""
SHAPE_Q = (224, 256, 288, 384, 512)
"""Test scales at which the geometry of a size is shown, in paper pixels."""
SHARES = {"S256": 1.0, "S384": 0.1}
"""The share of the learning rate at which the paper trains at a scale."""


def deviations(run: Run) -> list[Row]:
    """The deviations of one run from the paper: (section, here, the paper)."""
    config = run.config
    rows: list[Row] = []
    gaps = {"config": config, "counts": run.result["data"], "recipe": config.recipe}
    for part in (_net_and_data, _descent, _start, _stages):
        holds, own = part(run)
        for key in [key for key, departs in holds.items() if departs]:
            section, here, paper = (text.format(**gaps, **own) for text in KNOWN[key])
            rows.append((section, here, paper))
    here, full = shapes(config, run.result["data"]["classes"], config.arch)
    rows += [("2.1", f"{n}: {here[n]}", full[n]) for n in here if here[n] != full[n]]
    paper = choice("recipe", "paper")
    for key, words in KNOWN["keys"].items():
        both = getattr(config.recipe, key), paper.get(key, getattr(Recipe, key, None))
        if both[0] != both[1] and not (key == "colour_shift" and config.data.channels == 1):
            rows.append(("3.1", *(words[0 if one else -1].format(one) for one in both)))
    return rows


def departures(comparison: Comparison) -> pd.DataFrame:
    """The deviations of a setting from the paper, a row each, with the nets concerned."""
    found: dict[Row, list[str]] = {}
    for net, runs in comparison.nets.items():
        for row in dict.fromkeys(row for run in runs for row in deviations(run)):
            found.setdefault(row, []).append(title(net))
    every = len(comparison.nets)
    rows = [(*row, "all" if len(own) == every else "; ".join(own)) for row, own in found.items()]
    return pd.DataFrame(rows, columns=["section", "here", "the paper", "runs"])


def _net_and_data(run: Run) -> tuple[dict[str, bool], dict[str, Any]]:
    """Which departures there are of a net and its data, and the words in their braces."""
    config, counts, recipe = run.config, run.result["data"], run.config.recipe
    arch, data, size, kind = config.arch, config.data, config.size, base(config.data.name)
    qs = [q for test in config.test for found in readings(test, config.scale) for q in found]
    native = counts.get("smallest_side")
    largest = pixels(max([config.scale.smax, *qs]), size.crop)
    # Runs of before it was noted.
    mean_of = counts.get("mean_of") or STATISTICS_IMAGES
    colours = recipe.subtract_mean or (recipe.colour_shift > 0 and data.channels > 1)
    holds = {
        "arch": not numbers.is_papers(arch),
        "crop": size.crop != PAPER_CROP,
        "width": size.width != 1,
        "data": kind != "imagenet",
        "enlarged": native is not None and native < largest,
        "enlarged_first": data.enlarge is not None,
        "filter": True,
        "grey": data.channels == 1,
        "mirror": not data.mirror,
        "centre_crops": data.mirror,
        "mean": colours and mean_of < counts["train"],
        "steered": counts["validation_is_test"],
        "validation": True,
    }
    return holds, {
        "normalised": ", batch normalisation after each convolution" if arch.batch_norm else "",
        **{"s256": pixels(256, size.crop), "largest": largest, "mean_of": mean_of},
        "data": worded(data.name),
    }


def _descent(run: Run) -> tuple[dict[str, bool], dict[str, Any]]:
    """How weights follow gradients."""
    recipe, paper = run.config.recipe, choice("recipe", "paper")
    moves = recipe.schedule != "constant" or recipe.warmup > 0
    holds = {
        "input": recipe.input_range != paper["input_range"] or not recipe.subtract_mean,
        "logged": recipe.test_each_epoch,
        "plateau": recipe.schedule == "plateau",
        "drops": recipe.schedule == "plateau" and recipe.drops != paper["drops"],
        "momentum": recipe.optimiser == "sgd" and recipe.momentum > 0 and moves,
        "decay": recipe.weight_decay > 0,
    }
    subtracted = "minus the training set's mean colour"
    return holds, {
        "mean": subtracted if recipe.subtract_mean else "no mean subtracted",
        "norm": " and batch normalisation" if run.config.arch.batch_norm else "",
        "drops": paper["drops"],
    }


def _start(run: Run) -> tuple[dict[str, bool], dict[str, Any]]:
    """How weights start."""
    config, init = run.config, run.config.init
    own = built(config, run.result["data"]["classes"])
    full = reading.spec_of(config.arch, channels=own.channels, classes=own.classes)
    both = zip(own.weighted, full.weighted, strict=True)
    as_published = config.arch.name == "A" and init.name == "normal_literal"
    holds = {
        "init": init.copy_from is None and not as_published,
        "between": init.copy_from is not None,
        "lrn": init.copy_from is not None and cost.lrn_channels(own) is not None,
        "fan_in": "normal" in init.between
        and any(layers.fan_in(here) != layers.fan_in(there) for here, there in both),
    }
    return holds, {"init": worded(init.name), "between": worded(init.between)}


def _stages(run: Run) -> tuple[dict[str, bool], dict[str, Any]]:
    """At which S a net is trained, in which precision, and what of it is tuned."""
    config, recipe, scale = run.config, run.config.recipe, run.config.scale
    name = base(scale.name)
    share = SHARES.get(name, scale.lr_factor)
    changed = changes(config, "scale").keys() & {"smin", "smax", "parent"}
    papers = any(one["label"].startswith(f"{config.arch.name}-") for one in numbers.cells(8))
    holds = {
        "colours": recipe.colour_shift > 0 and config.data.channels > 1,
        "precision": config.precision != "float32",
        "test_precision": config.views_in == "tf32",
        "scale": bool(changed) or name not in {row["scale"] for row in numbers.rows(3)},
        "factor": scale.lr_factor != share,
        "length": name == "S384",
        "jitter": name == "jitter",
        "draws": config.starts_from_another and scale.draws == PARENT,
        "tuned": config.finetune == "fc" and scale.name != "jitter" and not config.locates,
        "located": config.locates and not papers,
        **dict.fromkeys(("boxes", "merging", "classes"), config.locates),
    }
    one, later = scale.smin == scale.smax, recipe.later_epochs
    return holds, {
        "s": f"S={scale.smin}" if one else f"S in [{scale.smin}; {scale.smax}]",
        "before": f", trained on from {s_words(scale.parent)}" if scale.parent else "",
        **{"named": s_words(name), "share": share},
        "length": "as long as S=256 was" if later is None else f"for {later} epochs",
    }


def shapes(config: Config, classes: int, arch: Arch) -> tuple[dict[str, str], dict[str, str]]:
    """The geometry of a configuration that a size may change, in words: here, and at full size."""
    own = built(config, classes, arch)
    here = _shape(own)
    full = _shape(reading.spec_of(arch, channels=own.channels, classes=classes))
    if arch.name in TABLE1 and arch.name != EXAMPLE:
        shared = shapes(config, classes, Arch(**choice("arch", EXAMPLE)))
        here, full = here | shared[0], full | shared[1]
    return here, full


@cache
def _shape(net: layers.Spec) -> dict[str, str]:
    words = {f"map of block {n}": f"{side}x{side}" for n, side in cost.block_sides(net).items()}
    last = cost.map_side(net, net.crop)
    words["map that FC6 sees"] = f"{last}x{last}"
    for q in SHAPE_Q:
        score_map = cost.score_map_side(net, pixels(q, net.crop))
        words[f"score map at Q={q}"] = f"{score_map}x{score_map}"
        words[f"overhang at Q={q} (px)"] = str(cost.overhang(net, pixels(q, net.crop)))
    uneven = ", ".join(str(q) for q in EACH_Q["each"] if q * net.crop % PAPER_CROP)
    words["whole pixels for S and Q of 224 to 512"] = f"all but {uneven}" if uneven else "all"
    field = cost.receptive_field(net.layers)[0]
    share = f"{field / net.crop:.2f} ({field} of {net.crop} px)"
    words["share of the crop that a cell before FC6 sees"] = share
    if (channels := cost.lrn_channels(net)) is not None:
        summed = f"{min(cost.LRN_WINDOW, channels)} of {channels}"
        words["channels that local response normalisation sums over"] = summed
    return words
