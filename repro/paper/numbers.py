"""The published numbers: errors in percent on the ILSVRC-2012 validation set, 1000 classes.

Each table of the paper that is measured here is one CSV beside this file, rows in the paper's own
order. `scale` is S: `S256`, `S384` or `jitter` for [256; 512]; `protocol` is a way of testing
(`repro.protocol.protocols`); `members` are the nets of an ensemble, joined by `+`.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from repro.config.schema import Arch

CLASSES = 1000
TRAINING_WEEKS = (2, 3)
"""What one net took on four Titan Black, by its depth (Section 3.3)."""


@lru_cache
def table(number: int) -> pd.DataFrame:
    """A table of the paper.

    Raises:
        FileNotFoundError: that table is not among the data.
    """
    return pd.read_csv(Path(__file__).with_name(f"table{number}.csv"), dtype={"Q": str})


def rows(number: int) -> list[dict[str, Any]]:
    """The rows of a table of the paper, in its order; a number that it does not give is None."""
    return _plain(table(number))


def _plain(found: pd.DataFrame) -> list[dict[str, Any]]:
    plain = found.astype(object).where(found.notna(), None)
    return [dict(zip(plain.columns, row, strict=True)) for row in plain.itertuples(index=False)]


@lru_cache
def _replications() -> pd.DataFrame:
    return pd.read_csv(Path(__file__).with_name("replications.csv"))


def replications() -> list[dict[str, Any]]:
    """What others published of the paper's nets, on the same 50,000 images as Tables 3 to 6.

    `net` is a file of `conf/arch/`; `framework` is whose code tested it, `weights` whose training
    it is; `source` names the page. Errors are in percent; where a page gives an accuracy, 100 less
    that.
    """
    return _plain(_replications())


@lru_cache
def table1() -> dict[str, list[list[str]]]:
    """The columns of Table 1 by name, each its blocks of layers."""
    text = Path(__file__).with_name("table1.yaml").read_text(encoding="utf-8")
    columns: dict[str, list[list[str]]] = yaml.safe_load(text)
    return columns


def is_table1(arch: Arch) -> bool:
    """Whether a net is, layer by layer, the column of Table 1 that it is named after."""
    return (
        arch.blocks == table1().get(arch.name)
        and (arch.pool, arch.fc) == ("maxpool2/2", ["FC-4096", "FC-4096", "FC-classes"])
        and arch.conv_bias
        and not arch.batch_norm
    )


@lru_cache
def nets() -> tuple[str, ...]:
    """The paper's nets, by their names in `conf/arch/`: Table 1's, then those of its text only."""
    return tuple(row["net"] for row in rows(2))


def is_papers(arch: Arch) -> bool:
    """Whether a net is the paper's: a column of Table 1, or one that only the text describes."""
    return is_table1(arch) or arch.name in set(nets()) - table1().keys()


@lru_cache
def scales() -> set[str]:
    """The paper's training scales, by their names in `conf/scale/` (Table 3)."""
    return {row["scale"] for row in rows(3)}


@lru_cache(maxsize=1024)
def error_of(protocol: str, net: str, metric: str) -> float | None:
    """The published error of a net or an ensemble (Tables 3 to 6), or None where there is none.

    Args:
        protocol: how it was tested, as in `repro.protocol.protocols.PROTOCOLS`.
        net: as in `D-jitter`; the nets of an ensemble joined by `+`, in any order.
        metric: `top1_error` or `top5_error`.
    """
    for number in (3, 4, 5, 6):
        for row in cells(number):
            same = set(row["label"].split("+")) == set(net.split("+"))
            if same and row["protocol"] == protocol:
                return float(row[metric])
    return None


@lru_cache
def _cells(number: int) -> tuple[dict[str, Any], ...]:
    found = []
    for row in rows(number):
        label = row["members"] if number == 6 else f"{row['net']}-{row['scale']}"
        found.append({"label": label} | row)
    return tuple(found)


def cells(number: int) -> list[dict[str, Any]]:
    """The rows of Table 3, 4, 5 or 6, each with its protocol and its net's label."""
    return [dict(row) for row in _cells(number)]
