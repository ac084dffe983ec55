"""Which parts of the paper's geometry a size keeps, against sides counted by hand."""

import pytest

from repro.report.deviations import shapes
from tests.conftest import Compose

MAPS = ["map of block 4", "map of block 5", "map that FC6 sees"]
WHOLE = "whole pixels for S and Q of 224 to 512"


@pytest.mark.parametrize(("size", "other"), [("paper", []), ("half", [1]), ("eighth", [1, 2, 3])])
def test_the_scale_models_keep_maps_windows_and_scales(
    compose: Compose, size: str, other: list[int]
) -> None:
    config = compose(f"size={size}")
    here, full = shapes(config, 10, config.arch)
    assert [here[name] for name in MAPS] == ["28x28", "14x14", "7x7"]
    for q, cells in ((224, 1), (256, 2), (288, 3), (384, 6), (512, 10)):
        assert here[f"score map at Q={q}"] == f"{cells}x{cells}"
        assert here[f"overhang at Q={q} (px)"] == "0"
    assert here[WHOLE] == "all"
    # A block's map is the crop, until the first kept halving of the paper's nets.
    lost = [name for name in here if "block" in name and here[name] != full[name]]
    assert lost == [f"map of block {block}" for block in other]
    assert (here == full) == (size == "paper")
