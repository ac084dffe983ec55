"""What follows from the layer lists alone: Tables 1 and 2, Section 2.3, the geometry of a size."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

import pandas as pd

from repro.config import Arch, Config, choice
from repro.paper import published
from repro.spec import layers
from repro.spec.cost import cost, multiply_adds, parameters, receptive_field
from repro.spec.geometry import geometry
from repro.spec.layers import Conv, Net
from repro.spec.scales import pixels
from repro.store.runs import Run

TABLE1 = ("A", "A-LRN", "B", "C", "D", "E")


def at_full_size(name: str) -> Net:
    """A configuration of `conf/arch/` at the paper's size."""
    arch = Arch(**choice("arch", name))
    return layers.at_full_size(arch, channels=3, classes=published.CLASSES)


def as_run(config: Config, classes: int, arch: str | None = None) -> Net:
    """The net of a run, or another configuration at that run's size."""
    return layers.at_size(
        config.arch if arch is None else Arch(**choice("arch", arch)),
        config.size,
        channels=config.data.channels,
        classes=classes,
    )


def configurations() -> pd.DataFrame:
    """Table 1 as built from `conf/arch/`: a column for each configuration."""
    columns = {}
    for name in TABLE1:
        arch = Arch(**choice("arch", name))
        stages = [*map(_short, arch.blocks), *arch.fc]
        columns[name] = [str(at_full_size(name).weight_layers), *stages]
    index = ["weight layers", *(f"block {number}" for number in range(1, 6))]
    index += [f"FC {number}" for number in range(1, 4)]
    return pd.DataFrame(columns, index=index).rename_axis("").reset_index()


def _short(words: Iterable[str]) -> str:
    """Layers in order, as in `conv3-256 x2, conv1-256`."""
    repeats = [(word, len(list(same))) for word, same in groupby(words)]
    return ", ".join(word if count == 1 else f"{word} x{count}" for word, count in repeats)


def counted(runs: Sequence[Run]) -> pd.DataFrame:
    """Table 2: parameters at the paper's size, counted here, beside the paper's, and as run."""
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
    """Section 2.3: what the 1x1 layers of C add to B, and what 3x3 layers in their place (D)."""
    rows = []
    for name in ("B", "C", "D"):
        net = at_full_size(name)
        total, field = cost(net), receptive_field(net.layers)[0]
        rows.append(
            {
                "net": name,
                "layers after B's": {"B": "-", "C": "3 conv1", "D": "3 conv3"}[name],
                "rectifications": str(net.weight_layers - 1),
                "parameters": f"{total.parameters:,}",
                "GFLOPs an image": f"{total.flops / 1e9:.1f}",
                "receptive field (px)": str(field),
            }
        )
    return pd.DataFrame(rows)


def _work(stack: Iterable[Conv], side: int) -> int:
    return sum(multiply_adds(layer, side) for layer in stack)


def geometries(run: Run) -> pd.DataFrame:
    """The geometry of this size beside the paper's, at each test scale, for net D."""
    ours = as_run(run.config, run.result["data"]["classes"], "D")
    paper, rows = at_full_size("D"), []
    for q in (224, 256, 288, 384, 512):
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


def fields(run: Run) -> pd.DataFrame:
    """Receptive field of a cell before the FC layers against the crop, for each configuration."""
    crop, rows = run.config.size.crop, []
    for name in (*TABLE1, "B-5x5"):
        side, _ = receptive_field(at_full_size(name).layers)
        rows.append(
            {
                "net": name,
                "receptive field (px)": str(side),
                f"share of a {crop} px crop": f"{side / crop:.2f}",
                "share of the paper's 224 px crop": f"{side / 224:.2f}",
            }
        )
    return pd.DataFrame(rows)
