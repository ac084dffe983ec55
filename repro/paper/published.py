"""The published numbers: errors in percent on the ILSVRC-2012 validation set, 1000 classes.

Each table of the paper that is measured here is one CSV beside this file, rows in the paper's own
order. `scale` is S: `S256`, `S384` or `jitter` for [256; 512].
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd

TABLE_OF_PROTOCOL = {"single_scale": 3, "multi_scale": 4, "multi_crop": 5, "multi_crop_dense": 5}
CLASSES = 1000
TEST_IMAGES = 50_000


@lru_cache
def table(number: int) -> pd.DataFrame:
    """A table of the paper.

    Raises:
        FileNotFoundError: that table is not among the data.
    """
    return pd.read_csv(Path(__file__).with_name(f"table{number}.csv"), dtype={"Q": str})


def rows(number: int) -> list[dict[str, Any]]:
    """The rows of a table of the paper, in its order; a number that it does not give is None."""
    found = table(number)
    plain = found.astype(object).where(found.notna(), None)
    return [dict(zip(plain.columns, row, strict=True)) for row in plain.itertuples(index=False)]


@lru_cache(maxsize=1024)
def error(protocol: str, net: str, scale: str, metric: str) -> float | None:
    """The published error of a cell of Tables 3, 4 and 5, or None where there is none.

    Args:
        protocol: how it was tested, as in `repro.spec.scales.PROTOCOLS`.
        net: the configuration.
        scale: the training scale.
        metric: `top1_error` or `top5_error`.
    """
    if protocol not in TABLE_OF_PROTOCOL:
        return None
    for row in rows(TABLE_OF_PROTOCOL[protocol]):
        if (row["net"], row["scale"], row.get("protocol", protocol)) == (net, scale, protocol):
            return float(row[metric])
    return None
