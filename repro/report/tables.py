"""The tables of the report: numbers as they are measured, and the same as a reader's text.

A frame holds numbers: an error in percent has the columns `mean`, `sd`, `n` (seeds), `low`, `high`
(its 95% interval) and `paper`. The CSV is that frame; `readable` words it for pages and LaTeX.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from repro.model.cost import cost
from repro.paper import numbers
from repro.protocol.protocols import ONE_NUMBER, PROTOCOLS
from repro.report.built import TABLE1, as_run
from repro.report.measured import Measured, spread
from repro.report.net import Net, Nets, ensemble, label, members, named
from repro.report.settings import Comparison
from repro.report.titles import arch_title, scale_title

ERROR = ("mean", "sd", "n", "low", "high")


def error(cells: Sequence[Measured]) -> dict[str, float | int | None]:
    """An error in percent over the seeds that there are: mean, sd, n, low and high.

    With one seed the interval is Wilson's over test images, with several Student's over seeds.
    """
    if not cells:
        return dict.fromkeys(ERROR)
    found = spread(cells)
    sd = None if found.sd is None else round(found.sd, 4)
    ends = (round(found.mean, 4), sd, found.seeds, round(found.low, 4), round(found.high, 4))
    return dict(zip(ERROR, ends, strict=True))


def outcomes(comparison: Comparison, nets: Nets) -> str:
    """How many runs of a net did not train, as in `1 diverged`; empty: all did."""
    ended = Counter(
        str(run.result["outcome"])
        for net in members(nets)
        for run in comparison.nets.get(comparison.plain(net), [])
    )
    del ended["trained"]
    if isinstance(nets, tuple):
        return "a member diverged" if ended["diverged"] else ""
    return ", ".join(f"{count} {outcome}" for outcome, count in ended.items())


def in_order(arch: str) -> tuple[int, str]:
    """The place of a configuration for sorting: as in Table 1, all others after it by name."""
    return (TABLE1.index(arch) if arch in TABLE1 else len(TABLE1), arch)


def ordered(comparison: Comparison) -> list[Net]:
    """The nets of a setting, configurations as in Table 1."""
    return sorted(comparison.nets, key=lambda net: (in_order(net.arch), str(net)))


def named_columns(nets: Nets) -> dict[str, str]:
    """The columns that say which net a row is about: `net` and `S`."""
    of = members(nets)
    if len(of) > 1:
        return {"net": " + ".join(map(str, of)), "S": ""}
    return {"net": arch_title(of[0]), "S": scale_title(of[0].scale)}


def row(comparison: Comparison, nets: Nets, test: str, q: str | None = None) -> dict[str, Any]:
    """One net by one protocol: which, its error, the paper's, and what became of its runs."""
    cells = comparison.cells(nets, test, q)
    return {
        **named_columns(nets),
        "test": PROTOCOLS[test].title,
        "Q": cells[0].q if cells else q or "",
        **error(cells),
        "paper": numbers.error_of(test, label(nets), "top1_error"),
        "note": outcomes(comparison, nets),
    }


def paper_rows(number: int, comparison: Comparison) -> tuple[pd.DataFrame, list[str]]:
    """Table 3, 4, 5 or 6: the paper's rows that were run, in its order; asked ensembles after it.

    Returns:
        The table, and the commands that make the rows which nobody has run.
    """
    rows: list[dict[str, Any]] = []
    missing: list[tuple[Net, str]] = []
    for theirs in _asked(number, comparison):
        nets: Nets = theirs["nets"]
        test = theirs["protocol"]
        found = row(comparison, nets, test)
        absent = [one for one in members(nets) if not comparison.cells(one, test)]
        missing += [(one, test) for one in absent if not comparison.diverged(one)]
        if found["n"] is None and not any(map(comparison.diverged, absent)):
            continue
        found["Q"] = theirs.get("Q") or found["Q"]
        found["test"] = PROTOCOLS[test].method if number > 4 else found["test"]
        if number == 6:
            found = {"ensemble": theirs.get("system", "asked for")} | found
            found.pop("S")
        if comparison.has_1000_classes:
            found |= _top5(comparison.cells(nets, test)) | {"top5_paper": theirs.get("top5_error")}
        rows.append(found)
    wanted, tests = dict.fromkeys(net for net, _ in missing), dict.fromkeys(t for _, t in missing)
    return pd.DataFrame(rows), comparison.commands(list(wanted), list(tests))


def _asked(number: int, comparison: Comparison) -> Iterable[dict[str, Any]]:
    if number != 6:
        return [theirs | {"nets": named(theirs["label"])} for theirs in numbers.cells(number)]
    paper = {(cell["protocol"], ensemble(cell["label"])): cell for cell in numbers.cells(6)}
    asked = [(one.protocol, members(one.net)) for one in comparison.fused]
    return [
        paper.get(key, {}) | {"protocol": key[0], "nets": key[1]}
        for key in dict.fromkeys([*paper, *asked])
    ]


def _top5(cells: Sequence[Measured]) -> dict[str, float | None]:
    found = [value for one in cells if (value := one.error("top5_error")) is not None]
    return {"top5": round(sum(found) / len(found), 4) if found else None}


def protocols(comparison: Comparison) -> pd.DataFrame:
    """Every net by every protocol that it was tested by and that gives one number, a row each."""
    tests = [name for name in ONE_NUMBER if comparison.tested(name)]
    rows = [
        row(comparison, net, test)
        for net in ordered(comparison)
        for test in tests
        if comparison.cells(net, test)
    ]
    return pd.DataFrame(rows)


def nets(comparison: Comparison) -> pd.DataFrame:
    """The nets: depth, parameters, validation error, seeds, and what became of their runs."""
    rows = []
    for net in ordered(comparison):
        runs = comparison.nets[net]
        built = as_run(runs[0].config, comparison.classes)
        known = [e for run in runs if (e := run.result["validation_error"]) is not None]
        rows.append(
            {
                **named_columns(net),
                "weight layers": built.weight_layers,
                "parameters": cost(built).parameters,
                "epochs": runs[0].config.epochs,
                "validation_error": round(sum(known) / len(known), 4) if known else None,
                "runs": len(runs),
                "note": outcomes(comparison, net),
            }
        )
    return pd.DataFrame(rows)


def side_by_side(frame: pd.DataFrame) -> pd.DataFrame:
    """The table of `protocols` for readers: a row for each net, a column for each protocol."""
    if frame.empty:
        return frame
    rows = []
    for (net, scale), part in frame.groupby(["net", "S"], sort=False):
        seeds = sorted(set(part.n))
        words = {f"{r['test']} (%)": _error_words(r) for r in part.to_dict("records")}
        span = str(seeds[0]) if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
        rows.append({"net": net, "S": scale, **words, "seeds": span})
    columns = list(dict.fromkeys(name for one in rows for name in one if name != "seeds"))
    return pd.DataFrame(rows, columns=[*columns, "seeds"]).fillna("-")


def others(comparison: Comparison) -> pd.DataFrame:
    """Table 7: other systems as the paper gives them, and which of them were measured here."""
    rows = []
    for theirs in numbers.rows(7):
        own = theirs["members"] is not None
        cells = comparison.cells(named(theirs["members"]), theirs["protocol"]) if own else []
        rows.append(
            {
                "system": theirs["system"],
                "test": PROTOCOLS[theirs["protocol"]].title if own else "published only",
                **error(cells),
                "paper": theirs["top1_error"],
                "top5_paper": theirs["top5_error"],
                "top5_paper_test": theirs["test_top5_error"],
            }
        )
    return pd.DataFrame(rows)


def readable(frame: pd.DataFrame) -> pd.DataFrame:
    """A table of numbers in words: an error with its spread in one column, its seeds in another.

    One seed: its 95% Wilson interval over test images; several: mean ± standard deviation.
    """
    rows = []
    for found in frame.to_dict("records"):
        words: dict[str, str] = {}
        for name, value in found.items():
            if name == "mean":
                words["here (%)"] = _error_words(found)
            elif name == "n":
                words["seeds"] = number_words(value, 0)
            elif name == "paper":
                words["paper (%)"] = number_words(value)
            elif name not in ERROR:
                words[str(name).replace("_", " ")] = number_words(value)
        rows.append(words)
    shown = pd.DataFrame(rows)
    # A column that says nothing of any row says nothing.
    empty = [name for name in shown if set(shown[name]) <= {"-"} and name != "here (%)"]
    return shown.drop(columns=empty)


def _error_words(found: Mapping[Any, Any]) -> str:
    if missing(found["mean"]):
        return str(found.get("note") or "not run")
    if missing(found["sd"]):
        return f"{found['mean']:.1f} [{found['low']:.1f}; {found['high']:.1f}]"
    return f"{found['mean']:.1f} ± {found['sd']:.1f}"


def missing(value: object) -> bool:
    """Whether a cell holds nothing."""
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def number_words(value: object, digits: int | None = None) -> str:
    """A cell in words, a float with one digit after the point unless another count is asked."""
    if missing(value) or value is pd.NA:
        return "-"
    if isinstance(value, float):
        return f"{value:,.{1 if digits is None else digits}f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def summary(comparison: Comparison) -> str:
    """The table of the terminal: every net by the protocols with one test scale."""
    one = [test.title for test in PROTOCOLS.values() if test.scales == "one"]
    frame = protocols(comparison)
    return side_by_side(frame[frame.test.isin(one)]).to_string(index=False) if len(frame) else ""
