"""Intervals: scipy's t, Wilson's formula by its own equation, and how often they hold the truth."""

from __future__ import annotations

import math
import random
from statistics import NormalDist

import pytest
from scipy import stats

from pipeline.evaluation.intervals import below, over_seeds, quantile, wilson


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 5, 9, 30, 121])
def test_students_t_is_scipys(freedom: int) -> None:
    for t in (0.0, 0.3, 1.0, 2.5, 12.0):
        assert below(t, freedom) == pytest.approx(stats.t.cdf(t, freedom), abs=1e-12)
    for share in (0.6, 0.9, 0.975, 0.995):
        assert quantile(share, freedom) == pytest.approx(stats.t.ppf(share, freedom), rel=1e-9)


def test_three_seeds() -> None:
    mean, half = over_seeds([0.70, 0.72, 0.74])
    assert mean == pytest.approx(0.72)
    assert half == pytest.approx(4.302653 * 0.02 / math.sqrt(3), rel=1e-6)
    low, high = stats.t.interval(0.95, 2, loc=0.72, scale=stats.sem([0.70, 0.72, 0.74]))
    assert (mean - half, mean + half) == pytest.approx((low, high))


@pytest.mark.parametrize(("right", "samples"), [(0, 1), (1, 1), (0, 50), (50, 50), (7, 10), (38012, 50000)])
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_wilsons_ends_are_where_the_score_test_turns(right: int, samples: int, level: float) -> None:
    # The ends p solve |share - p| = z sqrt(p (1 - p) / n), from which Wilson derived them.
    z, share = NormalDist().inv_cdf((1 + level) / 2), right / samples
    ends = wilson(right, samples, level)
    assert 0 <= ends[0] <= share <= ends[1] <= 1
    for end in ends:
        assert abs(share - end) == pytest.approx(z * math.sqrt(end * (1 - end) / samples), abs=1e-9)
    theirs = stats.binomtest(right, samples).proportion_ci(level, method="wilson")
    assert ends == pytest.approx((theirs.low, theirs.high))


def test_no_samples_say_nothing() -> None:
    assert wilson(0, 0) == (0.0, 1.0)


def test_intervals_over_seeds_hold_the_truth_as_often_as_they_say() -> None:
    draw, held = random.Random(0), 0
    for _ in range(2000):
        mean, half = over_seeds([draw.gauss(0.7, 0.02) for _ in range(3)])
        held += abs(mean - 0.7) <= half
    assert held / 2000 == pytest.approx(0.95, abs=0.015)
