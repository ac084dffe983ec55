"""What departs from the paper: listed once, without contradiction, with numbers counted by hand."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from repro.config.schema import Config
from repro.report.deviations import deviations, not_covered
from repro.run.request import resolve
from repro.store.archive import ARCHIVE, opened
from repro.store.runs import Run, finished
from tests.conftest import Compose
from tests.report.conftest import result

Listed = Callable[..., list[tuple[str, str, str]]]


@pytest.fixture
def listed(compose: Compose) -> Listed:
    """The deviations of a run that has these words, as if of this data."""

    def found(*words: str, fingerprint: str = "", **counts: Any) -> list[tuple[str, str, str]]:
        config: Config = compose(*words)
        request = resolve(config)
        ended = result(request.config, request.record, request.name)
        ended["fingerprint"] = fingerprint
        ended["data"] = ended["data"] | counts
        return deviations(Run(Path(), request.name, request.identity, request.config, ended))

    return found


def here(rows: list[tuple[str, str, str]], word: str) -> tuple[str, str]:
    """The one row that speaks of something."""
    (row,) = [row for row in rows if word in row[1]]
    return row[1:]


BLOG = ("arch=blog-vgg16", "recipe=blog", "size=blog", "scale=S224", "test=[centre]")


def test_the_blogs_input_is_said_once(listed: Listed) -> None:
    rows = listed(*BLOG)
    inputs = [row[1:] for row in rows if "input" in row[1] or "mean" in row[1]]
    assert inputs == [
        ("input in 0-1, no mean subtracted", "input in 0-255, minus the training set's mean colour")
    ]


def test_a_smaller_range_keeps_its_mean(listed: Listed) -> None:
    assert here(listed("recipe.input_range=1"), "input in")[0] == (
        "input in 0-1, minus the training set's mean colour"
    )
    assert not any("input in" in row[1] for row in listed())


@pytest.mark.parametrize("size", ["paper", "half", "quarter", "eighth", "tiny", "blog"])
@pytest.mark.parametrize("words", [(), ("arch=A-LRN",), ("scale=S384",), ("arch=D", "init=from_A")])
def test_nothing_is_listed_twice(listed: Listed, size: str, words: tuple[str, ...]) -> None:
    rows = listed(f"size={size}", *words)
    assert len(set(rows)) == len(rows)
    for one, other in itertools.combinations(rows, 2):
        assert one[1] not in other[1]
        assert one[1] != other[2], "a departure of one row is not the paper's in another"


def test_what_an_eighth_changes_by_the_layer_list(listed: Listed) -> None:
    rows = listed("arch=A-LRN", "size=eighth")
    assert here(rows, "cells a side") == (
        "maps of 28, 28 and 28 cells a side in blocks 1, 2 and 3",
        "224, 112 and 56 cells",
    )
    assert here(rows, "before FC6") == (
        "a cell before FC6 sees 36 pixels of a crop of 28 (D)",
        "212 of 224",
    )
    assert here(rows, "normalisation over") == (
        "local response normalisation over 4 of 4 channels",
        "5 of 64",
    )
    assert here(rows, "times as wide")[0] == "every layer 0.0625 times as wide"
    assert here(listed("size=half"), "cells a side")[0] == "maps of 112 cells a side in block 1"
    assert not any("FC6 sees" in row[1] for row in listed("size=half") if "before" not in row[1])
    assert here(listed("size=tiny"), "FC6 sees 1x1") == ("FC6 sees 1x1 cells", "7x7")


def test_the_papers_size_changes_no_map(listed: Listed) -> None:
    for arch in ("A-LRN", "E", "B-5x5", "alexnet"):
        rows = listed(f"arch={arch}", "size=paper", smallest_side=600)
        words = ("cells", "before FC6", "wide", "normalisation over", "enlarged", "crop of")
        assert not [row for row in rows for word in words if word in row[1]]


def test_images_smaller_than_the_largest_s_or_q(listed: Listed) -> None:
    # S=256 and Q=288 are 36 pixels at an eighth; jitter's 512 is 64; with one Q, 256 is 32.
    assert "enlarged, to 36 at most" in here(listed(), "images of 28 pixels")[0]
    jitter = listed("scale=jitter")
    assert "enlarged, to 64 at most" in here(jitter, "images of 28 pixels")[0]
    one = listed("test=[single_scale]")
    assert "enlarged, to 32 at most" in here(one, "images of 28 pixels")[0]
    assert not any("enlarged" in row[1] for row in listed(smallest_side=36))


def test_momentum_and_decay_are_torchs(listed: Listed) -> None:
    rows = listed()
    assert "Caffe" in here(rows, "momentum as torch has it")[1]
    assert here(rows, "biases") == ("weight decay on all parameters, biases too", "not said")
    # A constant rate makes the two forms one; no decay decays nothing; Adam has neither.
    still = listed("recipe.schedule=constant", "recipe.warmup=0", "recipe.weight_decay=0")
    assert not any("as torch has it" in row[1] or "biases" in row[1] for row in still)
    assert not any("as torch has it" in row[1] for row in listed(*BLOG))
    assert "batch normalisation too" in here(listed("arch=A-BN"), "biases")[0]


def test_how_weights_start(listed: Listed) -> None:
    assert "deeper nets from A" in here(listed("arch=D"), "initialisation glorot")[1]
    assert not any("initialisation" in row[1] for row in listed("arch=D", "init=from_A"))
    published = listed("arch=A", "init=normal_literal", "size=paper")
    assert not any("initialisation" in row[1] for row in published)


def test_of_how_many_images_the_mean_is(listed: Listed) -> None:
    word = "mean and principal colours of 9,000 training images"
    assert here(listed(train=9_001, mean_of=9_000), word)[1] == "of all"
    assert not any("principal colours" in row[1] for row in listed(train=9_000, mean_of=9_000))
    blog = listed(*BLOG, train=9_001, mean_of=9_000)
    assert not any("principal colours" in row[1] for row in blog), "no mean, no shift"


def test_a_mean_of_which_nothing_was_noted_is_of_ten_thousand_files(listed: Listed) -> None:
    assert not any("principal colours" in row[1] for row in listed(train=50_000)), "no files"
    evidence = opened(Path(__file__).parents[2] / "reports" / "tiny_imagenet" / ARCHIVE)
    (run,) = [
        run
        for run in finished(evidence)
        if run.name.startswith("A-S256-eighth-tiny_imagenet+first_classes=50-photos-he-s0")
    ]
    of = "mean and principal colours of 10,000 training images"
    assert here(deviations(run), of)[1] == "of all"


def test_what_a_run_draws_as_its_parent_did_is_said(listed: Listed) -> None:
    word = "draws order, crops, flips, colours and dropout of an epoch as that one did"
    assert here(listed("scale=S384"), word)[1] == "not said"
    assert not any(word in row[1] for row in listed())
    assert not any(word in row[1] for row in listed("scale=S384", "scale.draws=new"))


def test_the_later_stage_and_the_mirror(listed: Listed) -> None:
    assert here(listed("scale=S384"), "S=384 trained")[1] == "the rate is given, the length not"
    assert not any("S=384 trained" in row[1] for row in listed())
    assert here(listed("data.mirror=true"), "mirror image averaged")[1] == "not said"
    assert not any("mirror image averaged" in row[1] for row in listed())


def test_the_appendices_are_not_covered() -> None:
    assert "Appendices A and B are not covered yet" in not_covered()
    assert "Tables 8 to 12" in not_covered()
