"""What follows from the layer lists alone: Tables 1 and 2, Section 2.3, the geometry of a size."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

import pandas as pd

from repro.config.choices import choice
from repro.config.schema import Arch, Config
from repro.model import reading
from repro.model.cost import cost, multiply_adds, parameters, receptive_field
from repro.model.geometry import LRN_WINDOW, block_sides, geometry, lrn_channels, map_side
from repro.model.layers import Conv, Net
from repro.paper import numbers as published
from repro.protocol.protocols import EACH_Q
from repro.protocol.scales import PAPER_CROP, pixels
from repro.store.runs import ACTIVATIONS, Run

TABLE1 = tuple(published.table1())
"""The names of its columns, in order."""
EXAMPLE = "D"
"""The net by which maps and windows are shown: the columns of Table 1 share them."""
ADDED_TO = {"C": "B", "D": "B"}
"""Section 2.3's nets with more layers than another: 1x1 in C, 3x3 in D."""
KEPT_Q = (224, 256, 288, 384, 512)
"""Test scales at which the geometry of a size is shown, in paper pixels."""


def at_full_size(name: str) -> Net:
    """A configuration of `conf/arch/` at the paper's size."""
    arch = Arch(**choice("arch", name))
    return reading.at_full_size(arch, channels=3, classes=published.CLASSES)


def as_run(config: Config, classes: int, arch: str | None = None) -> Net:
    """The net of a run, or another configuration at that run's size."""
    return reading.at_size(
        config.arch if arch is None else Arch(**choice("arch", arch)),
        config.size,
        channels=config.data.channels,
        classes=classes,
    )


def configurations() -> pd.DataFrame:
    """Table 1 as built from `conf/arch/`, with Table 2's counts: a column for each net."""
    columns = {}
    for name in TABLE1:
        arch = Arch(**choice("arch", name))
        stages = [*map(_short, arch.blocks), *arch.fc]
        full = at_full_size(name)
        millions = f"{cost(full).parameters / 1e6:.0f}"
        columns[name] = [str(full.weight_layers), *stages, millions]
    index = ["weight layers", *(f"block {number}" for number in range(1, 6))]
    index += [*(f"FC {number}" for number in range(1, 4)), "parameters (millions)"]
    return pd.DataFrame(columns, index=index).rename_axis("").reset_index()


def _short(words: Iterable[str]) -> str:
    """Layers in order, as in `conv3-256 x2, conv1-256`."""
    repeats = [(word, len(list(same))) for word, same in groupby(words)]
    return ", ".join(word if count == 1 else f"{word} x{count}" for word, count in repeats)


def counted(runs: Sequence[Run]) -> pd.DataFrame:
    """Table 2: the parameters of each net, counted at the paper's size and at that of the runs."""
    run, rows = runs[0], []
    for paper in published.rows(2):
        full = at_full_size(paper["net"])
        here = as_run(run.config, run.result["data"]["classes"], paper["net"])
        millions = "-" if paper["millions"] is None else f"{paper['millions']:.0f}"
        rows.append(
            {
                "net": paper["net"],
                "parameters at full size": f"{cost(full).parameters:,}",
                "paper (millions)": millions,
                "GFLOPs an image at full size": f"{cost(full).flops / 1e9:.1f}",
                f"parameters at size {run.config.size.name}": f"{cost(here).parameters:,}",
                "MFLOPs an image": f"{cost(here).flops / 1e6:.1f}",
            }
        )
    return pd.DataFrame(rows)


def stacks(channels: int = 256, side: int = 56) -> pd.DataFrame:
    """Section 2.3: stacks of 3x3 layers against one larger layer, counted from layer lists."""

    def conv(kernel: int, place: int) -> Conv:
        return Conv(kernel, channels, channels, 1, kernel // 2, 1, False, False, 1, place)

    cases = {
        "two conv3": [conv(3, 1), conv(3, 2)],
        "one conv5": [conv(5, 1)],
        "three conv3": [conv(3, 1), conv(3, 2), conv(3, 3)],
        "one conv7": [conv(7, 1)],
        "two conv3, conv1": [conv(3, 1), conv(3, 2), conv(1, 3)],
    }
    rows = []
    for name, stack in cases.items():
        weights = sum(parameters(layer) for layer in stack)
        field = receptive_field(stack)[0]
        rows.append(
            {
                "stack": name,
                "receptive field": f"{field}x{field}",
                "rectifications": str(len(stack)),
                "weights": f"{weights:,}",
                "weights / C²": str(weights // channels**2),
                f"GFLOPs at {side}x{side}": f"{2 * _work(stack, side) / 1e9:.2f}",
            }
        )
    return pd.DataFrame(rows)


def conv1() -> pd.DataFrame:
    """Section 2.3: B, C with three 1x1 layers more, and D with 3x3 layers in their place."""
    rows = []
    for name in dict.fromkeys([*ADDED_TO.values(), *ADDED_TO]):
        net = at_full_size(name)
        total, field = cost(net), receptive_field(net.layers)[0]
        rows.append(
            {
                "net": name,
                "layers after B's": _added(name),
                "rectifications": str(net.weight_layers - 1),
                "parameters": f"{total.parameters:,}",
                "GFLOPs an image": f"{total.flops / 1e9:.1f}",
                "receptive field (px)": str(field),
            }
        )
    return pd.DataFrame(rows)


def _added(name: str) -> str:
    """What a net has more than the one it is compared with, as in `3 conv1`."""
    if name not in ADDED_TO:
        return "-"
    own, other = (
        Counter(layer.split("-")[0] for block in published.table1()[net] for layer in block)
        for net in (name, ADDED_TO[name])
    )
    return ", ".join(f"{count} {layer}" for layer, count in (own - other).items())


def _work(stack: Iterable[Conv], side: int) -> int:
    return sum(multiply_adds(layer, side) for layer in stack)


def geometries(run: Run) -> pd.DataFrame:
    """The geometry of this size beside the paper's, at each test scale, for one net."""
    ours, paper = _both(run, EXAMPLE)
    rows = []
    for q in KEPT_Q:
        here = geometry(ours, pixels(q, run.config.size.crop))
        there = geometry(paper, q)
        rows.append(
            {
                "Q": str(q),
                "image side here (px)": str(here.side),
                "score map here": f"{here.score_map_side}x{here.score_map_side}",
                "paper": f"{there.score_map_side}x{there.score_map_side}",
                "last window hangs over by (px)": str(here.overhang),
                "paper (px)": str(there.overhang),
                "taps in zero padding (%)": f"{100 * here.padded_taps:.1f}",
                "paper (%)": f"{100 * there.padded_taps:.1f}",
            }
        )
    return pd.DataFrame(rows)


def kept(run: Run) -> pd.DataFrame:
    """Which parts of the paper's geometry this size keeps, from the layer lists of both.

    Table 1's nets share their maps; where a net is not named it is `EXAMPLE`.
    """
    rows = [*_maps_kept(run), *_windows_kept(run), *_shares_kept(run)]
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


def _square(side: int) -> str:
    return f"{side}x{side}"


def _maps_kept(run: Run) -> Iterator[tuple[str, ...]]:
    here, paper = _both(run, EXAMPLE)
    ours, theirs = block_sides(here), block_sides(paper)
    for block in ours:
        yield f"map of block {block}", _square(ours[block]), _square(theirs[block])
    seen = (_square(map_side(net, net.crop)) for net in (here, paper))
    yield "map that FC6 sees", *seen


def _windows_kept(run: Run) -> Iterator[tuple[str, ...]]:
    here, paper = _both(run, EXAMPLE)
    crop = run.config.size.crop
    for q in KEPT_Q:
        pair = geometry(here, pixels(q, crop)), geometry(paper, q)
        yield f"score map at Q={q}", *(_square(one.score_map_side) for one in pair)
        yield f"overhang at Q={q} (px)", *(str(one.overhang) for one in pair)
    uneven = [q for q in EACH_Q if q * crop % PAPER_CROP]
    whole = f"all but {', '.join(map(str, uneven))}" if uneven else "all"
    yield "whole pixels for S and Q of 224 to 512", whole, "all"


def _shares_kept(run: Run) -> Iterator[tuple[str, ...]]:
    for name in published.nets():
        pair = _both(run, name)
        seen = [(receptive_field(net.layers)[0], net.crop) for net in pair]
        shares = [f"{field / crop:.2f} ({field} of {crop} px)" for field, crop in seen]
        if seen[0][0] * seen[1][1] == seen[1][0] * seen[0][1]:
            shares[0] = shares[1]
        yield f"share of the crop that a cell before FC6 sees, {name}", *shares
    pair = _both(run, EXAMPLE)
    yield (
        "channels of the first and the last convolution",
        *(f"{net.convs[0].out_channels}, {net.convs[-1].out_channels}" for net in pair),
    )
    yield "units of FC6", *(str(net.linears[0].out_features) for net in pair)
    for name in published.nets():
        channels = [found for net in _both(run, name) if (found := lrn_channels(net)) is not None]
        if channels:
            windows = [f"{min(LRN_WINDOW, count)} of {count} channels" for count in channels]
            yield f"what local response normalisation sums over, {name}", *windows
    at_256 = geometry(pair[0], pixels(256, run.config.size.crop)), geometry(pair[1], 256)
    yield (
        "filter taps in zero padding at Q=256 (%)",
        *(f"{100 * one.padded_taps:.1f}" for one in at_256),
    )


def activations(runs: Iterable[Run]) -> pd.DataFrame:
    """Root mean square of what layers put out before training (Section 3.1), where it was noted.

    A row for each initialisation, net and width: as run, and at full width, which a net that
    copies layers lacks. Of several seeds the first that has it.
    """
    found: dict[tuple[str, ...], dict[str, str]] = {}
    for run in runs:
        noted = noted_activations(run)
        for width, rows in () if noted is None else noted.groupby("net", sort=False):
            named = run.config.init.name, run.config.arch.name, str(width)
            found.setdefault(named, _through_depth(rows))
    heads = ("initialisation", "net", "width")
    table = [dict(zip(heads, key, strict=True)) | found[key] for key in sorted(found)]
    return pd.DataFrame(table, columns=[*heads, *DEPTHS])


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


WIDTHS = ("as run", "full width")
DEPTHS = ("first convolution", "middle convolution", "last convolution", "FC8")


def _through_depth(rows: pd.DataFrame) -> dict[str, str]:
    convs = rows[rows.layer.str.startswith("conv")].rms.tolist()
    values = (convs[0], convs[(len(convs) - 1) // 2], convs[-1], rows.rms.iloc[-1])
    return {name: f"{value:.1e}" for name, value in zip(DEPTHS, values, strict=True)}
