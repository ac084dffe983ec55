"""Tables for the pages, from the committed reports: `make pages` puts them between cog's marks."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from repro.report.claims import change, registered
from repro.report.claims import claims as on_errors
from repro.report.grid import grid
from repro.report.page import markdown_table

REPORTS = Path(__file__).parents[1] / "reports"
STARTS = [one.claim for one in on_errors() if one.family == "init" and one.primary]


def verdicts(**reports: str) -> None:
    """The primary claims against reports, by the heads of their columns: a verdict a cell."""
    _print(grid({head.replace("_", " "): _judged(report) for head, report in reports.items()}))


def claims(report: str, *names: str, **where: str) -> None:
    """Claims in one report: the effect in percent of the right side's error, n, the verdict.

    Of descriptors the effect is in points. `where`: columns of claims.csv and the value of each.
    """
    texts = {one["claim"]: one["text"] for one in registered()}
    judged, rows = _judged(report, **where), []
    for name in names:
        for row in judged[judged.claim == name].to_dict("records"):
            why = f": {row['reason']}" if isinstance(row["reason"], str) else ""
            other = row["verdict_configuration"]
            if isinstance(other, str) and other != row["verdict_nets"] == row["verdict_holm"]:
                why += f" for these nets, {other} for other trainings"
            text = texts[name] + " (ours)" * (row["ours"] in (True, "True"))
            rows.append([text, change(row), row["n_seeds"], row["verdict_holm"] + why])
    _print(pd.DataFrame(rows, columns=["claim", "here", "seeds", "verdict"]))


def errors(report: str, metric: str = "top1_error", **where: str) -> None:
    """The errors (%) of a report's nets: mean, standard deviation and n of seeds.

    Args:
        report: its folder in reports/.
        metric: as in results.csv; of others than top-1 each protocol has rows of its own.
        where: columns of results.csv with the values that count, as in `arch="A,B"`.
    """
    found = pd.read_csv(
        REPORTS / report / "results.csv", dtype={"Q": str, "paper": str, "seed": str}
    )
    found = found[found.metric == metric]
    for column, values in where.items():
        found = found[found[column].isin(values.split(","))]
    keys = ["arch", "scale", "init", "finetune", *["protocol"] * (metric != "top1_error")]
    table = found.groupby(keys).value.agg(["mean", "std", "count"]).reset_index()
    spread = table["std"].map(lambda sd: "-" if pd.isna(sd) else f"{sd:.1f}")
    shown = table[keys].assign(**{"error (%)": table["mean"].map("{:.1f}".format)})
    _print(shown.assign(sd=spread, seeds=table["count"]))


def rows(table: str, columns: str, last: str | None = None, **where: str) -> None:
    """The rows of a committed table as far as `where` says, or the last ones by a column."""
    found = pd.read_csv(REPORTS / table, dtype=str, keep_default_na=False)
    found = found if last is None else found.drop_duplicates(last, keep="last")
    for column, value in where.items():
        found = found[found[column] == value]
    _print(found[columns.split()])


def _judged(report: str, **where: str) -> pd.DataFrame:
    found = pd.read_csv(REPORTS / report / "claims.csv")
    for column, value in where.items():
        found = found[found[column] == value]
    # Of several settings the one with most claims answers; another one answers what is left.
    count = found.groupby(["recipe", "size"]).claim.transform("count")
    order = count.sort_values(ascending=False, kind="stable").index
    return found.loc[order].drop_duplicates("claim")


def _print(table: pd.DataFrame) -> None:
    print(f"\n{markdown_table(table)}")
