"""Seeded hashing of integers: where every random decision about data comes from.

`mix` is the finaliser of splitmix64 (Steele, Lea and Flood, 2014) applied to value + key. It needs no state, so any
draw can be made out of order, and it does not change with the version of numpy as its generators may.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

U64 = np.uint64
GAMMA = 0x9E3779B97F4A7C15
FIRST, SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_MASK = (1 << 64) - 1


def mix(value: ArrayLike, key: ArrayLike) -> NDArray[np.uint64]:
    """64 well mixed bits for each pair of value and key (uint64 arrays or scalars, broadcast)."""
    with np.errstate(over="ignore"):
        x = np.asarray(value, U64) + np.asarray(key, U64) * U64(GAMMA) + U64(GAMMA)
        x = (x ^ (x >> U64(30))) * U64(FIRST)
        x = (x ^ (x >> U64(27))) * U64(SECOND)
        return np.asarray(x ^ (x >> U64(31)), U64)


def key_of(*parts: int) -> int:
    """One 64-bit key for several integers; their order counts."""
    key = 0
    for part in parts:  # `mix` on plain integers, which are ten times faster than arrays of one
        x = (part + key * GAMMA + GAMMA) & _MASK
        x = (x ^ (x >> 30)) * FIRST & _MASK
        x = (x ^ (x >> 27)) * SECOND & _MASK
        key = x ^ (x >> 31)
    return key


def uniform(count: int, key: int) -> NDArray[np.float64]:
    """`count` numbers in [0, 1)."""
    return (mix(np.arange(count, dtype=U64), key) >> U64(11)).astype(np.float64) * 2.0**-53


def below(limit: int, key: int) -> int:
    """One integer in [0, limit)."""
    return (key_of(key) * limit) >> 64
