"""What follows from the layer lists alone: Tables 1 and 2, Section 2.3, the geometry of a size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import groupby

import pandas as pd

from repro.config.choices import choice
from repro.config.schema import Arch, Config
from repro.model import reading
from repro.model.cost import cost, multiply_adds, parameters, receptive_field
from repro.model.geometry import LRN_WINDOW, block_sides, geometry, lrn_channels, map_side
from repro.model.layers import Conv, Net
from repro.paper import numbers
from repro.protocol.protocols import EACH_Q
from repro.protocol.scales import PAPER_CROP, pixels
from repro.store.runs import ACTIVATIONS, Run

TABLE1 = tuple(numbers.table1())
"""The names of its columns, in order."""
EXAMPLE = "D"
"""The net by which maps and windows are shown: the columns of Table 1 share them."""
KEPT_Q = (224, 256, 288, 384, 512)
"""Test scales at which the geometry of a size is shown, in paper pixels."""
WIDTHS = ("as run", "full width")


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
        arch = Arch(**choice("arch", name))
        blocks = [
            ", ".join(
                word if len(same := list(found)) == 1 else f"{word} x{len(same)}"
                for word, found in groupby(block)
            )
            for block in arch.blocks
        ]
        columns[name] = [str(at_full_size(name).weight_layers), *blocks, *arch.fc]
    index = ["weight layers", *(f"block {number}" for number in range(1, 6))]
    index += [f"FC {number}" for number in range(1, 4)]
    return pd.DataFrame(columns, index=index).rename_axis("layers").reset_index()


def counted(runs: Sequence[Run]) -> pd.DataFrame:
    """Table 2: the parameters of each net, counted at the paper's size and at that of the runs."""
    run, rows = runs[0], []
    for paper in numbers.rows(2):
        full = cost(at_full_size(paper["net"]))
        here = cost(as_run(run.config, run.result["data"]["classes"], paper["net"]))
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
    rows = []
    for name, kernels in {
        "two conv3": (3, 3),
        "one conv5": (5,),
        "three conv3": (3, 3, 3),
        "one conv7": (7,),
        "two conv3, conv1": (3, 3, 1),
    }.items():
        stack = [
            Conv(kernel, channels, channels, 1, kernel // 2, 1, False, False, 1, place)
            for place, kernel in enumerate(kernels, 1)
        ]
        weights = sum(map(parameters, stack))
        work = sum(multiply_adds(layer, side) for layer in stack)
        rows.append(
            {
                "stack": name,
                "receptive field": receptive_field(stack)[0],
                "rectifications": len(stack),
                "weights": weights,
                "weights / C²": weights // channels**2,
                f"GFLOPs at {side}x{side}": round(2 * work / 1e9, 2),
            }
        )
    return pd.DataFrame(rows)


def kept(run: Run) -> pd.DataFrame:
    """Which parts of the paper's geometry this size keeps, from the layer lists of both.

    Table 1's nets share their maps; where a net is not named it is `EXAMPLE`.
    """
    rows = [*_maps_kept(run), *_shares_kept(run)]
    table = pd.DataFrame(rows, columns=["what", "here", "the paper"])
    table["kept"] = ["yes" if here == paper else "no" for _, here, paper in rows]
    return table


def kept_words(table: pd.DataFrame) -> str:
    """One sentence on what a size keeps, from the table of `kept`."""
    found: dict[str, list[str]] = {}
    for what in table[table.kept == "yes"].what:
        name, _, at = str(what).partition(" at ")
        found.setdefault(name, []).append(at)
    words = [name + (f" at {', '.join(at)}" if any(at) else "") for name, at in found.items()]
    if not words:
        return "This size keeps nothing of the paper's geometry."
    return f"Of the paper's geometry this size keeps: {'; '.join(words)}."


def _both(run: Run, name: str) -> tuple[Net, Net]:
    """A configuration at the size of a run, and at the paper's."""
    return as_run(run.config, run.result["data"]["classes"], name), at_full_size(name)


def _maps_kept(run: Run) -> Iterator[tuple[str, ...]]:
    here, paper = pair = _both(run, EXAMPLE)
    ours, theirs = block_sides(here), block_sides(paper)
    for block in ours:
        yield f"map of block {block}", *(f"{side[block]}x{side[block]}" for side in (ours, theirs))
    sides = (map_side(net, net.crop) for net in pair)
    yield "map that FC6 sees", *(f"{side}x{side}" for side in sides)
    crop = run.config.size.crop
    for q in KEPT_Q:
        found = geometry(here, pixels(q, crop)), geometry(paper, q)
        score_maps = (one.score_map_side for one in found)
        yield f"score map at Q={q}", *(f"{side}x{side}" for side in score_maps)
        yield f"overhang at Q={q} (px)", *(str(one.overhang) for one in found)
        if q == 256:
            taps = (f"{100 * one.padded_taps:.1f}" for one in found)
            yield "filter taps in zero padding at Q=256 (%)", *taps
    uneven = [q for q in EACH_Q if q * crop % PAPER_CROP]
    whole = f"all but {', '.join(map(str, uneven))}" if uneven else "all"
    yield "whole pixels for S and Q of 224 to 512", whole, "all"


def _shares_kept(run: Run) -> Iterator[tuple[str, ...]]:
    for name in numbers.nets():
        pair = _both(run, name)
        seen = [(receptive_field(net.layers)[0], net.crop) for net in pair]
        shares = [f"{field / crop:.2f} ({field} of {crop} px)" for field, crop in seen]
        if seen[0][0] * seen[1][1] == seen[1][0] * seen[0][1]:
            shares[0] = shares[1]
        yield f"share of the crop that a cell before FC6 sees, {name}", *shares
        channels = [found for net in pair if (found := lrn_channels(net)) is not None]
        if channels:
            windows = [f"{min(LRN_WINDOW, count)} of {count} channels" for count in channels]
            yield f"what local response normalisation sums over, {name}", *windows
    pair = _both(run, EXAMPLE)
    ends = (f"{net.convs[0].out_channels}, {net.convs[-1].out_channels}" for net in pair)
    yield "channels of the first and the last convolution", *ends
    yield "units of FC6", *(str(net.linears[0].out_features) for net in pair)


def activations(runs: Iterable[Run]) -> pd.DataFrame:
    """Root mean square of what layers put out before training (Section 3.1), where it was noted.

    A row for each initialisation, net and width: as run, and at full width, which a net that
    copies layers lacks. Of several seeds the first that has it.
    """
    found: dict[tuple[str, ...], dict[str, float]] = {}
    for run in runs:
        noted = noted_activations(run)
        for width, rows in () if noted is None else noted.groupby("net", sort=False):
            convs = rows[rows.layer.str.startswith("conv")].rms.tolist()
            values = {"first convolution": convs[0], "last convolution": convs[-1]}
            named = run.config.init.name, run.config.arch.name, str(width)
            found.setdefault(named, values | {"last layer": rows.rms.iloc[-1]})
    heads = ("initialisation", "net", "width")
    return pd.DataFrame([dict(zip(heads, key, strict=True)) | found[key] for key in sorted(found)])


def noted_activations(run: Run) -> pd.DataFrame | None:
    """What a run noted of its activations, or None: columns net (`as run`), layer and rms."""
    try:
        table = pd.read_csv(
            run.folder / ACTIVATIONS, dtype={"net": str, "layer": str, "rms": float}
        )
        convs = table.layer.str.startswith("conv").groupby(table.net).any()
        whole = bool(len(table) and table.net.isin(WIDTHS).all() and convs.all())
    except (OSError, ValueError, AttributeError):
        return None
    return table if whole and table.layer.notna().all() else None
