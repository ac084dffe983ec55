"""The tables of the report: what was measured beside what was published, cell by cell."""

from __future__ import annotations

import re
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
from repro.report.measured import members, spread
from repro.report.settings import Comparison

OPEN = "not run"


def depth(comparison: Comparison) -> pd.DataFrame:
    """The summary of the nets at one test scale: those trained at S=256, or all where none was."""
    nets, every = comparison.nets, ordered(comparison)
    at_256 = [net for net in every if net == f"{nets[net][0].config.arch.name}-S256"]
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
            "net": net.removesuffix("-S256"),
            "weight layers": built.weight_layers,
            "parameters": f"{cost(built).parameters:,}",
            "validation error (%)": f"{sum(known) / len(known):.1f}" if known else "-",
        }
        row |= {title: cell(comparison, net, test) for test, title in tests.items()}
        if comparison.has_papers_nets:
            theirs = published.error_of(TABLE3, net, "top1_error")
            row["paper, ImageNet, 1000 classes (%)"] = percent(theirs)
        rows.append(row)
    return pd.DataFrame(rows)


def cell(comparison: Comparison, net: str, protocol: str) -> str:
    """The words of a cell: the error of a net, and how many of its runs did not train."""
    cells = comparison.cells(net, protocol)
    runs = comparison.nets.get(comparison.plain(net), [])
    ended = Counter(str(run.result["outcome"]) for run in runs)
    del ended["trained"]
    if not cells:
        return ", ".join(ended) or OPEN
    return ", ".join([str(spread(cells)), *(f"{n} {outcome}" for outcome, n in ended.items())])


def in_order(arch: str) -> tuple[int, str]:
    """The place of a configuration for sorting: as in Table 1, all others after it by name."""
    return (TABLE1.index(arch) if arch in TABLE1 else len(TABLE1), arch)


def ordered(comparison: Comparison) -> list[str]:
    """The nets of a setting, configurations as in Table 1."""
    return sorted(
        comparison.nets,
        key=lambda net: (in_order(comparison.nets[net][0].config.arch.name), net),
    )


def errors(number: int, comparison: Comparison) -> tuple[pd.DataFrame, list[str]]:
    """Table 3, 4 or 5: the paper's rows that were run, in its order.

    Nets that are not the paper's stand in `protocols`.

    Returns:
        The table, and the commands that make the rows which nobody has run.
    """
    paper = published.cells(number)
    rows: list[dict[str, str]] = []
    missing: list[tuple[str, str]] = []
    for theirs in paper:
        net, protocol = theirs["label"], theirs["protocol"]
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


def _commands(missing: Sequence[tuple[str, str]], comparison: Comparison) -> list[str]:
    """The commands that make nets which were not tested by a protocol: (net, protocol) each."""
    nets, tests = (list(dict.fromkeys(pair[side] for pair in missing)) for side in (0, 1))
    return comparison.commands(nets, tests)


def _row(comparison: Comparison, net: str, protocol: str, q: str) -> dict[str, str]:
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
    missing: list[tuple[str, str]] = []
    paper = {(row["protocol"], row["members"]): row for row in published.rows(6)}
    asked = [(one.protocol, one.net) for one in comparison.fused]
    for protocol, ensemble in dict.fromkeys([*paper, *asked]):
        cells = comparison.cells(ensemble, protocol)
        theirs = paper.get((protocol, ensemble), {})
        absent = [net for net in members(ensemble) if not comparison.cells(net, protocol)]
        diverged = [net for net in absent if comparison.diverged(net)]
        for net in absent:
            if net not in diverged:
                missing.append((net, protocol))
        if not cells and not diverged:
            continue
        rows.append(
            {
                "ensemble": theirs.get("system", "asked for"),
                "members": " + ".join(members(ensemble)),
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
            here = cell(comparison, theirs["members"], theirs["protocol"])
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


PARTS = re.compile(r"(?<!\de)-")
"""What parts the words of a net's label; a changed value may hold another one, as in 1e-05."""


def split(net: str) -> tuple[str, str]:
    """A net's label in two parts for tables: what it is, and S as the paper writes it."""
    words, notes = PARTS.split(net), []
    while len(words) > 2 and words[-1] in ("fc", *names("init")):
        notes.append("FC layers tuned" if words[-1] == "fc" else f"init {words[-1]}")
        words.pop()
    return ", ".join(["-".join(words[:-1]), *reversed(notes)]), scale_label(words[-1])


def net_title(net: str) -> str:
    """A net's label for readers, as in `D, FC layers tuned, S=[256; 512]`; a fusion's members."""
    if len(members(net)) > 1:
        return " + ".join(members(net))
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
