"""Lengths are those that training will have."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipeline.plan.length import length
from pipeline.training.schedules import WarmupCosine
from tests.pipeline.plan.trainings import training


def test_epochs_become_steps_where_the_data_is_known() -> None:
    plan = replace(
        training(duration="3 epochs", checkpoint_every="50%"), samples=1000, schedule=WarmupCosine(warmup="10%")
    )
    found = length(plan, 0.6)
    assert (found.steps, found.samples, found.warmup, found.checkpoint_every) == (188, 188 * 16, 19, 94)
    assert found.epochs == pytest.approx(3.008)


def test_without_the_data_what_is_in_epochs_is_not_known() -> None:
    assert length(training(duration="3 epochs", checkpoint_every="auto"), 0.6).checkpoint_every is None
    found = length(training(duration="3 epochs", checkpoint_every="1 epochs"), 0.6)
    assert (found.steps, found.samples, found.epochs, found.checkpoint_every) == (None, None, None, None)
    assert found.warmup == 10


def test_steps_need_no_data() -> None:
    found = length(training(), 0.6)
    assert (found.steps, found.samples, found.epochs) == (100, 1600, None)
