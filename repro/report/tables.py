"""The tables of the report: what was measured beside what was published, cell by cell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import pandas as pd

from repro.config.choices import choice, names
from repro.model.cost import cost
from repro.paper import numbers as published
from repro.protocol.protocols import ONE_NUMBER, PROTOCOLS, TABLE3, summarised
from repro.report.built import TABLE1, as_run
from repro.report.measured import spread
from repro.report.net import Net, Nets, ensemble, members, named
from repro.report.settings import Comparison

OPEN = "not run"


def depth(comparison: Comparison) -> pd.DataFrame:
    """The summary of the nets at one test scale: those trained at S=256, or all where none was."""
    nets, every = comparison.nets, ordered(comparison)
    at_256 = [net for net in every if net == Net(net.arch, "S256")]
    tests = {
        one.name: f"test error, {one.method} (%)"
        for one in summarised()
        if one.scales == "one" and comparison.tested(one.name)
    }
    rows = []
    for net in at_256 or every:
        built = as_run(nets[net][0].config, comparison.classes)
        validation = [run.result["validation_error"] for run in nets[net]]
        known = [error for error in validation if error is not None]
        row = {
            "net": str(net).removesuffix("-S256"),
            "weight layers": built.weight_layers,
            "parameters": f"{cost(built).parameters:,}",
            "validation error (%)": f"{sum(known) / len(known):.1f}" if known else "-",
        }
        row |= {title: cell(comparison, net, test) for test, title in tests.items()}
        if comparison.has_papers_nets:
            theirs = published.error_of(TABLE3, str(net), "top1_error")
            row["paper, ImageNet, 1000 classes (%)"] = percent(theirs)
        rows.append(row)
    return pd.DataFrame(rows)


def cell(comparison: Comparison, net: Nets, protocol: str) -> str:
    """The words of a cell: the error of a net, and how many of its runs did not train."""
    cells = comparison.cells(net, protocol)
    runs = [] if isinstance(net, tuple) else comparison.nets.get(comparison.plain(net), [])
    ended = Counter(str(run.result["outcome"]) for run in runs)
    del ended["trained"]
    if not cells:
        return ", ".join(ended) or OPEN
    return ", ".join([str(spread(cells)), *(f"{n} {outcome}" for outcome, n in ended.items())])


def in_order(arch: str) -> tuple[int, str]:
    """The place of a configuration for sorting: as in Table 1, all others after it by name."""
    return (TABLE1.index(arch) if arch in TABLE1 else len(TABLE1), arch)


def ordered(comparison: Comparison) -> list[Net]:
    """The nets of a setting, configurations as in Table 1."""
    return sorted(comparison.nets, key=lambda net: (in_order(net.arch), net))


def errors(number: int, comparison: Comparison) -> tuple[pd.DataFrame, list[str]]:
    """Table 3, 4 or 5: the paper's rows that were run, in its order.

    Nets that are not the paper's stand in `protocols`.

    Returns:
        The table, and the commands that make the rows which nobody has run.
    """
    paper = published.cells(number)
    rows: list[dict[str, str]] = []
    missing: list[tuple[Net, str]] = []
    for theirs in paper:
        net, protocol = Net(theirs["net"], theirs["scale"]), theirs["protocol"]
        row = _row(comparison, net, protocol, theirs["Q"])
        if row["top-1 here (%)"] == OPEN:
            missing.append((net, protocol))
            continue
        row["top-1 paper (%)"] = percent(theirs["top1_error"])
        row |= _top5_of_paper(theirs, comparison)
        rows.append({"method": PROTOCOLS[protocol].method} | row if number == 5 else row)
    return pd.DataFrame(rows), _commands(missing, comparison)


def _top5_of_paper(theirs: Mapping[str, Any], comparison: Comparison) -> dict[str, str]:
    """The paper's top-5 error, where it stands beside one of as many classes."""
    if not comparison.has_1000_classes:
        return {}
    return {"top-5 paper (%)": percent(theirs.get("top5_error"))}


def _commands(missing: Sequence[tuple[Net, str]], comparison: Comparison) -> list[str]:
    """The commands that make nets which were not tested by a protocol: (net, protocol) each."""
    nets = dict.fromkeys(net for net, _ in missing)
    return comparison.commands(list(nets), list(dict.fromkeys(test for _, test in missing)))


def _row(comparison: Comparison, net: Net, protocol: str, q: str) -> dict[str, str]:
    cells = comparison.cells(net, protocol)
    here = cell(comparison, net, protocol)
    arch, s = split(net)
    row = {"net": arch, "S": s, "Q": q, "top-1 here (%)": here}
    if comparison.has_1000_classes:
        top5 = [error for one in cells if (error := one.error("top5_error")) is not None]
        row["top-5 here (%)"] = f"{sum(top5) / len(top5):.1f}" if top5 else here
    return row | {"seeds": str(len(cells)) if cells else "-"}


def ensembles(comparison: Comparison) -> tuple[pd.DataFrame, list[str]]:
    """Table 6: the paper's ensembles by their exact members, then those that were asked for.

    Returns:
        The table, and the commands that make the members which nobody has run.
    """
    rows: list[dict[str, str]] = []
    missing: list[tuple[Net, str]] = []
    paper = {(row["protocol"], ensemble(row["members"])): row for row in published.rows(6)}
    asked = [(one.protocol, members(one.net)) for one in comparison.fused]
    for protocol, nets in dict.fromkeys([*paper, *asked]):
        cells = comparison.cells(nets, protocol)
        theirs = paper.get((protocol, nets), {})
        absent = [net for net in nets if not comparison.cells(net, protocol)]
        diverged = [net for net in absent if comparison.diverged(net)]
        for net in absent:
            if net not in diverged:
                missing.append((net, protocol))
        if not cells and not diverged:
            continue
        rows.append(
            {
                "ensemble": theirs.get("system", "asked for"),
                "members": " + ".join(map(str, nets)),
                "method": _method(protocol),
                "top-1 here (%)": str(spread(cells)) if cells else "a member diverged",
                "seeds": str(len(cells)) if cells else "-",
                "top-1 paper (%)": percent(theirs.get("top1_error")),
            }
            | _top5_of_paper(theirs, comparison)
        )
    return pd.DataFrame(rows), _commands(missing, comparison)


def _method(protocol: str) -> str:
    """As Table 6 names it; a protocol that averages no test scales by its own name."""
    asked = PROTOCOLS[protocol]
    return asked.method if asked.scales == "several" else asked.legend


def percent(error: float | None) -> str:
    """An error in percent as the paper writes it, or a dash."""
    return "-" if error is None else f"{error:.1f}"


def others(comparison: Comparison) -> pd.DataFrame:
    """Table 7: other systems as the paper gives them, and which of them were measured here."""
    rows = []
    for theirs in published.rows(7):
        here = "published only"
        if theirs["members"] is not None:
            here = cell(comparison, named(theirs["members"]), theirs["protocol"])
            here += f" ({PROTOCOLS[theirs['protocol']].title})" if here != OPEN else ""
        rows.append(
            {
                "system": theirs["system"],
                "top-1 here (%)": here,
                "top-1 val. (%)": percent(theirs["top1_error"]),
                "top-5 val. (%)": percent(theirs["top5_error"]),
                "top-5 test (%)": percent(theirs["test_top5_error"]),
            }
        )
    return pd.DataFrame(rows)


def scale_label(scale: str) -> str:
    """S as the paper writes it; a scale that is no file of `conf/scale/` by its name."""
    return _scale_labels().get(scale, scale)


@lru_cache
def _scale_labels() -> dict[str, str]:
    files = {name: choice("scale", name) for name in names("scale")}
    found = {}
    for name, own in files.items():
        ends = own["smin"], own["smax"]
        found[name] = str(ends[0]) if ends[0] == ends[1] else f"[{ends[0]}; {ends[1]}]"
        before = files.get(str(own.get("parent")))
        if before is not None and ends == (before["smin"], before["smax"]):
            found[name] += ", trained on"
    return found


def split(net: Net) -> tuple[str, str]:
    """A net in two parts for tables: what it is, and S as the paper writes it."""
    notes = [] if net.finetune == "all" else ["FC layers tuned"]
    notes += [] if net.init is None else [f"init {net.init}"]
    return ", ".join([net.arch, *notes]), scale_label(net.scale)


def net_title(net: Nets) -> str:
    """A net for readers, as in `D, FC layers tuned, S=[256; 512]`; a fusion's members."""
    if isinstance(net, tuple):
        return " + ".join(map(str, net))
    arch, scale = split(net)
    return f"{arch}, S={scale}" if scale in _scale_labels().values() else f"{arch}, {scale}"


def protocols(comparison: Comparison) -> pd.DataFrame:
    """Every net by every protocol that it was tested by and that gives one number."""
    names = [
        name for name in ONE_NUMBER if any(one.protocol == name for one in comparison.measured)
    ]
    rows = []
    for net in ordered(comparison):
        arch, scale = split(net)
        row = {"net": arch, "S": scale}
        row |= {f"{PROTOCOLS[name].title} (%)": cell(comparison, net, name) for name in names}
        rows.append(row)
    return pd.DataFrame(rows)
