"""The report: one Markdown page from the tables and figures, the same page as one HTML file."""

from __future__ import annotations

import base64
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markdown import Markdown
from markdown.extensions.toc import slugify

from repro.analysis import built, tables
from repro.analysis.ablations import figure_of
from repro.analysis.claims import (
    CONTRADICTED,
    REPRODUCED,
    UNDECIDED,
    UNTESTABLE,
    claims,
    judge,
)
from repro.analysis.deviations import open_choices
from repro.analysis.experiments import Experiment, claim_table, experiments, present, sentence
from repro.analysis.experiments import table as experiment_table
from repro.analysis.figures import Drawn, figures
from repro.analysis.forest import claims_figure
from repro.analysis.settings import Comparison, Setting, command
from repro.spec.geometry import geometry
from repro.spec.scales import pixels
from repro.store.identity import base
from repro.store.runs import Run


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
    missing: list[str] = field(init=False)
    claims: pd.DataFrame = field(init=False)

    def __post_init__(self) -> None:
        comparison, runs = self.comparison, self.comparison.runs
        self.claims = judge(comparison)
        self.drawn = figures(comparison)
        self.sections = [
            Section(
                experiment,
                experiment_table(experiment, comparison),
                figure_of(experiment, comparison),
                self.claims[self.claims.experiment == experiment.name],
            )
            for experiment in experiments()
            if present(experiment, comparison, self.claims)
        ]
        of_claims = claims_figure(self.claims, {c.claim: c.text for c in claims()})
        self.drawn += [figure for section in self.sections for figure in section.drawn]
        self.drawn += [] if of_claims is None else [of_claims]
        filled = {f"table{number}": tables.errors(number, comparison) for number in (3, 4, 5)}
        filled["table6"] = tables.ensembles(comparison)
        self.missing = list(dict.fromkeys(line for _, lines in filled.values() for line in lines))
        self.frames = {
            "summary": tables.depth(comparison),
            "runs": tables.what_ran(runs),
            "environment": environment(runs),
            "table1": built.configurations(),
            "table2": built.counted(runs),
            "stacks": built.stacks(),
            "conv1": built.conv1(),
            **{name: frame for name, (frame, _) in filled.items()},
            "table7": tables.others(comparison),
            "protocols": tables.protocols(comparison),
            "geometry": built.geometries(runs[0]),
            "fields": built.fields(runs[0]),
            **{f"experiment-{s.experiment.name}": s.table for s in self.sections},
            "claims": claim_table(self.claims),
            "deviations": tables.departures(comparison),
        }

    @property
    def setting(self) -> Setting:
        """The setting."""
        return self.comparison.setting

    def context(self) -> dict[str, Any]:
        """What the template asks of a part."""
        runs, comparison = self.comparison.runs, self.comparison
        crop, counts = comparison.crop, runs[0].result["data"]
        net = built.as_run(comparison.config, comparison.classes, "D")
        overhang = geometry(net, pixels(256, crop)).overhang
        stacks = self.frames["stacks"].set_index("stack")["weights / C²"].astype(int)
        mark = f" ({self.setting})" if self.prefix else ""
        judged, there = set(self.claims.claim), {s.experiment.name for s in self.sections}
        return {
            "setting": self.setting,
            "init": comparison.usual.name,
            "mark": mark,
            "data": self.setting.data,
            "counts": {key: f"{counts[key]:,}" for key in ("train", "validation", "test")}
            | {"classes": counts["classes"]},
            "left_out": counts.get("left_out", 0),
            "seeds": ", ".join(str(s) for s in sorted({run.config.seed for run in runs})),
            "tables": {name: table_markdown(frame) for name, frame in self.frames.items()},
            "figure": self.figure,
            "sections": [self._section(section) for section in self.sections],
            "has_summary": not self.frames["summary"].empty,
            "more_weights": round(100 * (stacks["one conv7"] / stacks["three conv3"] - 1)),
            "overhangs": overhang > 0,
            "overhang": overhang,
            "crop": crop,
            "verdicts": _count_verdicts(self.claims),
            "judged": len(self.claims),
            "ours": int(self.claims.ours.sum()),
            "claims_open": [sentence(c) for c in claims() if c.claim not in judged],
            "open_choices": list(dict.fromkeys(c for run in runs for c in open_choices(run))),
            "missing": self.missing,
            "experiments_open": [
                (e.question, command(runs[0], [f"experiments={e.name}"]))
                for e in experiments()
                if e.name not in there
            ],
            "missing_anchor": slugify(f"What is missing{mark}", "-"),
            "protocols_anchor": slugify(f"All protocols side by side{mark}", "-"),
        }

    def _section(self, section: Section) -> dict[str, Any]:
        name, table = section.experiment.name, table_markdown(section.table)
        if section.table.empty:
            fills = command(self.comparison.runs[0], [f"experiments={name}"])
            table = f"Measured so far is only what these claims compare; the rest is `{fills}`."
        return {
            "name": name.replace("_", " "),
            "question": section.experiment.question,
            "table": table,
            "figures": [self.figure(name) for name in _figures_of(section)],
            "claims": table_markdown(claim_table(section.claims, short=True)),
            "has_claims": not section.claims.empty,
        }

    def figure(self, name: str) -> str:
        """A figure with its caption as Markdown, or a line that says why there is none."""
        for drawn in self.drawn:
            if drawn.name == name:
                words = name.replace("-", " ")
                return f"![{words}](figures/{self.prefix}{name}.png)\n\n*{drawn.caption}*"
        return f"*No run has anything to show for the figure {name}.*"


def _figures_of(section: Section) -> list[str]:
    if section.experiment.name == "depth":
        return ["error-against-depth"]
    return [drawn.name for drawn in section.drawn]


def table_markdown(frame: pd.DataFrame) -> str:
    """A table as Markdown."""
    if frame.empty:
        return "*Nothing to show.*"
    return str(frame.to_markdown(index=False, disable_numparse=True))


def _count_verdicts(judged: pd.DataFrame) -> str:
    """As in `3 reproduced (2 with Holm), 2 not decided`."""
    counts, held = Counter(judged.verdict), Counter(judged.verdict_holm)
    words = []
    for verdict in (REPRODUCED, CONTRADICTED, UNDECIDED, UNTESTABLE):
        tested = f" ({held[verdict]} with Holm)" if verdict in (REPRODUCED, CONTRADICTED) else ""
        words += [f"{counts[verdict]} {verdict}{tested}"] if counts[verdict] else []
    return ", ".join(words)


def environment(runs: Sequence[Run]) -> pd.DataFrame:
    """Machine, versions and commit of the runs; where they differ, all that occurred."""
    words = {
        "machine": ("machine", "cpu", "device"),
        "cores, threads, workers": ("cores", "threads", "workers"),
        "Python, torch, torchvision, numpy": ("python", "torch", "torchvision", "numpy"),
        "commit": ("git_commit",),
        "finished": ("finished",),
    }
    rows = []
    for label, keys in words.items():
        found = dict.fromkeys(
            ", ".join(_known(run.result["environment"].get(key)) for key in keys)
            + (", changed" if label == "commit" and run.result["environment"]["git_dirty"] else "")
            for run in runs
        )
        shown = sorted(found)
        text = " | ".join(shown) if len(shown) < 4 else f"{shown[0]} to {shown[-1]}"
        rows.append({"what": label, "value": text.replace("|", "/")})
    return pd.DataFrame(rows)


def _known(value: object) -> str:
    return "-" if value is None else str(value)


def markdown(parts: Sequence[Part], unfinished: list[tuple[str, str]]) -> str:
    """`comparison.md`."""
    loader = PackageLoader("repro.analysis", "templates")
    # It writes Markdown, where what HTML escapes is text.
    jinja = Environment(loader=loader, undefined=StrictUndefined, keep_trailing_newline=True)
    page = jinja.get_template("comparison.md.j2").render(
        parts=[part.context() for part in parts],
        scale_model=any(not _is_the_papers(part) for part in parts),
        data_words=", ".join(dict.fromkeys(_data_words(part) for part in parts)),
        unfinished=unfinished,
    )
    return re.sub(r"\n{3,}", "\n\n", page)


def _is_the_papers(part: Part) -> bool:
    named = base(part.setting.data) == "imagenet"
    return named and part.setting.size == "paper" and part.comparison.thousand


def _data_words(part: Part) -> str:
    size = part.comparison.config.size
    return (
        f"{part.setting.data} ({part.comparison.classes} classes) with crops of "
        f"{size.crop} pixels and layers {size.width:g} times as wide as the paper's"
    )


def _framed(table: re.Match[str]) -> str:
    """A table that scrolls where it is too wide; its lines break only where cells hold prose."""
    longest = max(
        map(len, re.findall(r"<td[^>]*>(.*?)</td>", table[0], flags=re.DOTALL)), default=0
    )
    kind = "prose" if longest > 60 else "numbers"
    # Numbers with their intervals stay on one line beside prose too.
    cells = re.sub(r"<td([^>]*)>(.{1,26})</td>", r'<td\1 class="short">\2</td>', table[0])
    return f'<div class="wide {kind}">{cells}</div>'


def _contents(headings: Sequence[dict[str, Any]]) -> str:
    """Links to the sections; where there are several settings, a line of links for each."""
    lines = []
    for top in headings:
        mark = f" ({top['name']})"
        links = " ".join(
            f'<li><a href="#{section["id"]}">{section["name"].removesuffix(mark)}</a></li>'
            for section in top["children"]
        )
        title = "" if len(headings) == 1 or top is headings[0] else f"<b>{top['name']}</b>"
        lines.append(f"{title}<ul>{links}</ul>" if links else "")
    return "\n".join(lines)


def html(page: str, folder: Path) -> str:
    """`comparison.html`: the Markdown page as one file, pictures inside.

    Args:
        page: the Markdown.
        folder: where the pictures that it names lie.
    """
    converter = Markdown(
        extensions=["tables", "toc", "fenced_code"],
        extension_configs={"toc": {"toc_depth": "1-2"}},
        output_format="html",
    )
    body = converter.convert(page)

    def inline(match: re.Match[str]) -> str:
        content = base64.b64encode((folder / match[1]).read_bytes()).decode()
        return f'src="data:image/png;base64,{content}"'

    body = re.sub(r'src="(figures/[^"]+\.png)"', inline, body)
    body = re.sub(r"<table>.*?</table>", _framed, body, flags=re.DOTALL)
    style = Path(__file__).with_name("templates").joinpath("page.css").read_text(encoding="utf-8")
    contents = _contents(converter.toc_tokens)  # type: ignore[attr-defined]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>VGG: measured beside published</title>\n<style>\n{style}</style>\n</head>\n"
        f"<body>\n<nav>{contents}</nav>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )
