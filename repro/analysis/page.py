"""The report: one Markdown page from the tables and figures, the same page as one HTML file."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markdown import Markdown
from markdown.extensions.toc import slugify

from repro.analysis import built, tables
from repro.analysis.claims import METHOD, claims, judge
from repro.analysis.deviations import open_choices
from repro.analysis.figures import Drawn, figures
from repro.analysis.measured import Measured, fuse
from repro.analysis.settings import Setting
from repro.paper import published
from repro.spec.geometry import geometry
from repro.spec.scales import PROTOCOLS, pixels
from repro.store.identity import base
from repro.store.runs import Run

DENSE_CROP = 128
"""Smallest crop in pixels at which dense evaluation is compared with crops (DESIGN, idea 2)."""


@dataclass
class Part:
    """All that the report says about one setting."""

    setting: Setting
    runs: Sequence[Run]
    measured: Sequence[Measured]
    prefix: str
    """Of the names of its files; empty where there is one setting only."""
    fuse: Sequence[str] = ()
    """Ensembles that were asked for, as in `D-jitter+E-jitter`."""
    fused: list[Measured] = field(default_factory=list)
    frames: dict[str, pd.DataFrame] = field(default_factory=dict)
    drawn: list[Drawn] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    claims: pd.DataFrame = field(default_factory=pd.DataFrame)

    def __post_init__(self) -> None:
        runs, measured = self.runs, self.measured
        self.claims = judge(measured)
        self.drawn = figures(runs, measured)
        self.fused = fusions(measured, self.fuse)
        filled = {f"table{number}": tables.errors(number, runs, measured) for number in (3, 4, 5)}
        filled["table6"] = tables.ensembles(runs, measured, self.fused)
        self.missing = list(dict.fromkeys(line for _, lines in filled.values() for line in lines))
        self.frames = {
            "summary": tables.depth(runs, measured),
            "runs": tables.what_ran(runs),
            "environment": environment(runs),
            "table1": built.configurations(),
            "table2": built.counted(runs),
            "stacks": built.stacks(),
            "conv1": built.conv1(),
            **{name: frame for name, (frame, _) in filled.items()},
            "table7": tables.others(),
            "protocols": tables.protocols(measured),
            "geometry": built.geometries(runs[0]),
            "fields": built.fields(runs[0]),
            "claims": tables.claims(self.claims, {c["claim"]: c["text"] for c in claims()}),
            "deviations": tables.departures(runs),
        }

    def context(self) -> dict[str, Any]:
        """What the template asks of a part."""
        run = self.runs[0]
        crop, counts = run.config.size.crop, run.result["data"]
        net = built.as_run(run.config, counts["classes"], "D")
        overhang = geometry(net, pixels(256, crop)).overhang
        stacks = self.frames["stacks"].set_index("stack")["weights / C²"].astype(int)
        mark = f" ({self.setting})" if self.prefix else ""
        return {
            "setting": self.setting,
            "mark": mark,
            "data": run.config.data.name,
            "counts": {key: f"{counts[key]:,}" for key in ("train", "validation", "test")}
            | {"classes": counts["classes"]},
            "seeds": ", ".join(str(s) for s in sorted({run.config.seed for run in self.runs})),
            "tables": {name: table_markdown(frame) for name, frame in self.frames.items()},
            "figure": self.figure,
            "has_summary": not self.frames["summary"].empty,
            "more_weights": round(100 * (stacks["one conv7"] / stacks["three conv3"] - 1)),
            "overhangs": overhang > 0 and crop < DENSE_CROP,
            "overhang": overhang,
            "crop": crop,
            "claims_text": METHOD,
            "claims_open": [
                claim["text"] for claim in claims() if claim["claim"] not in set(self.claims.claim)
            ],
            "open_choices": list(dict.fromkeys(c for run in self.runs for c in open_choices(run))),
            "missing": self.missing,
            "missing_anchor": slugify(f"What is missing{mark}", "-"),
            "protocols_anchor": slugify(f"All protocols side by side{mark}", "-"),
        }

    def figure(self, name: str) -> str:
        """A figure with its caption as Markdown, or a line that says why there is none."""
        for drawn in self.drawn:
            if drawn.name == name:
                words = name.replace("-", " ")
                return f"![{words}](figures/{self.prefix}{name}.png)\n\n*{drawn.caption}*"
        return f"*No run has anything to show for the figure {name}.*"


def table_markdown(frame: pd.DataFrame) -> str:
    """A table as Markdown."""
    if frame.empty:
        return "*Nothing to show.*"
    return str(frame.to_markdown(index=False, disable_numparse=True))


def fusions(measured: Sequence[Measured], asked: Sequence[str]) -> list[Measured]:
    """The ensembles of Table 6 and those asked for, by every protocol that their members have."""
    wanted = [(row["members"], row["protocol"]) for row in published.rows(6)]
    wanted += [(members, protocol) for members in asked for protocol in PROTOCOLS]
    return [
        one
        for members, protocol in dict.fromkeys(wanted)
        for one in fuse(measured, members.split("+"), protocol)
    ]


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
    classes = part.runs[0].result["data"]["classes"]
    named = base(part.setting.data) == "imagenet"
    return named and part.setting.size == "paper" and classes == published.CLASSES


def _data_words(part: Part) -> str:
    size = part.runs[0].config.size
    classes = part.runs[0].result["data"]["classes"]
    return (
        f"{part.setting.data} ({classes} classes) with crops of {size.crop} pixels and layers "
        f"{size.width:g} times as wide as the paper's"
    )


def _framed(table: re.Match[str]) -> str:
    """A table that scrolls where it is too wide; its lines break only where cells hold prose."""
    longest = max(
        map(len, re.findall(r"<td[^>]*>(.*?)</td>", table[0], flags=re.DOTALL)), default=0
    )
    kind = "prose" if longest > 60 else "numbers"
    return f'<div class="wide {kind}">{table[0]}</div>'


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
