"""The tables of the report: what was measured beside what was published, cell by cell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from repro.analysis.built import TABLE1, as_run
from repro.analysis.deviations import deviations
from repro.analysis.measured import Measured, spread
from repro.analysis.settings import command
from repro.paper import published
from repro.spec.cost import cost
from repro.spec.scales import PROTOCOLS
from repro.store.runs import Run

OPEN = "not run"


def depth(runs: Sequence[Run], measured: Sequence[Measured]) -> pd.DataFrame:
    """The comparison in one look: each net at S=256, one test scale."""
    rows = []
    chosen = [run for run in runs if run.config.scale.name == "S256"]
    names = dict.fromkeys(run.config.arch.name for run in chosen)
    for name in sorted(names, key=in_order):
        members = [run for run in chosen if run.config.arch.name == name]
        net = as_run(members[0].config, members[0].result["data"]["classes"])
        paper = published.error("single_scale", name, "S256", "top1_error")
        validation = [run.result["validation_error"] for run in members]
        known = [error for error in validation if error is not None]
        rows.append(
            {
                "net": name,
                "weight layers": net.weight_layers,
                "parameters": f"{cost(net).parameters:,}",
                "validation error (%)": f"{sum(known) / len(known):.1f}" if known else "-",
                "test error, centre crop (%)": _tested(measured, members, "centre"),
                "test error, dense (%)": _tested(measured, members, "single_scale"),
                "paper, ImageNet, 1000 classes (%)": _percent(paper),
            }
        )
    return pd.DataFrame(rows)


def _tested(measured: Sequence[Measured], runs: Sequence[Run], protocol: str) -> str:
    config = runs[0].config
    cells = _cells(measured, config.arch.name, config.scale.name, protocol)
    return _cell(cells, [run for run in runs if run.config.finetune == "all"])


def _cell(cells: Sequence[Measured], runs: Sequence[Run]) -> str:
    """An error, and which of the cell's runs did not train: a mean must not hide them."""
    ended = Counter(str(run.result["outcome"]) for run in runs)
    del ended["trained"]
    if not cells:
        return ", ".join(ended) or OPEN
    return ", ".join([str(spread(cells)), *(f"{n} {outcome}" for outcome, n in ended.items())])


def in_order(name: str) -> tuple[int, str]:
    """Sorts configurations as Table 1 does, others after them by name."""
    return (TABLE1.index(name) if name in TABLE1 else len(TABLE1), name)


def _cells(
    measured: Iterable[Measured], arch: str, scale: str, protocol: str, finetune: str = "all"
) -> list[Measured]:
    return [
        one
        for one in measured
        if (one.run.config.arch.name, one.run.config.scale.name) == (arch, scale)
        and (one.protocol, one.run.config.finetune) == (protocol, finetune)
    ]


def errors(
    number: int, runs: Sequence[Run], measured: Sequence[Measured]
) -> tuple[pd.DataFrame, list[str]]:
    """Table 3, 4 or 5: the paper's rows in its order, then the nets that are ours.

    Returns:
        The table, and the commands that fill the rows which are open.
    """
    paper = published.cells(number)
    thousand = runs[0].result["data"]["classes"] == published.CLASSES
    rows, missing = [], []
    for cell in paper:
        net, scale, protocol = cell["net"], cell["scale"], cell["protocol"]
        row = _row(net, scale, cell["Q"], runs, _cells(measured, net, scale, protocol), thousand)
        if row["top-1 here (%)"] == OPEN:
            missing.append(command(runs[0], arch=net, scale=scale, test=protocol))
        row["top-1 paper (%)"] = f"{cell['top1_error']:.1f}"
        row["top-5 paper (%)"] = f"{cell['top5_error']:.1f}"
        rows.append({"method": METHODS[protocol]} | row if number == 5 else row)
    known = {(cell["net"], cell["scale"]) for cell in paper}
    for protocol in dict.fromkeys(cell["protocol"] for cell in paper if number != 5):
        for net, scale, tune in _ours(measured, protocol, known):
            cells = _cells(measured, net, scale, protocol, tune)
            name = f"{net} (not in this table)" if tune == "all" else f"{net}, FC layers tuned"
            row = _row(name, scale, cells[0].q, runs, cells, thousand)
            rows.append(row | {"top-1 paper (%)": "-", "top-5 paper (%)": "-"})
    return pd.DataFrame(rows), missing


METHODS = {
    "multi_scale": "dense",
    "multi_crop": "multi-crop",
    "multi_crop_dense": "multi-crop & dense",
}


def ensembles(
    runs: Sequence[Run], measured: Sequence[Measured], fused: Sequence[Measured]
) -> tuple[pd.DataFrame, list[str]]:
    """Table 6: the paper's ensembles by their exact members, then those that were asked for.

    Returns:
        The table, and the commands that make the members which are missing.
    """
    rows, missing = [], []
    paper = {(row["protocol"], row["members"]): row for row in published.rows(6)}
    asked = [(one.protocol, one.net) for one in fused]
    for protocol, members in dict.fromkeys([*paper, *asked]):
        cells = [one for one in fused if (one.protocol, one.net) == (protocol, members)]
        theirs = paper.get((protocol, members), {})
        present = {one.net for one in measured if one.protocol == protocol}
        for member in members.split("+"):
            if member not in present:
                arch, scale, *tune = member.rsplit("-", 2 if member.endswith("-fc") else 1)
                line = command(runs[0], arch=arch, scale=scale, test=protocol, finetune=tune)
                missing.append(line)
        rows.append(
            {
                "ensemble": theirs.get("system", "asked for"),
                "members": members.replace("+", " + "),
                "method": METHODS.get(protocol, protocol.replace("_", " ")),
                "top-1 here (%)": str(spread(cells)) if cells else OPEN,
                "seeds": str(len(cells)) if cells else "-",
                "top-1 paper (%)": _percent(theirs.get("top1_error")),
                "top-5 paper (%)": _percent(theirs.get("top5_error")),
            }
        )
    return pd.DataFrame(rows), missing


def _percent(error: float | None) -> str:
    return "-" if error is None else f"{error:.1f}"


def others() -> pd.DataFrame:
    """Table 7: other systems as the paper gives them; nothing in it was measured here."""
    rows = [
        {
            "system": row["system"],
            "top-1 val. (%)": _percent(row["top1_error"]),
            "top-5 val. (%)": _percent(row["top5_error"]),
            "top-5 test (%)": _percent(row["test_top5_error"]),
        }
        for row in published.rows(7)
    ]
    return pd.DataFrame(rows)


def _ours(
    measured: Iterable[Measured], protocol: str, known: set[tuple[str, str]]
) -> list[tuple[str, str, str]]:
    found = {
        (one.run.config.arch.name, one.run.config.scale.name, one.run.config.finetune)
        for one in measured
        if one.protocol == protocol
    }
    return sorted(row for row in found if row[:2] not in known or row[2] != "all")


def _row(
    net: str, scale: str, q: str, runs: Sequence[Run], cells: list[Measured], thousand: bool
) -> dict[str, str]:
    shown = [cells[0].run.config.arch.name, scale, cells[0].run.config.finetune] if cells else None
    members = [
        run
        for run in runs
        if [run.config.arch.name, run.config.scale.name, run.config.finetune]
        == (shown or [net, scale, "all"])
    ]
    here = _cell(cells, members)
    row = {"net": net, "S": scale_label(scale), "Q": q, "top-1 here (%)": here}
    if thousand:
        top5 = [error for cell in cells if (error := cell.error("top5_error")) is not None]
        row["top-5 here (%)"] = f"{sum(top5) / len(top5):.1f}" if top5 else here
    return row | {"seeds": str(len(cells)) if cells else "-"}


def scale_label(scale: str) -> str:
    """S as the paper writes it."""
    names = {"S256": "256", "S384": "384", "jitter": "[256; 512]"}
    return names.get(scale, scale)


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


def departures(runs: Sequence[Run]) -> pd.DataFrame:
    """What departs from the paper, a row each, with the runs that it holds for."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for run in runs:
        label = f"{run.config.arch.name} at S={scale_label(run.config.scale.name)}"
        for row in deviations(run):
            found.setdefault(row, []).append(label)
    every = len({f"{run.config.arch.name} {run.config.scale.name}" for run in runs})
    rows = [
        {
            "section": section,
            "here": here,
            "the paper": paper,
            "runs": "all" if len(set(labels)) == every else ", ".join(dict.fromkeys(labels)),
        }
        for (section, here, paper), labels in found.items()
    ]
    return pd.DataFrame(rows)


def protocols(measured: Sequence[Measured]) -> pd.DataFrame:
    """Every net by every protocol that it was tested by."""
    names = [name for name in PROTOCOLS if any(one.protocol == name for one in measured)]
    nets = dict.fromkeys(
        (one.run.config.arch.name, one.run.config.scale.name, one.run.config.finetune)
        for one in measured
    )
    rows = []
    for arch, scale, tune in sorted(nets, key=lambda net: (in_order(net[0]), *net[1:])):
        row = {"net": arch if tune == "all" else f"{arch}, FC layers tuned"}
        row["S"] = scale_label(scale)
        for name in names:
            cells = _cells(measured, arch, scale, name, tune)
            row[f"{name.replace('_', ' ')} (%)"] = str(spread(cells)) if cells else OPEN
        rows.append(row)
    return pd.DataFrame(rows)


def _points(difference: Any) -> str:
    return "-" if pd.isna(difference) else f"{difference:+.1f}"


def claims(judged: pd.DataFrame, sentences: dict[str, str]) -> pd.DataFrame:
    """The claims for readers: sides, both differences in points, interval, n, verdict.

    Args:
        judged: a row for each claim, as in `claims.csv`.
        sentences: what each claim says, by its name.
    """
    rows = [
        {
            "section": row.section,
            "claim": sentences[str(row.claim)],
            "left - right": f"{row.left} - {row.right}",
            "paper (points)": "-"
            if pd.isna(row.paper_difference)
            else f"{row.paper_difference:+.1f}",
            "here (points)": f"{row.difference:+.1f} [{row.ci_low:+.1f}; {row.ci_high:+.1f}]",
            "images, seeds": f"{row.n_images:,}, {row.n_seeds}",
            "verdict": row.verdict,
            "with Holm": row.verdict_holm,
        }
        for row in judged.itertuples()
    ]
    return pd.DataFrame(rows)
