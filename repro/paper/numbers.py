"""The published numbers: errors in percent on the ILSVRC-2012 validation set, 1000 classes.

Each table that is measured here is one CSV beside this file, rows in the paper's own order. `scale`
is S: `S256`, `S384` or `jitter`; `members` are the nets of an ensemble, joined by `+`.
"""

from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from repro.config.schema import Arch

CLASSES = 1000
TRAINING_WEEKS = (2, 3)
"""Weeks of training one net on four Titan Black, by its depth (Section 3.3)."""


@lru_cache
def _file(name: str) -> tuple[dict[str, Any], ...]:
    found = pd.read_csv(Path(__file__).with_name(f"{name}.csv"), dtype={"Q": str})
    plain = found.astype(object).where(found.notna(), None)
    return tuple(dict(zip(plain.columns, row, strict=True)) for row in plain.to_numpy())


def rows(number: int) -> list[dict[str, Any]]:
    """The rows of a table of the paper, in its order; a number that it does not give is None."""
    return [dict(row) for row in _file(f"table{number}")]


def replications() -> list[dict[str, Any]]:
    """Errors (%) that others published of the paper's nets, on the 50,000 images of Tables 3 to 6.

    `net` is a file of `conf/arch/`, `scale` that of Table 3 which is nearest; `framework` is whose
    code tested it, `weights` whose training it is; `source` names the page.
    """
    return [dict(row) for row in _file("replications")]


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


def is_papers(arch: Arch) -> bool:
    """Whether a net is the paper's: a column of Table 1, or one that only the text describes."""
    return is_table1(arch) or arch.name in {row["net"] for row in rows(2)} - table1().keys()


def cells(number: int) -> list[dict[str, Any]]:
    """The rows of Table 3 to 6, 8 or 9, each with its protocol and its net's label."""
    every = rows(number)
    labels = [row.get("members") or f"{row['net']}-{row['scale']}" for row in every]
    return [{"label": label} | row for label, row in zip(labels, every, strict=True)]


@lru_cache(maxsize=1024)
def error_of(protocol: str, net: str, metric: str) -> float | None:
    """The published error of a net or an ensemble, or None where there is none.

    `metric` is `top1_error`, `top5_error` or, of localisation (Tables 8 and 9), `box_error` or
    `top5_box_error`; `net` is as in `D-jitter`, the nets of an ensemble joined by `+`.
    """
    for row in (row for number in (3, 4, 5, 6, 8, 9) for row in cells(number)):
        same = set(row["label"].split("+")) == set(net.split("+"))
        if same and row["protocol"] == protocol and metric in row:
            return float(row[metric])
    return None


def transferred(net: str, data: str) -> float | None:
    """The paper's measure (%) of `D`, `E` or `D+E` on data of `conf/data/` (Table 11), or None."""
    found = (row.get(data) for row in rows(11) if row["net"] == net)
    return next((float(value) for value in found if isinstance(value, int | float)), None)
