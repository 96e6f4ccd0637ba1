"""How often to save: as often as failures and the cost of a save make right, and in time before the job's end.

A save that holds training up for δ seconds, every T, costs δ/T of the time; a failure, every M seconds on average,
costs half an interval. The sum is least at T = √(2δM) (Young, 1974). Daly (2006, eq. 37) takes into account that saves
and restarts fail too:

    T = √(2δM) · (1 + ⅓·√(δ/2M) + ⅑·δ/2M) − δ    for δ < 2M,    else M
"""

from __future__ import annotations

import math

FIRST = 60.0
"""Seconds to the first save of a run: until then nobody knows what one costs."""
LONGEST = 1800.0
"""Seconds between saves at most, however little fails: what is lost is someone's time."""
APART = 4.0
"""A save is written in the background for at most one part in so many of the time."""


def daly(cost: float, between: float) -> float:
    """Seconds of work between saves that cost `cost` seconds each, with a failure every `between` seconds."""
    if cost >= 2 * between:
        return between
    half = cost / (2 * between)
    return math.sqrt(2 * cost * between) * (1 + math.sqrt(half) / 3 + half / 9) - cost


def mean_between_failures(hours: float, nodes: int, worked: float = 0.0, failures: int = 0) -> float:
    """Seconds between failures of a job: what is expected of its nodes, as if one failure had been seen, and what was.

    `hours` are those between failures of one node; `worked` the seconds that the job has run, with `failures`.
    """
    return (3600 * hours / nodes + worked) / (1 + failures)


def interval(stall: float, seconds: float, between: float) -> float:
    """Seconds between saves that stop training for `stall` and take `seconds` until they are safe on the disk."""
    return min(max(daly(stall, between), APART * seconds), max(LONGEST, APART * seconds))
