"""When the next checkpoint is due."""

from __future__ import annotations

import pytest

from pipeline.goodput import Account
from pipeline.training.intervals import FIRST, interval
from pipeline.training.pace import Pace
from pipeline.training.settings import TrainerConfig


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_by_the_clock_first_after_a_minute_and_then_by_what_one_cost() -> None:
    clock = Clock()
    pace = Pace(0, between=3600.0, clock=clock)
    clock.now = FIRST - 1
    assert not pace.is_due()
    clock.now = FIRST
    assert pace.is_due()
    pace.begin()
    pace.cost(stall=2.0, seconds=5.0)
    clock.now = FIRST + interval(2.0, 5.0, 3600.0) - 1
    assert not pace.is_due()
    clock.now += 1
    assert pace.is_due()
    assert not any(pace.is_due_at(step) for step in range(1, 100))


def test_by_steps_the_clock_does_not_count() -> None:
    clock = Clock()
    pace = Pace(3, between=3600.0, clock=clock)
    clock.now = 1e9
    assert not pace.is_due()
    assert [step for step in range(1, 10) if pace.is_due_at(step)] == [3, 6, 9]


@pytest.mark.parametrize(("every", "steps"), [("5%", 50), ("2 epochs", 40), ("7 steps", 7), ("0.01%", 1)])
def test_a_recipe_says_how_many_steps(every: str, steps: int) -> None:
    assert Pace.of(TrainerConfig(checkpoint_every=every), 1000, 20.0, ()).every == steps


def test_by_default_failures_of_the_nodes_and_of_this_run_decide() -> None:
    settings = TrainerConfig(nodes=4, batch=256, hours_between_failures=100)
    killed = [Account(start=n, begin=0, step=10, elapsed=900.0) for n in (1, 2)]
    told = Account(start=3, begin=10, step=20, elapsed=1800.0, end="preempted")
    assert (Pace.of(settings, 10, 1.0, ()).every, Pace.of(settings, 10, 1.0, ()).between) == (0, 90_000)
    assert Pace.of(settings, 10, 1.0, [*killed, told]).between == (90_000 + 3600) / 3


def test_a_recipe_is_told_what_is_no_interval() -> None:
    with pytest.raises(ValueError, match="checkpoint_every: 'sometimes' is no duration"):
        TrainerConfig(checkpoint_every="sometimes")
    with pytest.raises(ValueError, match="hours_between_failures must be above 0"):
        TrainerConfig(hours_between_failures=0)
