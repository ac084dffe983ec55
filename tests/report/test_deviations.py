"""What departs from the paper: listed once, without contradiction, with numbers counted by hand."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from repro.config.schema import Config
from repro.report.deviations import deviations, shapes
from repro.run.resolving import resolve
from repro.store.runs import Run
from tests.conftest import composed
from tests.report.conftest import result

Listed = Callable[..., list[tuple[str, str, str]]]
BLOG = ("arch=blog-vgg16", "recipe=blog", "size=blog", "scale=S224", "test=[centre]")
STILL = ("recipe.schedule=constant", "recipe.warmup=0", "recipe.weight_decay=0")
COLOURS = "mean and principal colours of 9,000 training images"


@pytest.fixture
def listed() -> Listed:
    """The deviations of a run that has these words, as if of this data."""

    def found(*words: str, **counts: Any) -> list[tuple[str, str, str]]:
        config: Config = composed(*words)
        request = resolve(config)
        ended = result(request.config, request.record, request.name)
        ended["fingerprint"] = ""
        ended["data"] = ended["data"] | counts
        return deviations(Run(Path(), request.name, request.identity, request.config, ended))

    return found


@pytest.mark.parametrize("size", ["paper", "eighth", "tiny", "blog"])
@pytest.mark.parametrize("words", [("arch=A-LRN", "scale=S384"), ("arch=D", "init=from_A")])
def test_nothing_is_listed_twice(listed: Listed, size: str, words: tuple[str, ...]) -> None:
    rows = listed(f"size={size}", *words)
    assert len(set(rows)) == len(rows)
    for one, other in itertools.combinations(rows, 2):
        assert one[1] not in other[1]
        assert one[1] != other[2], "a departure of one row is not the paper's in another"


@pytest.mark.parametrize(
    ("words", "counts", "here", "paper"),
    [
        (BLOG, {}, "input in 0-1, no mean subtracted", "input in 0-255, minus the"),
        (["recipe.clip=2"], {}, "gradient clipped to norm 2", "gradient not clipped"),
        (["size=eighth"], {}, "before FC6 sees: 1.29 (36 of 28 px)", "0.95 (212 of 224 px)"),
        (["arch=A-LRN"], {}, "normalisation sums over: 4 of 4", "5 of 64"),
        # S=256 and Q=288 are 36 pixels at an eighth; jitter's 512 is 64.
        ([], {}, "images of 28 pixels enlarged, to 36 at most", "not said"),
        (["data.enlarge=40"], {}, "images below 40 pixels enlarged to these before", "not said"),
        (["arch=D", "init=from_A"], {}, "layers that A lacks are initialised by glorot", "random"),
        (["arch=A-BN"], {}, "all parameters, biases and batch normalisation too", "not said"),
        (["arch=D"], {}, "initialisation glorot", "deeper nets from A"),
        (["data.mirror=true"], {}, "mirror image averaged", "not said"),
        ([], {"train": 9_001, "mean_of": 9_000}, COLOURS, "of all"),
        (["scale=S384"], {}, "dropout of an epoch as that one did", "not said"),
        (["precision=bf16"], {}, "tests in tf32", "float32"),
        (["test_precision=tf32"], {}, "tests in tf32", "float32"),
        (["scale=S384", "scale.lr_factor=1"], {}, "S=384 at 1 of the learning rate", "at 0.1 of"),
    ],
)
def test_a_departure_is_one_row(
    listed: Listed, words: list[str], counts: dict[str, Any], here: str, paper: str
) -> None:
    (row,) = [row for row in listed(*words, **counts) if here in row[1]]
    assert paper in row[2]


@pytest.mark.parametrize(
    ("words", "counts", "absent"),
    [
        (["size=half"], {}, "map that FC6 sees"),
        ([], {"smallest_side": 36}, "enlarged"),
        # A constant rate makes the two forms one; no decay decays nothing; Adam has neither.
        (STILL, {}, "as torch has it"),
        (["arch=D", "init=from_A"], {}, "initialisation"),
        (["precision=bf16", "test_precision=float32"], {}, "tests in"),
        ([], {"train": 9_000, "mean_of": 9_000}, "principal colours"),
        (["scale=S384", "scale.draws=new"], {}, "dropout of an epoch"),
    ],
)
def test_what_is_the_papers_is_no_row(
    listed: Listed, words: list[str], counts: dict[str, Any], absent: str
) -> None:
    assert not [row for row in listed(*words, **counts) if absent in row[1]]


@pytest.mark.parametrize(("size", "other"), [("paper", []), ("half", [1]), ("eighth", [1, 2, 3])])
def test_a_size_has_other_maps_up_to_the_first_halving_that_it_keeps(
    size: str, other: list[int]
) -> None:
    config = composed(f"size={size}")
    here, full = shapes(config, 10, config.arch)
    assert here["score map at Q=384"] == "6x6"
    assert here["whole pixels for S and Q of 224 to 512"] == "all"
    lost = [name for name in here if "block" in name and here[name] != full[name]]
    assert lost == [f"map of block {block}" for block in other]
    assert (here == full) == (size == "paper")
