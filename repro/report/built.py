"""What follows from the layer lists alone: Tables 1 and 2, Section 2.3, the geometry of a size."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import groupby

import pandas as pd

from repro.config.choices import choice
from repro.config.schema import Arch, Config
from repro.model import reading
from repro.model.cost import (
    LRN_WINDOW,
    block_sides,
    cost,
    lrn_channels,
    map_side,
    multiply_adds,
    overhang,
    parameters,
    receptive_field,
    score_map_side,
)
from repro.model.layers import Conv, Net
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
    return reading.at_size(
        config.arch if arch is None else Arch(**choice("arch", arch)),
        config.size,
        channels=config.data.channels,
        classes=classes,
    )


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
        full, here = map(cost, _both(run, paper["net"]))
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


def stacks(channels: int = 256, side: int = 56) -> pd.DataFrame:
    """Section 2.3: stacks of 3x3 layers against one larger layer, counted from layer lists."""
    kernels = {"two conv3": (3, 3), "one conv5": (5,), "three conv3": (3, 3, 3), "one conv7": (7,)}
    rows = []
    for name, own in {**kernels, "two conv3, conv1": (3, 3, 1)}.items():
        stack = [
            Conv(kernel, channels, channels, 1, kernel // 2, 1, False, False, 1, place)
            for place, kernel in enumerate(own, 1)
        ]
        weights = sum(map(parameters, stack))
        work = sum(multiply_adds(layer, side) for layer in stack)
        row = [name, receptive_field(stack)[0], len(stack), weights, weights // channels**2]
        rows.append([*row, round(2 * work / 1e9, 2)])
    columns = ["stack", "receptive field", "rectifications", "weights", "weights / C²"]
    return pd.DataFrame(rows, columns=[*columns, f"GFLOPs at {side}x{side}"])


def kept(run: Run) -> pd.DataFrame:
    """Which parts of the paper's geometry this size keeps, from the layer lists of both.

    Table 1's nets share their maps; where a net is not named it is `EXAMPLE`.
    """
    crop, both = run.config.size.crop, _both(run, EXAMPLE)[::-1]
    maps = [block_sides(net) for net in both]
    rows = [(f"map of block {b}", *(f"{side[b]}x{side[b]}" for side in maps)) for b in maps[0]]
    seen = (map_side(net, net.crop) for net in both)
    rows.append(("map that FC6 sees", *(f"{side}x{side}" for side in seen)))
    for q in KEPT_Q:
        found = [(net, pixels(q, net.crop)) for net in both]
        scores = (f"{side}x{side}" for side in (score_map_side(*one) for one in found))
        rows.append((f"score map at Q={q}", *scores))
        rows.append((f"overhang at Q={q} (px)", *(str(overhang(*one)) for one in found)))
    uneven = [str(q) for q in EACH_Q if q * crop % PAPER_CROP]
    whole = f"all but {', '.join(uneven)}" if uneven else "all"
    rows.append(("whole pixels for S and Q of 224 to 512", whole, "all"))
    for name in numbers.nets():
        nets = _both(run, name)[::-1]
        shares = [(receptive_field(net.layers)[0], net.crop) for net in nets]
        words = (f"{field / side:.2f} ({field} of {side} px)" for field, side in shares)
        rows.append((f"share of the crop that a cell before FC6 sees, {name}", *words))
        channels = [own for net in nets if (own := lrn_channels(net)) is not None]
        if channels:
            windows = (f"{min(LRN_WINDOW, count)} of {count} channels" for count in channels)
            rows.append((f"what local response normalisation sums over, {name}", *windows))
    table = pd.DataFrame(rows, columns=["what", "here", "the paper"])
    return table.assign(kept=["yes" if own == paper else "no" for _, own, paper in rows])


def kept_words(table: pd.DataFrame) -> str:
    """One sentence on what a size keeps, from the table of `kept`."""
    found: dict[str, list[str]] = {}
    for what in table[table.kept == "yes"].what:
        name, _, at = str(what).partition(" at ")
        found.setdefault(name, []).append(at)
    words = [name + (f" at {', '.join(at)}" if any(at) else "") for name, at in found.items()]
    return f"Of the paper's geometry this size keeps: {'; '.join(words) or 'nothing'}."


def _both(run: Run, name: str) -> tuple[Net, Net]:
    """A configuration at the paper's size, and at that of a run."""
    return at_full_size(name), as_run(run.config, run.result["data"]["classes"], name)
