"""Which parts of the paper's geometry a size keeps, against sides counted by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from repro.report.built import activations, kept
from repro.store.runs import ACTIVATIONS, Run, finished
from tests.report.conftest import MakeRun


@pytest.fixture
def run(tmp_path: Path, make_run: MakeRun, request: pytest.FixtureRequest) -> Run:
    make_run(f"size={request.param}")
    return finished(tmp_path / "runs")[0]


MAPS = ["map of block 4", "map of block 5", "map that FC6 sees"]


@pytest.mark.parametrize("run", ["paper", "half", "quarter", "eighth"], indirect=True)
def test_the_scale_models_keep_maps_windows_and_scales(run: Run) -> None:
    table = kept(run).set_index("what")
    assert table.loc[MAPS, "here"].tolist() == ["28x28", "14x14", "7x7"]
    for q, cells in ((224, 1), (256, 2), (288, 3), (384, 6), (512, 10)):
        assert table.here[f"score map at Q={q}"] == f"{cells}x{cells}"
        assert table.here[f"overhang at Q={q} (px)"] == "0"
    assert table.here["whole pixels for S and Q of 224 to 512"] == "all"
    whole = [name for name in table.index if "map" in name or "overhang" in name]
    at_paper = run.config.size.crop == 224
    assert at_paper == (table.kept == "yes").all()
    assert [name for name in whole if table.kept[name] == "no"] == [
        # A block's map is the crop, until the first kept halving of the paper's nets.
        f"map of block {block}"
        for block in range(1, 6 - run.config.size.poolings)
    ]


@pytest.mark.parametrize("run", ["eighth"], indirect=True)
def test_an_eighth_differs_where_the_layer_list_says(run: Run) -> None:
    table = kept(run).set_index("what")
    assert table.loc["map of block 3"].tolist() == ["28x28", "56x56", "no"]
    # Ten 3x3 at steps of 1 px see 21, a pooling 22; three at steps of 2 px see 34, a pooling 36.
    seen = table.loc["share of the crop that a cell before FC6 sees, D"]
    assert seen.tolist() == ["1.29 (36 of 28 px)", "0.95 (212 of 224 px)", "no"]
    lrn = table.loc["what local response normalisation sums over, A-LRN"]
    assert lrn.tolist() == ["4 of 4 channels", "5 of 64 channels", "no"]
    assert table.here["channels of the first and the last convolution"] == "4, 32"
    assert table.here["units of FC6"] == "256"


@pytest.mark.parametrize("run", ["tiny"], indirect=True)
def test_tiny_keeps_hardly_anything(run: Run) -> None:
    table = kept(run).set_index("what")
    assert table.loc[MAPS, "here"].tolist() == ["4x4", "2x2", "1x1"]
    # 256 is 37 pixels: two windows of 32, 32 apart, need 64.
    assert table.here["overhang at Q=256 (px)"] == "27"
    whole = table.here["whole pixels for S and Q of 224 to 512"]
    assert whole == "all but 256, 288, 320, 352, 384, 416, 480, 512", "448 is 64"


def test_activations_through_the_depth(tmp_path: Path, make_run: MakeRun) -> None:
    names = [make_run(f"arch={arch}", "init=normal") for arch in ("A", "E")]
    make_run("arch=B")
    for name, convs in zip(names, (8, 16), strict=True):
        layers = [*(f"conv{place}" for place in range(1, convs + 1)), "FC1", "FC2", "FC3"]
        rows = ["net,layer,rms"]
        for number, width in enumerate(("as run", "full width")):
            rows += [f"{width},{name},{10.0 ** -(number + p)}" for p, name in enumerate(layers)]
        (tmp_path / "runs" / name / ACTIVATIONS).write_text("\n".join(rows) + "\n")
    table = activations(finished(tmp_path / "runs"))
    assert table.set_index(["net", "width"]).drop(columns="initialisation").to_dict("index") == {
        ("A", "as run"): {"first convolution": 1, "last convolution": 1e-7, "last layer": 1e-10},
        ("A", "full width"): {
            "first convolution": 0.1,
            "last convolution": 1e-8,
            "last layer": 1e-11,
        },
        ("E", "as run"): {"first convolution": 1, "last convolution": 1e-15, "last layer": 1e-18},
        ("E", "full width"): {
            **{"first convolution": 0.1, "last convolution": 1e-16, "last layer": 1e-19}
        },
    }
    assert activations([]).empty
