"""Table 11 of the paper with our rows: what descriptors on other data scored."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from repro.paper import numbers
from repro.report.net import worded
from repro.report.transfer import Tested, Transfers, interval_of

DATA = {
    "voc2007": "VOC-2007 (mean AP)",
    "voc2012": "VOC-2012 (mean AP; ours of `val`)",
    "caltech101": "Caltech-101 (mean class recall)",
    "caltech256": "Caltech-256 (mean class recall)",
}
"""The columns of Table 11, by the files of `conf/data/`."""


def table(groups: Sequence[Transfers]) -> pd.DataFrame:
    """Recall and average precision (%) of every net and test, ours, then the paper's."""
    rows: list[dict[str, Any]] = []
    for group in groups:
        cells: dict[tuple[str, ...], dict[tuple[int, ...], Tested]] = {}
        for one in group.tested:
            # Of each run the pixels are the same; two nets are, in either order.
            seeds = cells.setdefault((one.net, one.trained_on, one.found.protocol, one.q), {})
            seeds.setdefault(() if one.given else one.seeds, one)
        for (net, trained_on, test, q), by_seed in sorted(cells.items()):
            every = list(by_seed.values())
            which = {
                "net": net,
                "size": group.setting.size,
                "trained_on": trained_on,
                "test": test,
                "Q": q,
                "data": group.images,
            }
            for metric in every[0].found.errors:
                values = np.array([100 - one.found.errors[metric] for one in every])
                found = interval_of([100 - one.drawn[metric].mean(axis=0) for one in every], values)
                rows.append(which | {"measure": metric.removesuffix("_error")} | found)
    for theirs in numbers.rows(11):
        for data in DATA:
            if theirs[data] is not None:
                rows.append(
                    {
                        "net": theirs["system"],
                        "size": "paper",
                        "trained_on": "ImageNet",
                        "test": "published",
                        "data": data,
                        "mean": theirs[data],
                        "splits_sd": theirs.get(f"{data}_spread"),
                    }
                )
    return pd.DataFrame(rows) if groups else pd.DataFrame()


def shown(frame: pd.DataFrame) -> pd.DataFrame:
    """Table 11 for readers: a row for each net and test, a column for each data set."""
    rows: dict[tuple[str, ...], dict[str, str]] = {}
    for row in frame.to_dict("records"):
        measure = "" if pd.isna(row["measure"]) else str(row["measure"])
        words = f"{measure} " * measure.startswith("ap") + f"{row['mean']:.1f}"
        words += "" if pd.isna(row["splits_sd"]) else f" ± {row['splits_sd']:.1f}"
        words += "" if pd.isna(row["low"]) else f" [{row['low']:.1f}; {row['high']:.1f}]"
        words += "" if pd.isna(row["n"]) else f" ({int(row['n'])})"
        data, _, changes = str(row["data"]).partition(", ")
        key = (*(str(row[name]) for name in ("net", "size", "trained_on", "test")), changes)
        net, size, trained_on, test, _ = key
        test = test.replace("_", " ") + f"; {changes}" * bool(changes)
        new = {
            "net": net,
            "trained on": worded(trained_on) or "-",
            "test": test,
            "size": worded(size),
        }
        own = rows.setdefault(key, new | dict.fromkeys(DATA.values(), "-"))
        own[DATA[data]] = words if own[DATA[data]] == "-" else f"{own[DATA[data]]}, {words}"
    return pd.DataFrame(list(rows.values()))
