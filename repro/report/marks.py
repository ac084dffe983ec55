"""A figure before it is drawn: a tidy frame of marks, and the words around them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

TEMPLATES = Path(__file__).with_name("templates")
CAPTIONS: dict[str, str] = yaml.safe_load((TEMPLATES / "captions.yaml").read_text("utf-8"))
MARKS = ["facet", "group", "mark", "line", "x", "y", "low", "high", "words"]
"""The columns of a chart's frame, a row for each mark.

`facet` names the panel, `group` the entry of the legend and so the colour; points of one `line`
are joined; `low` and `high` are an interval along the axis of values; `words` stand where they are
drawn. In a chart of rows `y` is the name of the row and `x` the value, else both are numbers.
"""
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Chart:
    """A figure before it is drawn: its marks, and the words around them."""

    name: str
    caption: str
    marks: pd.DataFrame
    x: str
    y: str = ""
    """The title of the upright axis; empty: a chart of rows."""

    @property
    def signed(self) -> bool:
        """Values lie on both sides of zero, where a line is drawn."""
        return "beside" in set(self.marks.mark)


def chart(name: str, words: str, rows: Rows, x: str, y: str = "", **gaps: Any) -> Chart | None:
    """A chart of marks, if there are any, with a caption of `templates/captions.yaml`."""
    return Chart(name, CAPTIONS[words].format(**gaps), marks(rows), x, y) if rows else None


def marks(rows: Rows) -> pd.DataFrame:
    """The frame of a chart from its marks; what one does not say is empty."""
    empty = {"facet": "", "group": "", "line": "", "words": ""}
    return pd.DataFrame([empty | row for row in rows], columns=MARKS)
