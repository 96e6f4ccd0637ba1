"""How sure a mean over repetitions is: Student's t interval, for a handful of seeds as for many."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence


def of_mean(values: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """The mean, and half the width of its confidence interval; NaN for the half where there is one value only."""
    mean = statistics.fmean(values)
    if len(values) < 2:
        return mean, math.nan
    return mean, student(len(values) - 1, level) * statistics.stdev(values) / math.sqrt(len(values))


def student(freedom: int, level: float = 0.95) -> float:
    """The t below which, and above minus which, Student's distribution has `level` of its mass.

    By bisection over the closed form for whole degrees of freedom (Abramowitz and Stegun 1964, 26.7.3 and 26.7.4).
    """
    low, high = 0.0, 1.0
    while _mass(high, freedom) < level:
        high *= 2
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if _mass(middle, freedom) < level else (low, middle)
    return high


def _mass(t: float, freedom: int) -> float:
    """The mass of Student's distribution between -t and t."""
    angle = math.atan(t / math.sqrt(freedom))
    if freedom == 1:
        return 2 / math.pi * angle
    term, total = 1.0, 1.0
    odd = freedom % 2
    for k in range(1, (freedom - odd) // 2):
        term *= (2 * k - 1 + odd) / (2 * k + odd) * math.cos(angle) ** 2
        total += term
    if odd:
        return 2 / math.pi * (angle + math.sin(angle) * math.cos(angle) * total)
    return math.sin(angle) * total
