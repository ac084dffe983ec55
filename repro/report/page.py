"""The report's page: it answers first, and all that stands behind the answer comes after it."""

import base64
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markdown import Markdown

from repro.paper.numbers import CLASSES
from repro.protocol.protocols import SUMMARISED
from repro.report import charts, claims, deviations, experiments, table11, tables, wording
from repro.report.grid import grid
from repro.report.intervals import VERDICTS
from repro.report.marks import Chart
from repro.report.net import worded
from repro.report.settings import Comparison, Family, recorded
from repro.report.transfer import Transfers
from repro.store.identity import base

SYNTAX = re.compile(r"[\\`*<|]|&(?=#?\w+;)|(?<=\])[(\[]|(?<![^\W_])_|_(?![^\W_])")
"""HTML or Markdown within a line. Brackets are none unless others follow them."""
ENTITIES = {"<": "&lt;", "&": "&amp;"}
FOREIGN = re.compile(r' (?:href|src)="(?!#|https?://|figures/)[^"]*"')
"""A link or a picture that no report writes."""


class Part:
    """All that the report says about one setting, beside `several` others or alone."""

    def __init__(
        self, comparison: Comparison, title: str, judged: pd.DataFrame, anchor: str, several: bool
    ) -> None:
        self.comparison, self.title, self.anchor = comparison, title, anchor
        self.saw = worded(comparison.setting.data)
        self.prefix = f"{self.anchor}-" if several else ""
        """It begins the names of the files of a setting."""
        place = base(comparison.setting.data), comparison.setting.size
        self.has_papers_task = (*place, comparison.classes) == ("imagenet", "paper", CLASSES)
        self.claims = judged
        self.answer = claims.answer(self.claims, comparison)
        drawn = [charts.primary_claims(self.claims), charts.learning_curves(comparison)]
        nets = sorted(n for n in comparison.nets if not n.init)
        question = "Top-1 errors of the nets"
        drawn.append(charts.compared("errors", question, comparison, nets, SUMMARISED))
        self.sections = {}
        for one in experiments.experiments():
            if experiments.is_shown(one, comparison, self.claims):
                self.sections[one] = experiments.table(one, comparison)
                drawn.append(charts.of_experiment(one, comparison))
        found = {n: tables.localisation(n, comparison) for n in (8, 9)}
        self.answer = tables.localised(found[8]) + self.answer
        self.unlocated = {
            n: tables.nothing_localised(n, comparison) for n in found if len(found[n])
        }
        """By Table 8 and 9, where nets locate, why they do not; empty: they do."""
        drawn.append(
            charts.located(comparison, [n for n, why in self.unlocated.items() if not why])
        )
        self.figures = {one.name: one for one in drawn if one is not None}
        self.tables = {
            **{f"table{n}": tables.paper_rows(n, comparison) for n in (3, 4, 5, 6)},
            **{f"experiment-{one.name}": frame for one, frame in self.sections.items()},
            **{f"table{n}": found[n] for n, why in self.unlocated.items() if not why},
            "table1": tables.configurations(),
            "table2": tables.counted(comparison),
            "table7": tables.others(comparison),
            "protocols": tables.protocols(comparison),
            "deviations": deviations.departures(comparison),
            "runs": tables.runs_table(comparison.runs),
            "environment": tables.environment(comparison.runs),
        }


def plain(text: object) -> str:
    """Text as Markdown that shows it as it is: no HTML, no link, no emphasis."""
    return SYNTAX.sub(lambda found: ENTITIES.get(found[0], f"\\{found[0]}"), str(text))


def markdown_table(frame: pd.DataFrame) -> str:
    """A table of words as Markdown; what its cells hold is text."""
    if frame.empty:
        return "*Nothing to show.*"
    rows = [list(map(str, frame.columns)), ["---"] * frame.shape[1]]
    rows += [[plain(cell) for cell in row] for row in frame.itertuples(index=False)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


@lru_cache
def _jinja() -> Environment:
    loader = PackageLoader("repro.report", "templates")
    # It writes Markdown, where what HTML escapes is text.
    jinja = Environment(loader=loader, undefined=StrictUndefined, trim_blocks=True)
    jinja.filters |= {"plain": plain, "cells": markdown_table}
    jinja.filters["table"] = lambda frame: markdown_table(wording.readable(frame))
    jinja.globals |= {"claims": claims, "experiments": experiments, "tables": tables}
    jinja.globals |= {"recorded": recorded, "grid": grid, "wording": wording}
    return jinja


def markdown(
    parts: Sequence[Part],
    families: Sequence[Family],
    unfinished: Sequence[tuple[str, str]],
    left_out: Sequence[str],
    transfers: Sequence[Transfers],
    descriptors: tuple[pd.DataFrame, pd.DataFrame, Sequence[Chart]],
) -> str:
    """`comparison.md`, of settings and families, of runs that are open and what was left out.

    `descriptors` are Table 11, the judged claims on it and its figures, of `transfers`.
    """
    template = _jinja().get_template("comparison.md.j2")
    page = template.render(
        parts=parts,
        families=families,
        unfinished=unfinished,
        asked={part.title: part.claims for part in parts if part.comparison.has_papers_nets},
        # A page on localisation need not list what was not run of other sections.
        only_boxes=not any(len(claims.primary(one.claims)) or not one.unlocated for one in parts),
        judged={name for part in parts for name in part.claims.claim},
        left_out=list(dict.fromkeys(left_out)),
        shown={one for part in parts for one in part.sections},
        table11=table11.shown(descriptors[0]),
        descriptors=descriptors[2],
        on_descriptors=descriptors[1],
        transferred=[run for one in transfers for run in one.runs],
    )
    return re.sub(r"\n{3,}", "\n\n", page) + "\n"


def html(page: str, pictures: Mapping[str, bytes]) -> str:
    """`comparison.html`, one file: the page converted, its figures by their names inside."""
    use, toc = ["tables", "toc", "fenced_code"], {"toc": {"toc_depth": "1-2"}}
    converter = Markdown(extensions=use, extension_configs=toc, output_format="html")
    # The report's Markdown holds no HTML: what looks like it is text.
    converter.preprocessors.deregister("html_block")
    converter.inlinePatterns.deregister("html")
    body = FOREIGN.sub("", converter.convert(page))

    def inline(match: re.Match[str]) -> str:
        return f'src="data:image/png;base64,{base64.b64encode(pictures[match[1]]).decode()}"'

    body = re.sub(r'src="figures/([^"]+\.png)"', inline, body)
    body = re.sub(r"<table>.*?</table>", _framed, body, flags=re.DOTALL)
    heads = [(one["name"], one["children"]) for one in converter.toc_tokens]  # type: ignore[attr-defined]
    cut = [name for name, _ in heads].index("Details")
    # What stands behind the answer is folded.
    first, begin, details = body.partition('<h1 id="details">')
    context = {"body": first, "details": begin + details, "toc": heads[:cut], "more": heads[cut:]}
    return _jinja().get_template("page.html.j2").render(context)


def _framed(table: re.Match[str]) -> str:
    """A table that scrolls where it is too wide; numbers with their intervals stay on one line."""
    cells = re.sub(r"<td([^>]*)>((?:(?!, ).){1,28})</td>", r'<td\1 class="short">\2</td>', table[0])
    # A verdict is told by its colour too.
    for word in (*VERDICTS, claims.OPEN):
        slug = word.replace(" ", "-")
        cells = cells.replace(f'class="short">{word}', f'class="short {slug}">{word}')
    return f'<div class="wide">{cells}</div>'
