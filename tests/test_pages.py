"""Every number that a page for people quotes stands in a committed table.

A quoted number is a link to its table whose title says where it stands there:
`[3.5](../reports/NAME/results.csv "arch=D protocol=single_scale Q=256 metric=top1_error")` is the
mean of the column `value` over the rows that match; a last word without `=` names another column,
or `count` the number of rows.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "experiments").glob("*.md"))]
PAGES += sorted((ROOT / "docs").glob("*.md"))
QUOTED = re.compile(r"\[([^\]]+)\]\(([^)\s]+\.csv) \"([^\"]+)\"\)")
NUMBER = re.compile(r"[+-]?\d[\d,]*(?:\.\d+)?")
LINK = re.compile(r"!?\[[^\]]*\]\([^)]*\)")
FOUND = re.compile(r"^## What was found\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
BARE = re.compile(r"\d+(?:\.\d+)?\s*(?:%|points?\b)")


def looked_up(table: Path, where: str) -> float:
    """The mean of a column over the rows that match, or their count."""
    rows = pd.read_csv(table, dtype=str, keep_default_na=False)
    words = shlex.split(where)
    column = words.pop() if "=" not in words[-1] else "value"
    for word in words:
        key, value = word.split("=", 1)
        rows = rows[rows[key] == value]
    assert len(rows), f"{table.name} has no row with {where}"
    return float(len(rows)) if column == "count" else float(rows[column].astype(float).mean())


def quoted() -> list[tuple[Path, str, str, str]]:
    return [(page, *found) for page in PAGES for found in QUOTED.findall(page.read_text())]


def test_pages_quote_numbers() -> None:
    assert len({page for page, *_ in quoted()}) > 5


@pytest.mark.parametrize(
    ("page", "text", "table", "where"), quoted(), ids=lambda value: str(value)[-40:]
)
def test_a_quoted_number_stands_in_its_table(page: Path, text: str, table: str, where: str) -> None:
    (number,) = NUMBER.findall(text)
    decimals = len(number.partition(".")[2])
    found = looked_up((page.parent / table).resolve(), where)
    assert float(number.replace(",", "")) == pytest.approx(found, abs=0.5 * 10**-decimals + 1e-9)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_was_found_quotes_no_number_without_its_table(page: Path) -> None:
    for section in FOUND.findall(page.read_text()):
        prose = re.sub(r"`[^`]*`", "", LINK.sub("", section))
        assert not BARE.findall(prose), f"{page.name}: link the number to its table"
