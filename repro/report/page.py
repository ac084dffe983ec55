"""The report: a page that answers first, and an appendix with all that stands behind it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markdown.extensions.toc import slugify

from repro.report import answer, built, preprocessing, published_nets, ran, tables
from repro.report.ablations import figures_of
from repro.report.claims import claims, judge
from repro.report.deviations import not_covered, open_choices
from repro.report.drawing import Drawn
from repro.report.experiments import (
    Experiment,
    claim_table,
    commands_of,
    experiments,
    is_shown,
    sentence,
)
from repro.report.experiments import table as experiment_table
from repro.report.figures import figures
from repro.report.forest import primary_figure
from repro.report.html import APPENDIX
from repro.report.preprocessing import Shown
from repro.report.published_nets import Family
from repro.report.replications import depth_gains, replications
from repro.report.settings import Comparison, Setting
from repro.report.verdict_grid import verdicts_figure
from repro.store.identity import base

PAPER_TABLES = {
    3: ("one test scale", "Q = S for fixed S, Q = 384 for jittered S; dense evaluation."),
    4: (
        "several test scales",
        "Q = {S-32, S, S+32} for fixed S, {256, 384, 512} for jittered S; posteriors averaged.",
    ),
    5: ("dense evaluation and multi-crop", "Multi-crop: a 5x5 grid of crops at each scale."),
    6: ("several nets", "The mean of the nets' posteriors, each at the test scales of its S."),
}
"""Title and first line of the tables of Section 4."""
SPREAD = (
    "Top-1 error in percent. One seed: [95% Wilson interval over test images]; several: mean ± "
    "standard deviation (n seeds)."
)
PICTURES = {3: "errors"}
"""The figure that stands under a table of Section 4, of all protocols."""
SYNTAX = re.compile(r"[\\`*<|]|&(?=#?\w+;)|(?<=\])[(\[]|(?<![^\W_])_|_(?![^\W_])")
"""What is HTML or Markdown within a line. Brackets are not unless others follow them."""
ENTITIES = {"<": "&lt;", "&": "&amp;"}


@dataclass
class Section:
    """What the report says about one experiment of a setting."""

    experiment: Experiment
    table: pd.DataFrame
    drawn: list[Drawn]
    claims: pd.DataFrame


@dataclass
class Part:
    """All that the report says about one setting."""

    comparison: Comparison
    prefix: str
    """Of the names of its files; empty where there is one setting only."""
    frames: dict[str, pd.DataFrame] = field(init=False)
    drawn: list[Drawn] = field(init=False)
    sections: list[Section] = field(init=False)
    open_rows: dict[int, list[str]] = field(init=False)
    """By the number of a table of Section 4, the commands that make its rows which nobody ran."""
    claims: pd.DataFrame = field(init=False)

    def __post_init__(self) -> None:
        comparison, runs = self.comparison, self.comparison.runs
        self.claims = judge(comparison)
        self.sections = [
            Section(
                experiment,
                experiment_table(experiment, comparison),
                figures_of(experiment, comparison),
                self.claims[self.claims.experiment == experiment.name],
            )
            for experiment in experiments()
            if is_shown(experiment, comparison, self.claims)
        ]
        sentences = {claim.claim: claim.text for claim in claims()}
        about = (draw(self.claims, sentences) for draw in (primary_figure, verdicts_figure))
        self.drawn = [*figures(comparison), *(one for one in about if one is not None)]
        self.drawn += [figure for section in self.sections for figure in section.drawn]
        filled = {number: tables.errors(number, comparison) for number in (3, 4, 5)}
        filled[6] = tables.ensembles(comparison)
        self.open_rows = {
            number: lines if comparison.has_papers_nets else []
            for number, (_, lines) in filled.items()
        }
        self.frames = {
            "primary": answer.table(self.claims),
            "summary": tables.depth(comparison),
            **{f"table{number}": frame for number, (frame, _) in filled.items()},
            "depth-gains": depth_gains(),
            "replications": replications(),
            "kept": built.kept(runs[0]),
            "deviations": ran.departures(comparison),
            "table1": built.configurations(),
            "table2": built.counted(runs),
            "stacks": built.stacks(),
            "conv1": built.conv1(),
            "table7": tables.others(comparison),
            "protocols": tables.protocols(comparison),
            "activations": built.activations(comparison.runs),
            "geometry": built.geometries(runs[0]),
            **{f"experiment-{s.experiment.name}": s.table for s in self.sections},
            "claims": claim_table(self.claims),
            "runs": ran.what_ran(runs),
            "environment": ran.environment(runs),
        }

    @property
    def setting(self) -> Setting:
        """The setting."""
        return self.comparison.setting

    def context(self) -> dict[str, Any]:
        """What the templates ask of a part."""
        runs, comparison = self.comparison.runs, self.comparison
        stacks = self.frames["stacks"].set_index("stack")["weights / C²"].astype(int)
        mark = f" ({self.setting})" if self.prefix else ""
        judged, there = set(self.claims.claim), {s.experiment.name for s in self.sections}
        asked = comparison.has_papers_nets
        return {
            "setting": self.setting,
            "mark": mark,
            "anchor": slugify(str(self.setting), "-"),
            "appendix": APPENDIX,
            "answer": answer.answer(self.claims, comparison),
            "asked": asked,
            "what_ran": answer.what_ran(comparison),
            "has_primary": not self.frames["primary"].empty,
            "not_judged": answer.not_judged(self.claims, comparison) if asked else "",
            "kept": built.kept_words(self.frames["kept"]),
            # Table 3 says the same of the paper's nets.
            "has_summary": self.frames["table3"].empty and not self.frames["summary"].empty,
            "tables": {name: table_markdown(frame) for name, frame in self.frames.items()},
            "deviations": self._deviations(),
            "figure": self.figure,
            "paper_tables": [
                (number, title, f"{note} {SPREAD}" if number == 3 else note)
                for number, (title, note) in PAPER_TABLES.items()
                if not self.frames[f"table{number}"].empty or self.open_rows[number]
            ],
            "rows": self._rows,
            "picture_of": self._picture_of,
            "open_rows": lambda number: "` and `".join(self.open_rows[number]),
            "sections": [self._section(section) for section in self.sections],
            "more_weights": round(100 * (stacks["one conv7"] / stacks["three conv3"] - 1)),
            "has_activations": not self.frames["activations"].empty,
            "verdicts": answer.counted(self.claims),
            "claims_open": [sentence(c) for c in claims() if asked and c.claim not in judged],
            "open_choices": list(dict.fromkeys(c for run in runs for c in open_choices(run))),
            "not_covered": not_covered(),
            "missing": list(dict.fromkeys(c for lines in self.open_rows.values() for c in lines)),
            "experiments_open": [
                (e.question, line)
                for e in experiments()
                if asked and e.name not in there
                for line in commands_of(e.name, comparison)
            ],
        }

    def _deviations(self) -> str:
        frame = self.frames["deviations"]
        shared = frame[frame.runs == "all"]
        others = len(frame) - len(shared)
        words = (
            f"\n\n{others} more hold for some nets only: [appendix]({APPENDIX})." if others else ""
        )
        return table_markdown(shared.drop(columns="runs")) + words

    def _rows(self, number: int) -> str:
        frame = self.frames[f"table{number}"]
        return table_markdown(frame) if len(frame) else "*Nobody has run a row of this table.*"

    def _picture_of(self, number: int) -> str:
        name = PICTURES.get(number)
        return self.figure(name) if name in self._drawn_names else ""

    @property
    def _drawn_names(self) -> set[str]:
        return {drawn.name for drawn in self.drawn}

    def _section(self, section: Section) -> dict[str, Any]:
        name, table = section.experiment.name, table_markdown(section.table)
        shown = [drawn.name for drawn in section.drawn]
        shown += [one for one in section.experiment.figures if one in self._drawn_names - {*shown}]
        if section.table.empty:
            fills = "` and `".join(commands_of(name, self.comparison))
            table = f"Measured so far is only what these claims compare; the rest is `{fills}`."
        return {
            "name": name.replace("_", " "),
            "question": section.experiment.question,
            # The picture says it, and the numbers are in the appendix; without one they stand here.
            "table": "" if shown else table,
            "full_table": table,
            "figures": [self.figure(name) for name in shown],
            "claims": table_markdown(claim_table(section.claims, short=True)),
            "has_claims": not section.claims.empty,
        }

    def figure(self, name: str) -> str:
        """A figure with its caption as Markdown, or a line that says why there is none."""
        for drawn in self.drawn:
            if drawn.name == name:
                return figure_markdown(drawn, self.prefix)
        return f"*No run has anything to show for the figure {name}.*"


def figure_markdown(drawn: Drawn | None, prefix: str = "") -> str:
    """A figure with its caption; empty: there is none."""
    if drawn is None:
        return ""
    words = drawn.name.replace("-", " ")
    return f"![{words}](figures/{prefix}{drawn.name}.png)\n\n*{drawn.caption}*"


def table_markdown(frame: pd.DataFrame) -> str:
    """A table as Markdown; what its cells hold is text."""
    if frame.empty:
        return "*Nothing to show.*"
    return str(frame.map(plain).to_markdown(index=False, disable_numparse=True))


def plain(text: object) -> str:
    """Text as Markdown that shows it as it is: no HTML, no link, no emphasis."""
    return SYNTAX.sub(lambda found: ENTITIES.get(found[0], f"\\{found[0]}"), str(text))


def in_order(parts: Sequence[Part]) -> list[Part]:
    """The setting that decides most primary claims first."""
    return sorted(parts, key=lambda part: -answer.decided(part.claims))


def markdown(
    parts: Sequence[Part],
    published: tuple[Sequence[Family], Shown],
    unfinished: list[tuple[str, str]],
) -> tuple[str, str]:
    """`comparison.md` and `appendix.md`.

    Args:
        parts: the settings of the nets that were trained here.
        published: the nets that others trained, and what is shown of other preprocessing.
        unfinished: names of runs, each with why it is not finished.
    """
    loader = PackageLoader("repro.report", "templates")
    # It writes Markdown, where what HTML escapes is text.
    jinja = Environment(loader=loader, undefined=StrictUndefined, keep_trailing_newline=True)
    jinja.filters["plain"] = plain
    context = {
        "parts": [part.context() for part in parts],
        "scale_model": any(not _is_the_papers(part) for part in parts),
        "data_words": ", ".join(dict.fromkeys(_data_words(part) for part in parts)),
        "published": _published(*published) if published[0] else None,
        "unfinished": unfinished,
    }
    pages = (
        jinja.get_template(f"{name}.md.j2").render(context) for name in ("comparison", "appendix")
    )
    page, appendix = (re.sub(r"\n{3,}", "\n\n", page) for page in pages)
    return page, appendix


def _published(families: Sequence[Family], ways: Shown) -> dict[str, Any]:
    return {
        "ways": table_markdown(ways.table) if ways.nets else "",
        "ways_lines": preprocessing.sentences(ways.nets),
        "ways_figure": figure_markdown(ways.figure),
        "table": table_markdown(published_nets.table(families)),
        "theirs": table_markdown(published_nets.theirs(families)),
        "commands": [line for family in families for line in family.made()],
    }


def _is_the_papers(part: Part) -> bool:
    named = base(part.setting.data) == "imagenet"
    return named and part.setting.size == "paper" and part.comparison.has_1000_classes


def _data_words(part: Part) -> str:
    size = part.comparison.config.size
    return (
        f"{part.setting.data} ({part.comparison.classes} classes) with crops of "
        f"{size.crop} pixels and layers {size.width:g} times as wide as the paper's"
    )
