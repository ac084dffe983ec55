"""The report as one HTML file: its Markdown converted, pictures inside, the appendix folded."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

from markdown import Markdown
from markdown.treeprocessors import Treeprocessor

from repro.report.verdicts import VERDICTS

APPENDIX = "appendix.md"


LINK = re.compile(r"https?://\S+|[\w./#%+=-]+")
"""A link that the page may have: into the report or into the web, and no script."""
PICTURE = re.compile(r"figures/[\w.+=-]+\.png")


class _Checked(Treeprocessor):
    """Takes from the page what no report writes: other links and pictures than its own."""

    def run(self, root: Element) -> None:
        for tag, key, allowed in (("a", "href", LINK), ("img", "src", PICTURE)):
            for element in root.iter(tag):
                if not allowed.fullmatch(element.get(key, "")):
                    element.attrib.pop(key, None)


def html(page: str, appendix: str, folder: Path) -> str:
    """`comparison.html`.

    Args:
        page: the Markdown of the page.
        appendix: the Markdown of what is folded below it.
        folder: where the pictures that both name lie.
    """
    body, headings = _converted(page, folder)
    folded, more = _converted(appendix, folder)
    # One page: what the Markdown links in the appendix's file is below.
    body = body.replace(f'href="{APPENDIX}"', 'href="#appendix"')
    style = Path(__file__).with_name("templates").joinpath("page.css").read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        "<title>VGG: the paper's claims, measured here</title>\n"
        f"<style>\n{style}</style>\n</head>\n"
        f"<body>\n<nav>{_contents(headings)}</nav>\n<main>\n{body}\n"
        '<details id="appendix">\n<summary>Appendix: how claims are judged, all claims, every net '
        f"by every protocol, runs, commands</summary>\n<nav>{_contents(more)}</nav>\n{folded}\n"
        "</details>\n</main>\n"
        # A link into what is folded opens it.
        "<script>const open=()=>{const it=location.hash&&document.getElementById("
        "decodeURIComponent(location.hash.slice(1)));const fold=it&&it.closest('details');"
        "if(fold){fold.open=true;it.scrollIntoView()}};addEventListener('hashchange',open);open()"
        "</script>\n</body>\n</html>\n"
    )


def _converted(page: str, folder: Path) -> tuple[str, Sequence[dict[str, Any]]]:
    """HTML with its pictures inside, and its headings."""
    converter = Markdown(
        extensions=["tables", "toc", "fenced_code"],
        extension_configs={"toc": {"toc_depth": "1-2"}},
        output_format="html",
    )
    # The report's Markdown holds no HTML: what looks like it is text.
    converter.preprocessors.deregister("html_block")
    converter.inlinePatterns.deregister("html")
    converter.treeprocessors.register(_Checked(converter), "checked", 0)
    body = converter.convert(page)

    def inline(match: re.Match[str]) -> str:
        content = base64.b64encode((folder / match[1]).read_bytes()).decode()
        return f'src="data:image/png;base64,{content}"'

    body = re.sub(r'src="(figures/[^"]+\.png)"', inline, body)
    body = re.sub(r"<table>.*?</table>", _framed, body, flags=re.DOTALL)
    return body, converter.toc_tokens  # type: ignore[attr-defined]


def _framed(table: re.Match[str]) -> str:
    """A table that scrolls where it is too wide; its lines break only where cells hold prose."""
    longest = max(
        map(len, re.findall(r"<td[^>]*>(.*?)</td>", table[0], flags=re.DOTALL)), default=0
    )
    kind = "prose" if longest > 60 else "numbers"
    # Numbers with their intervals stay on one line beside prose too.
    cells = re.sub(r"<td([^>]*)>(.{1,26})</td>", r'<td\1 class="short">\2</td>', table[0])
    # A verdict is told by its colour too.
    for word in VERDICTS:
        slug = word.replace(" ", "-")
        cells = cells.replace(f'class="short">{word}<', f'class="short {slug}">{word}<')
    return f'<div class="wide {kind}">{cells}</div>'


def _contents(headings: Sequence[dict[str, Any]]) -> str:
    """Links to the sections; where there are several settings, a line of links for each."""
    lines = []
    for top in headings:
        mark = f" ({top['name'].removeprefix('Appendix (').removesuffix(')')})"
        links = " ".join(
            f'<li><a href="#{section["id"]}">{section["name"].removesuffix(mark)}</a></li>'
            for section in top["children"]
        )
        title = "" if len(headings) == 1 or top is headings[0] else f"<b>{top['name']}</b>"
        lines.append(f"{title}<ul>{links}</ul>" if links else "")
    return "\n".join(lines)
