"""The tables of the report: what was measured beside what was published, cell by cell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pandas as pd

from repro.analysis.built import TABLE1, as_run
from repro.analysis.deviations import deviations
from repro.analysis.measured import members, spread
from repro.analysis.settings import Comparison
from repro.arch.cost import cost
from repro.config.choices import names
from repro.paper import published
from repro.protocol.protocols import ONE_NUMBER
from repro.store.runs import Run

OPEN = "not run"


def depth(comparison: Comparison) -> pd.DataFrame:
    """The nets in one look, by one test scale: those at S=256, or all where none is."""
    nets, every = comparison.nets, ordered(comparison)
    at_256 = [net for net in every if net == f"{nets[net][0].config.arch.name}-S256"]
    tests = {"centre": "test error, centre crop (%)", "single_scale": "test error, dense (%)"}
    tests = {test: title for test, title in tests.items() if comparison.tested(test)}
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
            theirs = published.error_of("single_scale", net, "top1_error")
            row["paper, ImageNet, 1000 classes (%)"] = percent(theirs)
        rows.append(row)
    return pd.DataFrame(rows)


def cell(comparison: Comparison, net: str, protocol: str) -> str:
    """An error, and which of the net's runs did not train: a mean must not hide them."""
    cells = comparison.cells(net, protocol)
    runs = comparison.nets.get(comparison.plain(net), [])
    ended = Counter(str(run.result["outcome"]) for run in runs)
    del ended["trained"]
    if not cells:
        return ", ".join(ended) or OPEN
    return ", ".join([str(spread(cells)), *(f"{n} {outcome}" for outcome, n in ended.items())])


def in_order(arch: str) -> tuple[int, str]:
    """Sorts configurations as Table 1 does, others after them by name."""
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
        row["top-5 paper (%)"] = percent(theirs["top5_error"])
        rows.append({"method": METHODS[protocol]} | row if number == 5 else row)
    return pd.DataFrame(rows), _commands(missing, comparison)


def _commands(missing: Sequence[tuple[str, str]], comparison: Comparison) -> list[str]:
    """The commands that make nets which were not tested by a protocol: (net, protocol) each."""
    nets, tests = (list(dict.fromkeys(pair[side] for pair in missing)) for side in (0, 1))
    return comparison.commands(nets, tests)


def _row(comparison: Comparison, net: str, protocol: str, q: str) -> dict[str, str]:
    cells = comparison.cells(net, protocol)
    here = cell(comparison, net, protocol)
    arch, s = split(net)
    row = {"net": arch, "S": s, "Q": q, "top-1 here (%)": here}
    if comparison.thousand:
        top5 = [error for one in cells if (error := one.error("top5_error")) is not None]
        row["top-5 here (%)"] = f"{sum(top5) / len(top5):.1f}" if top5 else here
    return row | {"seeds": str(len(cells)) if cells else "-"}


METHODS = {
    "multi_scale": "dense",
    "multi_crop": "multi-crop",
    "multi_crop_dense": "multi-crop & dense",
}


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
                "method": METHODS.get(protocol, protocol.replace("_", " ")),
                "top-1 here (%)": str(spread(cells)) if cells else "a member diverged",
                "seeds": str(len(cells)) if cells else "-",
                "top-1 paper (%)": percent(theirs.get("top1_error")),
                "top-5 paper (%)": percent(theirs.get("top5_error")),
            }
        )
    return pd.DataFrame(rows), _commands(missing, comparison)


def percent(error: float | None) -> str:
    """An error in percent as the paper writes it, or a dash."""
    return "-" if error is None else f"{error:.1f}"


MEASURED_OF_TABLE7 = {
    "VGG, 2 nets, multi-crop & dense": ("D-jitter+E-jitter", "multi_crop_dense"),
    "VGG, 1 net, multi-crop & dense": ("E-jitter", "multi_crop_dense"),
    "VGG, 7 nets (submission), dense": (published.rows(6)[0]["members"], "multi_scale"),
    "Krizhevsky et al., 1 net": ("alexnet-S256", "single_scale"),
}


def others(comparison: Comparison) -> pd.DataFrame:
    """Table 7: other systems as the paper gives them, and which of them were measured here."""
    rows = []
    for theirs in published.rows(7):
        net, protocol = MEASURED_OF_TABLE7.get(theirs["system"], (None, ""))
        here = "published only"
        if net is not None:
            here = cell(comparison, net, protocol)
            here += f" ({protocol.replace('_', ' ')})" if here != OPEN else ""
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


SCALES = {
    "S256": "256",
    "S384": "384",
    "jitter": "[256; 512]",
    "S256_on": "256, trained on",
    "S384_on": "384, trained on",
    "S224": "224",
}


def scale_label(scale: str) -> str:
    """S as the paper writes it."""
    return SCALES.get(scale, scale)


def split(net: str) -> tuple[str, str]:
    """A net's label as (what it is, S as the paper writes it)."""
    words, notes = net.split("-"), []
    while len(words) > 2 and (words[-1] == "fc" or words[-1] in names("init")):
        notes.append("FC layers tuned" if words[-1] == "fc" else f"init {words[-1]}")
        words.pop()
    return ", ".join(["-".join(words[:-1]), *reversed(notes)]), scale_label(words[-1])


def net_title(net: str) -> str:
    """A net's label for readers, as in `D, FC layers tuned, S=[256; 512]`; a fusion's members."""
    if len(members(net)) > 1:
        return " + ".join(members(net))
    arch, scale = split(net)
    return f"{arch}, S={scale}" if scale in SCALES.values() else f"{arch}, {scale}"


def what_ran(runs: Sequence[Run]) -> pd.DataFrame:
    """A row for each run: how it ended, how long it took, where it lies."""
    rows = []
    for run in runs:
        result = run.result
        speed, error = result["images_per_second"], result["validation_error"]
        rows.append(
            {
                "run": run.name,
                "outcome": result["outcome"],
                "epochs": str(result["epochs"]),
                "validation error (%)": "-" if error is None else f"{error:.1f}",
                "time (s)": f"{result['seconds']:.0f}",
                "images/s": "-" if speed is None else f"{speed:.0f}",
            }
        )
    return pd.DataFrame(rows)


def departures(comparison: Comparison) -> pd.DataFrame:
    """What departs from the paper, a row each, with the runs that it holds for."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for run in comparison.runs:
        label = net_title(comparison.label(run))
        for row in deviations(run):
            found.setdefault(row, []).append(label)
    rows = [
        {
            "section": section,
            "here": here,
            "the paper": paper,
            "runs": "all"
            if len(set(labels)) == len(comparison.nets)
            else ", ".join(dict.fromkeys(labels)),
        }
        for (section, here, paper), labels in found.items()
    ]
    return pd.DataFrame(rows)


def protocols(comparison: Comparison) -> pd.DataFrame:
    """Every net by every protocol that it was tested by and that gives one number."""
    names = [
        name for name in ONE_NUMBER if any(one.protocol == name for one in comparison.measured)
    ]
    rows = []
    for net in ordered(comparison):
        arch, scale = split(net)
        row = {"net": arch, "S": scale}
        row |= {f"{name.replace('_', ' ')} (%)": cell(comparison, net, name) for name in names}
        rows.append(row)
    return pd.DataFrame(rows)
