"""Table 11 of the paper with our rows: what descriptors on other data scored."""

from collections.abc import Iterator, Sequence
from textwrap import fill
from typing import Any

import numpy as np
import pandas as pd
from markdown.extensions.toc import slugify

from repro.paper import numbers
from repro.protocol.protocols import TRANSFERS
from repro.report.marks import Chart, Rows, chart
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
        for (net, trained_on, test, q), every in _cells(group):
            which = {
                "net": net,
                "size": group.setting.size,
                "trained_on": trained_on,
                "test": test,
                "Q": q,
                "data": group.images,
            }
            for metric in every[0].found.errors:
                found = _interval(every, metric)
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
    return pd.DataFrame(rows if any(group.tested for group in groups) else [])


def _cells(group: Transfers) -> Iterator[tuple[tuple[str, str, str, str], list[Tested]]]:
    """The net, its training, the test and the Q of each row, and what was tested, by seed."""
    cells: dict[tuple[str, str, str, str], dict[tuple[int, ...], Tested]] = {}
    for one in group.tested:
        # Of each run the pixels are the same.
        seeds = cells.setdefault((one.net, one.trained_on, one.found.protocol, one.q), {})
        seeds.setdefault(() if one.given else one.seeds, one)
    yield from ((key, list(by_seed.values())) for key, by_seed in sorted(cells.items()))


def _interval(every: Sequence[Tested], metric: str) -> dict[str, Any]:
    values = np.array([100 - one.found.errors[metric] for one in every])
    return interval_of([100 - one.drawn[metric].mean(axis=0) for one in every], values)


def charts(groups: Sequence[Transfers]) -> list[Chart]:
    """A chart for each data set and size: our rows of Table 11 beside the paper's of the net."""
    found = (_chart(group) for group in groups)
    return [one for one in found if one is not None]


def _chart(group: Transfers) -> Chart | None:
    rows: Rows = []
    theirs: Rows = []
    metric = group.metric
    for (net, trained_on, test, _), every in _cells(group):
        words = net.replace(":random", ", not trained")
        words += f", {trained_on}" if len(group.trainings) > 1 else ""
        here = {"y": fill(words, 34), "group": TRANSFERS[test].words}
        own = here | {"facet": f"here: {worded(group.images)}"}
        interval = _interval(every, metric)
        point = own | {"x": interval["mean"], "low": interval["low"], "high": interval["high"]}
        if len(every) > 1:
            values = [float(100 - one.found.errors[metric].mean()) for one in every]
            rows += [own | {"mark": "seed", "x": value} for value in values]
        rows.append(point | {"mark": "mean" if len(every) > 1 else "one seed"})
        if (paper := every[0].paper(group.images, metric)) is not None:
            facet = "the paper: ImageNet, full size"
            theirs.append(here | {"facet": facet, "mark": "paper", "x": 100 - paper})
    measure = metric.removesuffix("_error")
    name = slugify(f"descriptors {worded(group.images)} {worded(group.setting.size)}", "-")
    x = {"recall": "mean class recall (%)"}.get(measure, f"mean average precision, {measure} (%)")
    return chart(name, "descriptors", [*rows, *theirs], x, data=worded(group.images))


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
        # Data of one's own have no row of the paper's.
        head = DATA.get(data, data)
        own[head] = words if own.get(head, "-") == "-" else f"{own[head]}, {words}"
    return pd.DataFrame(list(rows.values())).fillna("-")
