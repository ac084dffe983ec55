"""The report as one HTML file: its Markdown converted, pictures inside, the details folded."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree.ElementTree import Element

from jinja2 import Environment, PackageLoader, StrictUndefined
from markdown import Markdown
from markdown.treeprocessors import Treeprocessor

from repro.report.answer import OPEN
from repro.report.verdicts import VERDICTS

LINK = re.compile(r"https?://\S+|[\w./#%+=-]+")
"""A link that the page may have: into the report or into the web, and no script."""
PICTURE = re.compile(r"figures/([\w.+=-]+\.png)")
DETAILS = "\n# Details"
"""Begins the part of the page that is folded."""


class _Checked(Treeprocessor):
    """Takes from the page what no report writes: other links and pictures than its own."""

    def run(self, root: Element) -> None:
        for tag, key, allowed in (("a", "href", LINK), ("img", "src", PICTURE)):
            for element in root.iter(tag):
                if not allowed.fullmatch(element.get(key, "")):
                    element.attrib.pop(key, None)


def html(page: str, pictures: Mapping[str, bytes]) -> str:
    """`comparison.html`.

    Args:
        page: the Markdown of the page.
        pictures: the figures by the names of their files.
    """
    first, _, details = page.partition(DETAILS)
    body, headings = _converted(first, pictures)
    folded, more = _converted(details and DETAILS + details, pictures)
    jinja = Environment(
        loader=PackageLoader("repro.report", "templates"), undefined=StrictUndefined
    )
    context = {"body": body, "details": folded, "toc": headings, "more": more}
    return jinja.get_template("page.html.j2").render(context)


def _converted(
    page: str, pictures: Mapping[str, bytes]
) -> tuple[str, Sequence[tuple[str, Sequence[Any]]]]:
    """HTML with its pictures inside, and its headings: (title, sections) each."""
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
        return f'src="data:image/png;base64,{base64.b64encode(pictures[match[1]]).decode()}"'

    body = re.sub(r'src="figures/([^"]+\.png)"', inline, body)
    body = re.sub(r"<table>.*?</table>", _framed, body, flags=re.DOTALL)
    tokens: list[dict[str, Any]] = converter.toc_tokens  # type: ignore[attr-defined]
    return body, [(top["name"], top["children"]) for top in tokens]


def _framed(table: re.Match[str]) -> str:
    """A table that scrolls where it is too wide; numbers with their intervals stay on one line."""
    cells = re.sub(r"<td([^>]*)>(.{1,26})</td>", r'<td\1 class="short">\2</td>', table[0])
    # A verdict is told by its colour too.
    for word in (*VERDICTS, OPEN):
        slug = word.replace(" ", "-")
        cells = cells.replace(f'class="short">{word}<', f'class="short {slug}">{word}<')
    return f'<div class="wide">{cells}</div>'
