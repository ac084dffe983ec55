"""What follows from the layer lists alone: Tables 1 and 2, Section 2.3, the geometry of a size."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import groupby

import pandas as pd

from repro.config.choices import choice
from repro.config.schema import Arch, Config
from repro.model import cost, reading
from repro.model.layers import Net
from repro.paper import numbers
from repro.protocol.protocols import EACH_Q
from repro.protocol.scales import PAPER_CROP, pixels
from repro.store.runs import Run

TABLE1 = tuple(numbers.table1())
"""The names of its columns, in order."""
EXAMPLE = "D"
"""The net by which maps and windows are shown: the columns of Table 1 share them."""
KEPT_Q = (224, 256, 288, 384, 512)
"""Test scales at which the geometry of a size is shown, in paper pixels."""


@lru_cache
def at_full_size(name: str) -> Net:
    """A configuration of `conf/arch/` at the paper's size."""
    arch = Arch(**choice("arch", name))
    return reading.at_full_size(arch, channels=3, classes=numbers.CLASSES)


def as_run(config: Config, classes: int, arch: str | None = None) -> Net:
    """The net of a run, or another configuration at that run's size."""
    own = config.arch if arch is None else Arch(**choice("arch", arch))
    return reading.at_size(own, config.size, channels=config.data.channels, classes=classes)


def configurations() -> pd.DataFrame:
    """Table 1 as built from `conf/arch/`: a column for each net."""
    columns = {}
    for name in TABLE1:
        arch, blocks = Arch(**choice("arch", name)), []
        for block in arch.blocks:
            words = {word: len(list(same)) for word, same in groupby(block)}
            blocks.append(", ".join(w if n == 1 else f"{w} x{n}" for w, n in words.items()))
        columns[name] = [str(at_full_size(name).weight_layers), *blocks, *arch.fc]
    index = ["weight layers", *(f"block {n}" for n in range(1, 6)), *(f"FC {n}" for n in (1, 2, 3))]
    return pd.DataFrame({"layers": index} | columns)


def counted(runs: Sequence[Run]) -> pd.DataFrame:
    """Table 2: the parameters of each net, counted at the paper's size and at that of the runs."""
    run, rows = runs[0], []
    for paper in numbers.rows(2):
        full = cost.cost(at_full_size(paper["net"]))
        here = cost.cost(as_run(run.config, run.result["data"]["classes"], paper["net"]))
        rows.append(
            {
                "net": paper["net"],
                "parameters at full size": full.parameters,
                "paper (millions)": paper["millions"],
                "GFLOPs an image at full size": round(full.flops / 1e9, 1),
                f"parameters at size {run.config.size.name}": here.parameters,
                "MFLOPs an image": round(here.flops / 1e6, 1),
            }
        )
    return pd.DataFrame(rows)


def shapes(config: Config, classes: int, arch: Arch) -> tuple[dict[str, str], dict[str, str]]:
    """What a size may change of a configuration's geometry, in words: here, and at full size."""
    images = {"channels": config.data.channels, "classes": classes}
    here = _shape(reading.at_size(arch, config.size, **images))
    full = _shape(reading.at_full_size(arch, **images))
    if arch.name in TABLE1 and arch.name != EXAMPLE:
        shared = shapes(config, classes, Arch(**choice("arch", EXAMPLE)))
        here, full = here | shared[0], full | shared[1]
    return here, full


def _shape(net: Net) -> dict[str, str]:
    words = {f"map of block {n}": f"{side}x{side}" for n, side in cost.block_sides(net).items()}
    last = cost.map_side(net, net.crop)
    words["map that FC6 sees"] = f"{last}x{last}"
    for q in KEPT_Q:
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
