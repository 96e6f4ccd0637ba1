"""How sure a figure is: a share of so many samples, and a mean over so many seeds.

The first says what another test set of this size would give, the second what another seed would. They are different
questions: a small interval of one is no word on the other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist, fmean, stdev

LEVEL = 0.95
"""How often an interval holds the true value."""


def wilson(right: int, samples: int, level: float = LEVEL) -> tuple[float, float]:
    """Least and greatest share that fit `right` of `samples` (Wilson 1927); from 0 to 1 where there are no samples."""
    if samples == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + level) / 2)
    share, narrow = right / samples, 1 + z * z / samples
    centre = share + z * z / (2 * samples)
    spread = z * math.sqrt(share * (1 - share) / samples + z * z / (4 * samples * samples))
    return max(0.0, (centre - spread) / narrow), min(1.0, (centre + spread) / narrow)


def over_seeds(values: Sequence[float], level: float = LEVEL) -> tuple[float, float]:
    """Mean, and half the width of its interval by Student's t, of at least two independent runs."""
    count = len(values)
    assert count > 1, "one run has no spread"
    return fmean(values), quantile((1 + level) / 2, count - 1) * stdev(values) / math.sqrt(count)


def quantile(share: float, freedom: int) -> float:
    """The value that Student's t with so many degrees of freedom stays below with probability `share`, 0.5 to 1."""
    low, high = 0.0, 1.0
    while below(high, freedom) < share:
        high *= 2
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if below(middle, freedom) < share else (low, middle)
    return high


def below(t: float, freedom: int) -> float:
    """Probability that Student's t is below t >= 0: the finite series of Abramowitz and Stegun, 26.7.3 and 26.7.4."""
    angle = math.atan(t / math.sqrt(freedom))
    cosine = math.cos(angle)
    odd = freedom % 2
    term = cosine if odd else 1.0
    total = term if freedom > 1 else 0.0
    for n in range(2 + odd, freedom, 2):
        term *= cosine * cosine * (n - 1) / n
        total += term
    inside = 2 / math.pi * (angle + math.sin(angle) * total) if odd else math.sin(angle) * total
    return (1 + inside) / 2
