"""Durations and the learning rate over a run."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter
from torch.optim.lr_scheduler import CosineAnnealingLR, MultiStepLR

from pipeline.stages import finetune, pretrain
from pipeline.training.schedules import (
    Duration,
    Schedule,
    StepDecay,
    WarmupConstant,
    WarmupCosine,
    fixed_cosine,
    rescaled_cosine,
)


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


@pytest.fixture
def optimizer() -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.zeros(1)], 1.0)


def rates_of(scheduler: torch.optim.lr_scheduler.LRScheduler, steps: int) -> list[float]:
    """The rate of each step, as torch's scheduler sets it for an optimizer whose rate is 1."""
    rates = []
    for _ in range(steps):
        rates.append(scheduler.get_last_lr()[0])
        scheduler.optimizer.step()
        scheduler.step()
    return rates


def test_the_rescaled_rate_equals_the_formula_of_the_swav_repository() -> None:
    """main_swav.py: linspace for the warm-up, then a cosine over the iterations that are left, the peak being 1."""
    steps, warmup, start, end = 50, 10, 0.1, 0.01
    linear = [start + (1 - start) * i / warmup for i in range(warmup)]
    rest = steps - warmup
    cosine = [end + 0.5 * (1 - end) * (1 + math.cos(math.pi * i / (rest - 1))) for i in range(rest)]
    found = [rescaled_cosine(step, steps, warmup, start, end) for step in range(steps)]
    assert found == pytest.approx(linear + cosine)


def test_without_a_warm_up_the_rescaled_rate_is_torchs_cosine_annealing(optimizer: torch.optim.Optimizer) -> None:
    expected = rates_of(CosineAnnealingLR(optimizer, T_max=39, eta_min=0.01), 40)
    schedule = WarmupCosine(warmup=0, end=0.01)
    assert [schedule.factor(step, 40, per_epoch=5) for step in range(40)] == pytest.approx(expected)


def fvcore_composite(where: float, lengths: tuple[float, float], start: float, end: float) -> float:
    """fvcore's CompositeParamScheduler, linear then cosine, interval_scaling [rescaled, fixed], transcribed."""
    number, total = 0, lengths[0]
    while where + 1e-6 > total and number < 1:
        number += 1
        total += lengths[number]
    if number == 0:
        where = (where - (total - lengths[0])) / lengths[0]
        return 1.0 * where + start * (1 - where)
    return end + 0.5 * (1.0 - end) * (1 + math.cos(math.pi * where))


def test_the_fixed_rate_is_the_one_that_vissl_trained_seers_10b_with() -> None:
    """Lengths, 126,008 iterations and rates are the configuration's: .15 to 9.3 to .0093."""
    steps, lengths, start, end = 126_008, (0.043648, 0.956352), 0.15 / 9.3, 0.001
    schedule = WarmupCosine(warmup="4.3648%", start=start, end=end, cosine="fixed")
    inspected = [*range(0, steps, 97), *range(5_490, 5_510), steps - 1]
    found = [schedule.factor(step, steps, per_epoch=steps) for step in inspected]
    assert found == pytest.approx([fvcore_composite(step / steps, lengths, start, end) for step in inspected])
    in_steps = replace(schedule, warmup="5500 steps")
    assert [in_steps.factor(step, steps, steps) for step in inspected] == pytest.approx(found, rel=1e-6)


def test_at_vissls_hand_over_after_5500_steps_the_rate_drops_to_995_thousandths() -> None:
    schedule = WarmupCosine(warmup="4.3648%", start=0.016129, end=0.001, cosine="fixed")
    rates = [9.3 * schedule.factor(step, 126_008, per_epoch=126_008) for step in range(5_498, 5_503)]
    assert rates[0] < rates[1] > rates[2] > rates[3]
    assert rates[1] == pytest.approx(9.3, rel=2e-4)
    assert rates[2] / 9.3 == pytest.approx(0.9953, abs=5e-5)


def test_after_its_warm_up_a_constant_rate_stays() -> None:
    schedule = WarmupConstant(warmup="8k steps", start=0.03125)
    assert [schedule.factor(step, 244_140, 244_140) for step in (0, 4_000, 8_000, 244_139)] == [0.03125, 0.515625, 1, 1]


def test_step_decay_is_torchs_multi_step(optimizer: torch.optim.Optimizer) -> None:
    expected = rates_of(MultiStepLR(optimizer, [15, 30, 45], gamma=0.1), 50)
    schedule = StepDecay(milestones=("3 epochs", "60%", 45))
    assert [schedule.factor(step, 50, per_epoch=5) for step in range(50)] == pytest.approx(expected)


def test_step_decay_may_warm_up_and_milestones_may_fall_between_steps() -> None:
    schedule = StepDecay(milestones=("2 epochs",), times=0.5, warmup="1 epoch", start=0.5)
    assert [schedule.factor(step, 10, per_epoch=2.5) for step in (0, 1, 2, 3, 4, 5, 9)] == [
        0.5,
        0.7,
        0.9,
        1,
        1,
        0.5,
        0.5,
    ]


def test_a_recipe_names_its_schedule_and_a_cosine_is_the_default() -> None:
    read: TypeAdapter[Any] = TypeAdapter(Schedule)
    assert read.validate_python({"name": "step_decay", "milestones": ["8 epochs"]}) == StepDecay(
        milestones=("8 epochs",)
    )
    assert read.validate_python({"name": "warmup_constant"}) == WarmupConstant()
    for recipe in (pretrain.Config, finetune.Config):
        assert recipe().schedule == WarmupCosine()


@given(
    steps=st.integers(1, 500),
    share=st.floats(0, 1),
    start=st.floats(0, 1),
    end=st.floats(0, 1),
    cosine=st.sampled_from([rescaled_cosine, fixed_cosine]),
)
def test_the_rate_stays_between_its_ends_and_the_peak_rises_then_falls(
    steps: int, share: float, start: float, end: float, cosine: Callable[..., float]
) -> None:
    warmup = share * steps
    rates = [cosine(step, steps, warmup, start, end) for step in range(steps)]
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


@pytest.mark.parametrize("change", [{"milestones": ()}, {"milestones": ("8 apples",)}, {"times": 1.0}, {"start": -1.0}])
def test_steps_that_mean_nothing_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(change))):
        StepDecay(**change)  # type: ignore[arg-type]
