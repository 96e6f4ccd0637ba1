"""Student's t interval against scipy."""

from __future__ import annotations

import math

import pytest

from pipeline.evaluation.interval import of_mean, student


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 9, 10, 99])
def test_the_quantile_is_that_of_scipy(freedom: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    for level in (0.5, 0.95, 0.99):
        assert student(freedom, level) == pytest.approx(stats.t.ppf((1 + level) / 2, freedom), rel=1e-9)


def test_a_mean_has_the_interval_of_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    values = [0.61, 0.64, 0.58, 0.66, 0.60]
    low, high = stats.t.interval(0.95, 4, loc=sum(values) / 5, scale=stats.sem(values))
    mean, half = of_mean(values)
    assert (mean - half, mean + half) == (pytest.approx(low), pytest.approx(high))


def test_of_one_value_nobody_knows_how_sure_it_is() -> None:
    mean, half = of_mean([0.5])
    assert mean == 0.5
    assert math.isnan(half)
