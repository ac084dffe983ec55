"""The tables of the report: numbers as they are measured, and the same as a reader's text.

A frame holds numbers: an error in percent has the columns `mean`, `sd`, `n` (seeds), `low`, `high`
(its 95% interval) and `paper`. The CSV is that frame; `readable` words it for pages and LaTeX.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from repro.model.cost import cost
from repro.paper import numbers
from repro.protocol.protocols import ONE_NUMBER, PROTOCOLS, TABLE3
from repro.report.built import TABLE1, as_run
from repro.report.measured import Measured, spread
from repro.report.net import Net, Nets, label, members, named
from repro.report.settings import Comparison
from repro.report.titles import arch_title, scale_title

ERROR = ("mean", "sd", "n", "low", "high")
STEPS = (("A", "B"), ("B", "D"), ("D", "E"))
"""Neighbours in depth among the nets that others trained, the shallower first (Section 4.1)."""


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


def _outcomes(comparison: Comparison, nets: Nets) -> str:
    """How many runs of a net did not train, as in `1 diverged`; empty: all did."""
    ended = Counter(str(run.result["outcome"]) for run in comparison.runs_of(nets))
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


def _named_columns(nets: Nets) -> dict[str, str]:
    of = members(nets)
    if len(of) > 1:
        return {"net": " + ".join(map(str, of)), "S": ""}
    return {"net": arch_title(of[0]), "S": scale_title(of[0].scale)}


def row(comparison: Comparison, nets: Nets, test: str, q: str | None = None) -> dict[str, Any]:
    """One net by one protocol: which, its error, the paper's, and what became of its runs."""
    cells = comparison.cells(nets, test, q)
    return {
        **_named_columns(nets),
        "test": PROTOCOLS[test].title,
        "Q": cells[0].q if cells else q or "",
        **error(cells),
        "paper": numbers.error_of(test, label(nets), "top1_error"),
        "note": _outcomes(comparison, nets),
    }


def paper_rows(number: int, comparison: Comparison) -> tuple[pd.DataFrame, list[str]]:
    """Table 3, 4, 5 or 6 and the commands that make those of its rows which nobody has run.

    The paper's rows that were run stand in its order; ensembles that were asked for follow.
    """
    rows: list[dict[str, Any]] = []
    wanted: dict[Net, str] = {}
    tests: dict[str, None] = {}
    for theirs in _asked(number, comparison):
        nets, test = theirs["nets"], theirs["protocol"]
        found, cells = row(comparison, nets, test), comparison.cells(nets, test)
        absent = [one for one in members(nets) if not comparison.cells(one, test)]
        lost = any(map(comparison.diverged, absent))
        for one in absent:
            if not comparison.diverged(one):
                wanted[one], tests[test] = test, None
        if not cells and not lost:
            continue
        found["Q"] = theirs.get("Q") or found["Q"]
        found["test"] = PROTOCOLS[test].method if number > 4 else found["test"]
        if number == 6:
            found = {"ensemble": theirs.get("system", "asked for")} | found
            found.pop("S")
        if comparison.has_1000_classes:
            top5 = [value for one in cells if (value := one.error("top5_error")) is not None]
            found["top5"] = round(sum(top5) / len(top5), 4) if top5 else None
            found["top5_paper"] = theirs.get("top5_error")
        rows.append(found)
    return pd.DataFrame(rows), comparison.commands(list(wanted), list(tests))


def _asked(number: int, comparison: Comparison) -> Iterable[dict[str, Any]]:
    cells = [theirs | {"nets": named(theirs["label"])} for theirs in numbers.cells(number)]
    if number != 6:
        return cells
    paper = {(cell["protocol"], cell["nets"]): cell for cell in cells}
    asked = [(one.protocol, one.net) for one in comparison.fused]
    return [
        paper.get(key, {}) | {"protocol": key[0], "nets": key[1]}
        for key in dict.fromkeys([*paper, *asked])
    ]


def protocols(comparison: Comparison) -> pd.DataFrame:
    """Every net by every protocol that it was tested by and that gives one number, a row each."""
    rows = [
        row(comparison, net, test)
        for net in ordered(comparison)
        for test in ONE_NUMBER
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
                **_named_columns(net),
                "weight layers": built.weight_layers,
                "parameters": cost(built).parameters,
                "epochs": runs[0].config.epochs,
                "validation_error": round(sum(known) / len(known), 4) if known else None,
                "runs": len(runs),
                "note": _outcomes(comparison, net),
            }
        )
    return pd.DataFrame(rows)


def side_by_side(frame: pd.DataFrame) -> pd.DataFrame:
    """The table of `protocols` for readers: a row for each net, a column for each protocol."""
    rows = []
    for (net, scale), part in frame.groupby(["net", "S"], sort=False) if len(frame) else ():
        words = {f"{r['test']} (%)": _error_words(r) for r in part.to_dict("records")}
        span = " to ".join(map(str, dict.fromkeys((part.n.min(), part.n.max()))))
        rows.append({"net": net, "S": scale, **words, "seeds": span})
    columns = list(dict.fromkeys(name for one in rows for name in one if name != "seeds"))
    return pd.DataFrame(rows, columns=[*columns, "seeds"]).fillna("-") if rows else frame


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


def replications() -> pd.DataFrame:
    """A row for each net of others, its errors in percent, beside Table 3's at S=256."""
    columns = ("net", "weights", "framework", "protocol", "top1_error", "top5_error")
    rows = [
        {
            **{key: theirs[key] for key in columns},
            "paper": numbers.error_of(TABLE3, f"{theirs['net']}-S256", "top1_error"),
            "source": theirs["source"],
        }
        for theirs in numbers.replications()
    ]
    return pd.DataFrame(rows).round({"top1_error": 2, "top5_error": 2})


def depth_gains() -> pd.DataFrame:
    """By how much each step in depth lowers the top-1 error, by whose nets and in the paper.

    A row for each step that somebody's nets have both ends of: `points`, and `relative` in percent
    of the shallower net's error; negative where the deeper net's error is higher.
    """
    nets: dict[str, dict[str, float]] = {}
    for scale, title in (("S256", "S=256"), ("jitter", "S=[256; 512]")):
        for theirs in (one for one in numbers.rows(3) if one["scale"] == scale):
            whose = f"the paper, Table 3, {title}, dense"
            nets.setdefault(whose, {})[theirs["net"]] = theirs["top1_error"]
    for theirs in numbers.replications():
        net, whose = theirs["net"].removesuffix("-BN"), theirs["weights"]
        whose += "" if theirs["framework"] in whose else f", by {theirs['framework']}"
        whose += "" if net == theirs["net"] else ", with batch normalisation"
        nets.setdefault(f"{whose}, centre crop", {})[net] = theirs["top1_error"]
    rows = []
    for whose, errors in nets.items():
        for left, right in STEPS:
            if left in errors and right in errors:
                points = errors[left] - errors[right]
                gain = {"points": round(points, 2)}
                gain["relative"] = round(100 * points / errors[left], 1)
                rows.append({"nets": whose, "step": f"{left} to {right}"} | gain)
    return pd.DataFrame(rows)


def shown_gains(gains: pd.DataFrame) -> pd.DataFrame:
    """The gains for readers, a column for each step, as in `0.9 (3.0%)`."""
    words = [f"{row.points:g} ({row.relative:g}%)" for row in gains.itertuples()]
    table = gains.assign(words=words).pivot(index="nets", columns="step", values="words")
    return table.reindex(gains.nets.unique()).fillna("-").rename_axis(None, axis=1).reset_index()


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
                words["seeds"] = _number_words(value, 0)
            elif name == "paper":
                words["paper (%)"] = _number_words(value)
            elif name not in ERROR:
                words[str(name).replace("_", " ")] = _number_words(value)
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
    return value is pd.NA or value is None or value == "" or value != value


def _number_words(value: object, digits: int = 1) -> str:
    """A cell in words, a float with so many digits after the point."""
    if missing(value):
        return "-"
    if isinstance(value, float):
        return f"{value:,.{digits}f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def summary(comparison: Comparison) -> str:
    """The table of the terminal: every net by the protocols with one test scale."""
    one = [test.title for test in PROTOCOLS.values() if test.scales == "one"]
    frame = protocols(comparison)
    return side_by_side(frame[frame.test.isin(one)]).to_string(index=False) if len(frame) else ""
