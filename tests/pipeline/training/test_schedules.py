"""Durations and the learning rate over a run."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.training.schedules import Duration, WarmupCosine, warmup_cosine


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("100 epochs", 1250.0),
        ("1 epoch", 12.5),
        ("0.5 epochs", 6.25),
        ("5k steps", 5000.0),
        ("1.5M steps", 1.5e6),
        ("10%", 200.0),
        ("2.5 %", 50.0),
        ("700", 700.0),
        (700, 700.0),
        ("12_500 steps", 12500.0),
        ("5k", 5000.0),
        ("0 steps", 0.0),
    ],
)
def test_a_duration_means_so_many_steps(text: str | int, steps: float) -> None:
    assert Duration.parse(text).steps(per_epoch=12.5, total=2000) == pytest.approx(steps)


@pytest.mark.parametrize("text", ["", "epochs", "ten epochs", "5 days", "-3 steps", "1e3 steps", "% 5", "5 steps!"])
def test_what_is_no_duration_is_answered_with_the_known_forms(text: str) -> None:
    with pytest.raises(ValueError, match='write "100 epochs"'):
        Duration.parse(text)


def test_a_share_needs_a_whole() -> None:
    with pytest.raises(ValueError, match="10% is a share of a whole"):
        Duration.parse("10%").steps(per_epoch=5)


@pytest.mark.parametrize(("text", "read"), [("100 epochs",) * 2, ("5k steps", "5000 steps"), ("10%",) * 2])
def test_a_duration_reads_as_it_was_written(text: str, read: str) -> None:
    assert str(Duration.parse(text)) == read


def test_the_rate_equals_the_formula_of_the_swav_repository() -> None:
    """main_swav.py: linspace for the warm-up, then a cosine over the iterations that are left, the peak being 1."""
    steps, warmup, start, end = 50, 10, 0.1, 0.01
    linear = [start + (1 - start) * i / warmup for i in range(warmup)]
    rest = steps - warmup
    cosine = [end + 0.5 * (1 - end) * (1 + math.cos(math.pi * i / (rest - 1))) for i in range(rest)]
    found = [warmup_cosine(step, steps, warmup, start, end) for step in range(steps)]
    assert found == pytest.approx(linear + cosine)


@given(
    steps=st.integers(1, 500),
    share=st.floats(0, 1),
    start=st.floats(0, 1),
    end=st.floats(0, 1),
)
def test_the_rate_stays_between_its_ends_and_the_peak_rises_then_falls(
    steps: int, share: float, start: float, end: float
) -> None:
    warmup = share * steps
    rates = [warmup_cosine(step, steps, warmup, start, end) for step in range(steps)]
    assert all(min(start, end) - 1e-9 <= rate <= 1 + 1e-9 for rate in rates)
    rising = [rate for step, rate in enumerate(rates) if step < warmup]
    falling = [rate for step, rate in enumerate(rates) if step >= warmup]
    assert rising == sorted(rising)
    assert all(a >= b - 1e-12 for a, b in itertools.pairwise(falling))


def test_the_last_step_has_the_end_rate_and_warm_up_may_be_given_in_epochs() -> None:
    schedule = WarmupCosine(warmup="2 epochs", start=0.0, end=0.001)
    rates = [schedule.factor(step, 100, per_epoch=5) for step in range(100)]
    assert rates[0] == 0
    assert rates[10] == 1
    assert rates[-1] == pytest.approx(0.001)
    assert max(rates) == 1


def test_no_warm_up_starts_at_the_full_rate() -> None:
    assert WarmupCosine(warmup="0%").factor(0, 10, per_epoch=5) == 1


@pytest.mark.parametrize("change", [{"warmup": "5 apples"}, {"start": 2.0}, {"end": -0.1}])
def test_a_schedule_that_means_nothing_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(change))):
        WarmupCosine(**change)  # type: ignore[arg-type]
