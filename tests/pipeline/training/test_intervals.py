"""Intervals between saves, beside the least of what a run is expected to take."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pipeline.training.intervals import APART, LONGEST, daly, interval, mean_between_failures


def expected_time(work: float, cost: float, between: float) -> float:
    """Seconds for each second of work, with failures at random: Daly (2006), eq. 20, without the time of a restart."""
    return between * math.expm1((work + cost) / between) / work


@pytest.mark.parametrize(("cost", "between"), [(0.05, 3.6e6), (10.0, 28_000.0), (60.0, 6_480.0), (300.0, 3_600.0)])
def test_the_interval_is_where_the_expected_time_is_least(cost: float, between: float) -> None:
    candidates = np.geomspace(cost / 10, 3 * between, 20_000)
    best = candidates[np.argmin([expected_time(work, cost, between) for work in candidates])]
    assert daly(cost, between) == pytest.approx(best, rel=0.01)


def test_saves_that_cost_more_than_failures_allow_are_as_far_apart_as_these() -> None:
    assert daly(100, 50) == daly(200, 50) == 50
    assert daly(0, 50) == 0


def test_what_is_expected_of_the_nodes_counts_as_one_failure_seen() -> None:
    assert mean_between_failures(1000, 1) == 3.6e6
    assert mean_between_failures(1000, 100) == 3.6e4
    assert mean_between_failures(1000, 100, worked=5.4e4, failures=2) == 3e4
    assert mean_between_failures(1000, 100, worked=1e5) > 3.6e4, "a job that never fails is thought better of"


def test_a_save_is_written_for_a_part_of_the_time_only_and_none_is_waited_for_too_long() -> None:
    assert interval(stall=0.001, seconds=5, between=100) == APART * 5
    assert interval(stall=30, seconds=60, between=1e7) == LONGEST
    assert interval(stall=30, seconds=600, between=1e7) == APART * 600
