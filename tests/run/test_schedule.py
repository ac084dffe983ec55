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


def test_steps_divide_the_rate_at_two_thirds_and_five_sixths() -> None:
    steps = schedule("steps", 1.0, 60, warmup=10)
    rates = [steps.at(i) for i in (4, 9, 39, 40, 49, 50, 59)]
    assert rates == pytest.approx([0.5, 1, 1, 0.1, 0.1, 0.01, 0.01])
