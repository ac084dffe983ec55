"""The report's page: it answers first, and all that stands behind the answer comes after it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markdown.extensions.toc import slugify

from repro.report import answer, built, provenance, published_nets, tables
from repro.report.charts import errors, figures_of, primary
from repro.report.claims import claims, judge
from repro.report.deviations import departures, not_covered, open_choices
from repro.report.experiments import Experiment, commands_of, experiments, is_shown
from repro.report.experiments import table as experiment_table
from repro.report.figure import Chart
from repro.report.learning import Picture, learning_curves, training_crops
from repro.report.published_nets import Family
from repro.report.settings import Comparison
from repro.report.titles import setting_title, worded
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
SYNTAX = re.compile(r"[\\`*<|]|&(?=#?\w+;)|(?<=\])[(\[]|(?<![^\W_])_|_(?![^\W_])")
"""What is HTML or Markdown within a line. Brackets are not unless others follow them."""
ENTITIES = {"<": "&lt;", "&": "&amp;"}
Figure = Chart | Picture


@dataclass
class Part:
    """All that the report says about one setting."""

    comparison: Comparison
    prefix: str
    """Of the names of its files; empty where there is one setting only."""
    claims: pd.DataFrame = field(init=False)
    frames: dict[str, pd.DataFrame] = field(init=False)
    """Its tables, as numbers."""
    figures: list[Figure] = field(init=False)
    sections: list[tuple[Experiment, pd.DataFrame, list[Chart]]] = field(init=False)
    open_rows: dict[int, list[str]] = field(init=False)
    """By the number of a table of Section 4, the commands that make its rows which nobody ran."""

    def __post_init__(self) -> None:
        comparison, runs = self.comparison, self.comparison.runs
        self.claims = judge(comparison)
        self.sections = [
            (one, experiment_table(one, comparison), figures_of(one, comparison))
            for one in experiments()
            if is_shown(one, comparison, self.claims)
        ]
        drawn: list[Figure | None] = [
            draw(comparison) for draw in (errors, learning_curves, training_crops)
        ]
        drawn += [primary(self.claims), *(one for _, _, found in self.sections for one in found)]
        self.figures = [one for one in drawn if one is not None]
        filled = {number: tables.paper_rows(number, comparison) for number in PAPER_TABLES}
        self.open_rows = {
            number: lines if comparison.has_papers_nets else []
            for number, (_, lines) in filled.items()
        }
        self.frames = {
            **{f"table{number}": frame for number, (frame, _) in filled.items()},
            "table1": built.configurations(),
            "table2": built.counted(runs),
            "table7": tables.others(comparison),
            "stacks": built.stacks(),
            "depth-gains": tables.depth_gains(),
            "replications": tables.replications(),
            "nets": tables.nets(comparison),
            "protocols": tables.protocols(comparison),
            **{f"experiment-{one.name}": frame for one, frame, _ in self.sections},
            "activations": built.activations(runs),
            "kept": built.kept(runs[0]),
            "deviations": departures(comparison),
            "runs": provenance.runs_table(runs),
            "environment": provenance.environment(runs),
        }

    @property
    def title(self) -> str:
        """The setting for readers."""
        return setting_title(self.comparison.setting)

    def context(self) -> dict[str, Any]:
        """What the template asks of a part."""
        comparison, frames, asked = self.comparison, self.frames, self.comparison.has_papers_nets
        judged, there = set(self.claims.claim), {one.name for one, _, _ in self.sections}
        weights = frames["stacks"].set_index("stack")["weights"]
        shared = frames["deviations"].runs == "all"
        return {
            "title": self.title,
            "mark": f" ({self.title})" if self.prefix else "",
            "anchor": slugify(self.title, "-"),
            "answer": answer.answer(self.claims, comparison),
            "what_ran": provenance.what_ran(comparison),
            "asked": asked,
            "primary": markdown_table(answer.table(answer.primary(self.claims))),
            "has_primary": bool(len(answer.primary(self.claims))),
            "not_judged": answer.not_judged(self.claims, comparison) if asked else [],
            "tables": {
                name: markdown_table(tables.readable(frame)) for name, frame in frames.items()
            },
            "gains": markdown_table(tables.shown_gains(frames["depth-gains"])),
            "side_by_side": markdown_table(tables.side_by_side(frames["protocols"])),
            "deviations": markdown_table(frames["deviations"][shared].drop(columns="runs")),
            "other_deviations": markdown_table(frames["deviations"][~shared])
            if any(~shared)
            else "",
            "figure": self.figure,
            "paper_tables": [
                (number, *words, bool(len(frames[f"table{number}"])), self.open_rows[number])
                for number, words in PAPER_TABLES.items()
                if len(frames[f"table{number}"]) or self.open_rows[number]
            ],
            "sections": [self._section(*section) for section in self.sections],
            "more_weights": round(100 * (weights["one conv7"] / weights["three conv3"] - 1)),
            "has_activations": bool(len(frames["activations"])),
            "kept": built.kept_words(frames["kept"]),
            "verdicts": answer.counted(self.claims),
            "all_claims": markdown_table(answer.table(self.claims)),
            "claims_open": [
                answer.sentence(one) for one in claims() if asked and one.claim not in judged
            ],
            "open_choices": list(
                dict.fromkeys(c for r in comparison.runs for c in open_choices(r))
            ),
            "not_covered": not_covered(),
            "commands": [
                (one.question, line)
                for one in experiments()
                if asked and one.name not in there
                for line in commands_of(one, comparison)
            ],
        }

    def _section(self, one: Experiment, table: pd.DataFrame, drawn: list[Chart]) -> dict[str, Any]:
        own = self.claims[self.claims.experiment == one.name]
        words = markdown_table(tables.readable(table))
        if table.empty:
            fills = "` and `".join(commands_of(one, self.comparison))
            words = f"Measured so far is only what these claims compare; the rest is `{fills}`."
        return {
            "name": one.name.replace("_", " "),
            "question": one.question,
            "figures": [figure_markdown(chart, self.prefix) for chart in drawn],
            "table": words,
            "claims": markdown_table(answer.table(own)) if len(own) else "",
        }

    def figure(self, name: str) -> str:
        """A figure with its caption as Markdown, or a line that says why there is none."""
        found = next((one for one in self.figures if one.name == name), None)
        return figure_markdown(found, self.prefix) or f"*No run has anything to show for {name}.*"


def figure_markdown(drawn: Figure | None, prefix: str = "") -> str:
    """A figure with its caption; empty: there is none."""
    if drawn is None:
        return ""
    words = drawn.name.replace("-", " ")
    return f"![{words}](figures/{prefix}{drawn.name}.png)\n\n*{plain(drawn.caption)}*"


def markdown_table(frame: pd.DataFrame) -> str:
    """A table of words as Markdown; what its cells hold is text."""
    if frame.empty:
        return "*Nothing to show.*"
    rows = [list(map(str, frame.columns)), ["---"] * frame.shape[1]]
    rows += [[plain(cell) for cell in row] for row in frame.itertuples(index=False)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def plain(text: object) -> str:
    """Text as Markdown that shows it as it is: no HTML, no link, no emphasis."""
    return SYNTAX.sub(lambda found: ENTITIES.get(found[0], f"\\{found[0]}"), str(text))


def in_order(parts: Sequence[Part]) -> list[Part]:
    """The setting that decides most primary claims first."""
    return sorted(parts, key=lambda part: -answer.decided(part.claims))


def markdown(
    parts: Sequence[Part], families: Sequence[Family], unfinished: list[tuple[str, str]]
) -> str:
    """`comparison.md`.

    Args:
        parts: the settings of the nets that were trained here.
        families: the nets that others trained.
        unfinished: names of runs, each with why it is not finished.
    """
    # It writes Markdown, where what HTML escapes is text.
    jinja = Environment(
        loader=PackageLoader("repro.report", "templates"),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
    )
    jinja.filters["plain"] = plain
    judged = {part.title: part.claims for part in parts if part.comparison.has_papers_nets}
    context = {
        "parts": [part.context() for part in parts],
        "grid": markdown_table(answer.grid(judged)) if judged else "",
        "scale_model": any(not _is_the_papers(part) for part in parts),
        "data_words": "; ".join(dict.fromkeys(map(_data_words, parts))),
        "published": _published(families) if families else None,
        "unfinished": unfinished,
    }
    page = jinja.get_template("comparison.md.j2").render(context)
    return re.sub(r"\n{3,}", "\n\n", page)


def _published(families: Sequence[Family]) -> dict[str, Any]:
    ways = published_nets.by_other_ways(families)
    return {
        "table": markdown_table(tables.readable(published_nets.table(families))),
        "theirs": markdown_table(tables.readable(published_nets.theirs(families))),
        "commands": [line for family in families for line in family.made()],
        "ways": published_nets.ways_words(ways),
        "ways_table": markdown_table(tables.readable(published_nets.ways_table(ways)))
        if ways
        else "",
        "ways_figure": figure_markdown(published_nets.ways_figure(ways)),
    }


def _is_the_papers(part: Part) -> bool:
    named = base(part.comparison.setting.data) == "imagenet"
    return named and part.comparison.setting.size == "paper" and part.comparison.has_1000_classes


def _data_words(part: Part) -> str:
    size = part.comparison.config.size
    return (
        f"{worded(part.comparison.setting.data)} ({part.comparison.classes} classes) with crops of "
        f"{size.crop} pixels and layers {size.width:g} times as wide as the paper's"
    )
