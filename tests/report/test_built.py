"""Which parts of the paper's geometry a size keeps, against sides counted by hand."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from repro.report.built import kept
from repro.store.runs import finished
from tests.report.conftest import MakeRun

MAPS = ["map of block 4", "map of block 5", "map that FC6 sees"]


@pytest.fixture
def table(tmp_path: Path, make_run: MakeRun, request: pytest.FixtureRequest) -> pd.DataFrame:
    make_run(f"size={request.param}")
    return kept(finished(tmp_path / "runs")[0]).set_index("what")


@pytest.mark.parametrize(
    ("table", "other"), [("paper", []), ("half", [1]), ("eighth", [1, 2, 3])], indirect=["table"]
)
def test_the_scale_models_keep_maps_windows_and_scales(
    table: pd.DataFrame, other: list[int]
) -> None:
    assert table.loc[MAPS, "here"].tolist() == ["28x28", "14x14", "7x7"]
    for q, cells in ((224, 1), (256, 2), (288, 3), (384, 6), (512, 10)):
        assert table.here[f"score map at Q={q}"] == f"{cells}x{cells}"
        assert table.here[f"overhang at Q={q} (px)"] == "0"
    assert table.here["whole pixels for S and Q of 224 to 512"] == "all"
    lost = [name for name in table.index if "block" in name and table.kept[name] == "no"]
    # A block's map is the crop, until the first kept halving of the paper's nets.
    assert lost == [f"map of block {block}" for block in other]
    assert (table.kept == "yes").all() or other


@pytest.mark.parametrize("table", ["eighth"], indirect=True)
def test_an_eighth_differs_where_the_layer_list_says(table: pd.DataFrame) -> None:
    assert table.loc["map of block 3"].tolist() == ["28x28", "56x56", "no"]
    # Ten 3x3 at steps of 1 px see 21, a pooling 22; three at steps of 2 px see 34, a pooling 36.
    seen = table.loc["share of the crop that a cell before FC6 sees"]
    assert seen.tolist() == ["1.29 (36 of 28 px)", "0.95 (212 of 224 px)", "no"]
    lrn = table.loc["channels that local response normalisation sums over"]
    assert lrn.tolist() == ["4 of 4", "5 of 64", "no"]


@pytest.mark.parametrize("table", ["tiny"], indirect=True)
def test_tiny_keeps_hardly_anything(table: pd.DataFrame) -> None:
    assert table.loc[MAPS, "here"].tolist() == ["4x4", "2x2", "1x1"]
    # 256 is 37 pixels: two windows of 32, 32 apart, need 64.
    assert table.here["overhang at Q=256 (px)"] == "27"
    whole = table.here["whole pixels for S and Q of 224 to 512"]
    assert whole == "all but 256, 288, 320, 352, 384, 416, 480, 512", "448 is 64"
