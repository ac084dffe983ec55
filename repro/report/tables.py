"""The tables of the report: frames of numbers, as the CSVs have them.

An error in percent is `mean`, `sd`, `n` (seeds), `low`, `high` (its 95% interval), `paper`.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pandas as pd

from repro.config.choices import choice
from repro.config.schema import Arch
from repro.model import layers, reading
from repro.model.cost import cost
from repro.paper import numbers
from repro.protocol.protocols import BEST_FIRST, LOCALISING, ONE_NUMBER, PROTOCOLS
from repro.report.measured import Measured, spread
from repro.report.net import TABLE1, NetOrEnsemble, built, label, members, named, s_words
from repro.report.obstacles import unlocated
from repro.report.settings import Comparison, Family
from repro.store.runs import Run

TOP5 = 5
STEPS = (("A", "B"), ("B", "D"), ("D", "E"))
"""Neighbours in depth among the nets that others trained, the shallower first (Section 4.1)."""
ENDED = {
    **{"epochs": "epochs", "training error (%)": "train_error"},
    **{"validation error (%)": "validation_error", "time (s)": "seconds"},
    "images/s": "images_per_second",
}
MACHINE = {
    "machine": ("machine", "cpu", "device"),
    "cores, threads, workers": ("cores", "threads", "workers"),
    "Python, torch, torchvision, numpy": ("python", "torch", "torchvision", "numpy"),
    "commit": ("git_commit",),
    "finished": ("finished",),
}


def _error(cells: Sequence[Measured]) -> dict[str, Any]:
    if not cells:
        return dict.fromkeys(("mean", "sd", "n", "low", "high"))
    found = spread(cells)
    return {key: value and round(value, 4) for key, value in found.items()}


def row(
    comparison: Comparison, net: NetOrEnsemble, test: str, q: str | None = None
) -> dict[str, Any]:
    """One net by one protocol: which, its error, the paper's, and what became of its runs."""
    cells = comparison.cells(net, test, q)
    ended = Counter(str(run.result["outcome"]) for run in comparison.runs_of(net))
    del ended["trained"]
    if isinstance(net, tuple):
        which = {"net": " + ".join(map(str, net)), "S": ""}
        note = "a member diverged" if ended["diverged"] else ""
    else:
        which = {"net": net.arch_title, "S": net.scale_title}
        note = ", ".join(f"{count} {word}" for word, count in ended.items())
    scales = cells[0].q.replace("+", " + ") if cells else q or ""
    which |= {"test": PROTOCOLS[test].title, "Q": scales}
    paper = numbers.error_of(test, label(net), PROTOCOLS[test].metric)
    return {**which, **_error(cells), "paper": paper, "note": note}


def paper_rows(number: int, comparison: Comparison) -> pd.DataFrame:
    """Table 3, 4, 5 or 6: the paper's rows that were run, in its order, then asked ensembles."""
    asked = {(named(cell["label"]), cell["protocol"]): cell for cell in numbers.cells(number)}
    if number == 6:
        for one in comparison.fused:
            asked.setdefault((one.net, one.protocol), {})
    rows: list[dict[str, Any]] = []
    for (net, test), theirs in asked.items():
        found, cells = row(comparison, net, test), comparison.cells(net, test)
        ends = [{run.result["outcome"] for run in comparison.runs_of(one)} for one in members(net)]
        if not cells and {"diverged"} not in ends:
            continue
        found["Q"] = theirs.get("Q") or found["Q"]
        found["test"] = PROTOCOLS[test].method if number > 4 else found["test"]
        if number == 6:
            found = {"ensemble": theirs.get("system", "asked for")} | found
            found.pop("S")
        if comparison.classes == numbers.CLASSES:
            top5 = [value for one in cells if (value := one.error("top5_error")) is not None]
            found["top5"] = round(sum(top5) / len(top5), 4) if top5 else None
            found["top5_paper"] = theirs.get("top5_error")
        rows.append(found)
    return pd.DataFrame(rows)


def localisation(number: int, comparison: Comparison) -> pd.DataFrame:
    """Table 8 (centre crop) or 9 (dense boxes, merged): the best constant boxes, then every net."""
    measured = comparison.located(number)
    constants = comparison.constants if measured else []
    shown = [*((one.net, one.protocol) for one in constants), *measured]
    rows = [row(comparison, *one) for one in shown]
    if number == 9:
        rows = [own | _top5(comparison, *one) for own, one in zip(rows, shown, strict=True)]
    for own, one in zip(rows, constants, strict=False):
        # Of no net and no seed.
        own |= {"net": PROTOCOLS[one.protocol].legend, "S": "", "test": "", "Q": "", "note": ""}
        own |= _error([one]) | {"n": None}
    return pd.DataFrame(rows)


def localised(table8: pd.DataFrame) -> str:
    """A sentence on Table 8: the lowest box error beside those of the best constant boxes."""
    if table8.empty:
        return ""
    constants, tested = table8[table8.n.isna()], table8[table8.n.notna()]
    best = tested.sort_values("mean").iloc[0]
    beside = [f", that of the {one.net} {one.mean:.1f}%" for one in constants.itertuples()]
    return (
        f"Localisation, the class given: the lowest box error of {len(tested)} nets is "
        f"{best['mean']:.1f}% ({best['net']}){''.join(beside)}. "
    )


def nothing_localised(number: int, comparison: Comparison) -> str:
    """The sentence that stands for Table 8 or 9 where no net beats the best constant box."""
    measured = {test for _, test in comparison.located(number)}
    tested = [test for test in LOCALISING[number] if test in measured]
    said = [unlocated(comparison.locating, test, comparison) for test in tested]
    return said[0] if said and all(said) else ""


def _top5(comparison: Comparison, net: NetOrEnsemble, test: str) -> dict[str, Any]:
    """The top-5 localisation error (Table 9), by which classification, and the paper's."""
    own = tuple(one.classifier for one in members(net))
    classifier = own if isinstance(net, tuple) else own[0]
    paper = numbers.error_of(test, label(net), "top5_box_error")
    for by in BEST_FIRST:
        ranks = {one.seed: one.ranks for one in comparison.cells(classifier, by)}
        both = [(one, ranks[one.seed]) for one in comparison.cells(net, test) if one.seed in ranks]
        if both and both[0][1].classes > TOP5:
            errors = [100 * float((one.wrong | known.wrong(TOP5)).mean()) for one, known in both]
            found = {"top5": round(sum(errors) / len(errors), 4), "classes_by": PROTOCOLS[by].title}
            return found | {"top5_paper": paper}
    return {"top5": None, "classes_by": "", "top5_paper": paper}


def protocols(comparison: Comparison) -> pd.DataFrame:
    """Every net by every protocol that it was tested by and that gives one number, a row each."""
    every = ((net, test) for net in sorted(comparison.nets) for test in ONE_NUMBER)
    return pd.DataFrame(
        [row(comparison, net, test) for net, test in every if comparison.cells(net, test)]
    )


def configurations() -> pd.DataFrame:
    """Table 1 as built from `conf/arch/`: a column for each net."""
    index = ["weight layers", *(f"block {n}" for n in range(1, 6)), *(f"FC {n}" for n in (1, 2, 3))]
    columns = {"layers": index}
    for name in TABLE1:
        arch = Arch(**choice("arch", name))
        blocks = [
            [w if n == 1 else f"{w} x{n}" for w, n in Counter(b).items()] for b in arch.blocks
        ]
        columns[name] = [str(_full(name).weight_layers), *map(", ".join, blocks), *arch.fc]
    return pd.DataFrame(columns)


def _full(arch: str) -> layers.Spec:
    return reading.spec_of(Arch(**choice("arch", arch)), channels=3, classes=numbers.CLASSES)


def counted(comparison: Comparison) -> pd.DataFrame:
    """Table 2: the parameters of each net, counted at the paper's size and at that of the runs."""
    config, rows = comparison.config, []
    for paper in numbers.rows(2):
        full = cost(_full(paper["net"]))
        arch = Arch(**choice("arch", paper["net"]))
        here = cost(built(config, comparison.classes, arch))
        rows.append(
            {
                "net": paper["net"],
                "parameters at full size": full.parameters,
                "paper (millions)": paper["millions"],
                "GFLOPs an image at full size": round(full.flops / 1e9, 1),
                f"parameters at size {config.size.name}": here.parameters,
                "MFLOPs an image": round(here.flops / 1e6, 1),
            }
        )
    return pd.DataFrame(rows).astype({"paper (millions)": "Int64"})


def others(comparison: Comparison) -> pd.DataFrame:
    """Table 7: other systems as the paper gives them, and which of them were measured here."""
    rows = []
    for theirs in numbers.rows(7):
        own, test = theirs["members"], theirs["protocol"]
        cells = comparison.cells(named(own), test) if own else []
        said = PROTOCOLS[test].title if own else "published only"
        paper = {"paper": theirs["top1_error"], "top5_paper": theirs["top5_error"]}
        paper["top5_paper_test"] = theirs["test_top5_error"]
        rows.append({"system": theirs["system"], "test": said, **_error(cells), **paper})
    return pd.DataFrame(rows)


def replications() -> pd.DataFrame:
    """A row for each net of others, its errors in percent, beside Table 3's of the same S."""
    papers = {(row["net"], row["scale"]): row["top1_error"] for row in numbers.rows(3)}
    every = numbers.replications()
    rows = [row | {"paper": papers.get((row["net"], row["scale"]))} for row in every]
    frame = pd.DataFrame(rows).round(2)
    columns = [*frame.columns.drop(["scale", "source", "paper"]), "paper", "source"]
    return frame[columns]


def depth_gains() -> pd.DataFrame:
    """By how many points each step in depth lowers the top-1 error: by whose nets, a row each."""
    rows = []
    for theirs in (one for one in numbers.rows(3) if one["scale"] in ("S256", "jitter")):
        whose = f"the paper, Table 3, {s_words(theirs['scale'])}, dense"
        rows.append((whose, theirs["net"], theirs["top1_error"]))
    for theirs in numbers.replications():
        net, whose = theirs["net"].removesuffix("-BN"), theirs["weights"]
        whose += "" if theirs["framework"] in whose else f", by {theirs['framework']}"
        whose += "" if net == theirs["net"] else ", with batch normalisation"
        rows.append((f"{whose}, centre crop", net, theirs["top1_error"]))
    frame = pd.DataFrame(rows, columns=["nets", "net", "error"])
    errors = frame.pivot(index="nets", columns="net", values="error").loc[frame.nets.unique()]
    steps = {f"{left} to {right}": errors[left] - errors[right] for left, right in STEPS}
    return pd.DataFrame(steps).round(2).dropna(how="all").reset_index()


def runs_table(runs: Sequence[Run]) -> pd.DataFrame:
    """A row for each run: how it ended, how long it took."""
    rows = []
    for run in runs:
        found = {title: run.result.get(key) for title, key in ENDED.items()}
        shown = {k: round(v, 1) if isinstance(v, float) else v for k, v in found.items()}
        rows.append({"run": run.name, "outcome": run.result["outcome"], **shown})
    return pd.DataFrame(rows)


def environment(runs: Sequence[Run]) -> pd.DataFrame:
    """Machine, versions and commit of the runs; where they differ, all that occurred."""
    rows = []
    for what, keys in MACHINE.items():
        found = set()
        for noted in (run.result["environment"] for run in runs):
            parts = ["-" if noted.get(key) is None else str(noted[key]) for key in keys]
            parts += ["changed"] * (what == "commit" and bool(noted["git_dirty"]))
            found.add(", ".join(parts))
        shown = sorted(found)
        text = " / ".join(shown) if len(shown) < 4 else f"{shown[0]} to {shown[-1]}"
        rows.append({"what": what, "value": text})
    return pd.DataFrame(rows)


def published(families: Sequence[Family]) -> pd.DataFrame:
    """Every number of the nets that others trained beside the paper's of the same cell."""
    rows = []
    every = (one for family in families for one in (*family.measured, *family.fused))
    for one in (one for one in every if PROTOCOLS[one.protocol].one_number):
        nets, top5 = members(one.net), one.error("top5_error")
        row: dict[str, Any] = {"data": one.run.config.data.name}
        files = [run.published or {} for run in one.runs]
        weights = "+".join(f"{file.get('format')} {file.get('sha256')!s:.8}" for file in files)
        row |= {"net": " + ".join(net.arch_title for net in nets), "weights": weights}
        row |= {"S": " + ".join(dict.fromkeys(net.scale_title for net in nets))}
        row |= {"test": PROTOCOLS[one.protocol].title, "Q": one.q, **_error([one])}
        row |= {"paper": one.paper("top1_error"), "top5": top5 and round(top5, 4)}
        rows.append(row | {"top5_paper": one.paper("top5_error")})
    return pd.DataFrame(rows)
