from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repro.config.choices import choice
from repro.config.schema import Recipe
from repro.run.schedule import Schedule


def schedule(kind: str, rate: float, iterations: int, **changes: int) -> Schedule:
    recipe = Recipe(**choice("recipe", "quick") | {"warmup": 0} | changes)
    return Schedule(replace(recipe, schedule=kind), rate, iterations)


def plateau(patience: int = 2, drops: int = 3) -> Schedule:
    return schedule("plateau", 0.01, 1000, patience=patience, drops=drops)


def test_the_papers_schedule_drops_three_times_and_stops() -> None:
    paper, rates = plateau(), []
    for error in [90, 50, 40, 40, 41, 30, 30, 30, 29, 29, 29, 29, 29, 29]:
        rates.append(paper.at(0))
        paper.epoch_ended(error)
        if paper.finished:
            break
    # Best at epochs 1, 2, 3, 6, 9; two stale epochs divide the rate, the fourth time they stop.
    assert rates == pytest.approx(5 * [1e-2] + 3 * [1e-3] + 3 * [1e-4] + 2 * [1e-5])
    assert paper.finished


@given(st.lists(st.floats(0, 100), max_size=60), st.integers(1, 4), st.integers(0, 3))
def test_a_plateau_never_raises_the_rate_and_never_drops_more_often(
    errors: list[float], patience: int, drops: int
) -> None:
    falls = plateau(patience, drops)
    before = falls.at(0)
    for error in errors:
        falls.epoch_ended(error)
        assert falls.at(0) <= before
        before = falls.at(0)
    assert before >= 0.01 / 10**drops * 0.999


@given(st.lists(st.floats(0, 100), max_size=30), st.integers(0, 30))
def test_state_carries_it_over(errors: list[float], cut: int) -> None:
    whole, first, second = plateau(), plateau(), plateau()
    for error in errors:
        whole.epoch_ended(error)
    for error in errors[:cut]:
        first.epoch_ended(error)
    second.load(first.state())
    for error in errors[cut:]:
        second.epoch_ended(error)
    assert second == whole


def test_warm_up_and_linear_fall() -> None:
    linear = schedule("linear", 1.0, 100, warmup=10)
    assert [linear.at(i) for i in (0, 4, 9)] == pytest.approx([0.1, 0.5, 0.91])
    assert [linear.at(i) for i in (50, 99)] == pytest.approx([0.5, 0.01])
    constant = schedule("constant", 1.0, 100)
    assert {constant.at(i) for i in range(100)} == {1.0}


def test_steps_divide_the_rate_at_two_thirds_and_five_sixths() -> None:
    steps = schedule("steps", 1.0, 60, warmup=10)
    rates = [steps.at(i) for i in (4, 9, 39, 40, 49, 50, 59)]
    assert rates == pytest.approx([0.5, 1, 1, 0.1, 0.1, 0.01, 0.01])
