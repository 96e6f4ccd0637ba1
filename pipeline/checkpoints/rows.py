"""The sum of the hashes of rows, compiled: many small rows cost no more than few long ones, and no lock is held.

A row is padded with zeros to words of 64 bits, dealt to four lanes. A lane takes in a word by x = (x ^ word) * PRIME,
x ^= x >> 32: steps that can be undone, so that any change of one word changes its lane. At the end each of the four
words of the result is splitmix64 over its own number, the row's number and all four lanes.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from data_shards.splitmix import FIRST, GAMMA, SECOND, U64
from pipeline.checkpoints.content import MODULUS

_TOGETHER = 16 << 20  # bytes that are padded at once
_FIRST, _SECOND, _GAMMA, _PRIME = U64(FIRST), U64(SECOND), U64(GAMMA), U64(0x9FB21C651E98DF25)
_LOW = U64(0xFFFFFFFF)


def sum_of_rows(content: NDArray[np.uint8], rows: int, first: int = 0) -> int:
    """The sum for `rows` rows that lie in `content` (bytes, 1-D) one after the other, `first` the number of the first.

    A tensor without dimensions is one row. Equal for any way to cut a tensor into ranges of rows, once the parts are
    added modulo 2^256.
    """
    if not content.size:
        return 0
    width, halves = content.size // rows, np.zeros(8, U64)
    if width % 8 == 0 and content.ctypes.data % 8 == 0:
        _add(content.reshape(rows, width).view("<u8"), U64(first), halves)
    else:
        table, step = content.reshape(rows, width), max(1, _TOGETHER // width)
        for start in range(0, rows, step):
            some = table[start : start + step]
            padded = np.zeros((len(some), -(-width // 8) * 8), np.uint8)
            padded[:, :width] = some
            _add(padded.view("<u8"), U64(first + start), halves)
    return sum(int(half) << (32 * place) for place, half in enumerate(halves)) % MODULUS


def _compiled(function):  # type: ignore[no-untyped-def]
    options = {"nogil": True, "boundscheck": False, "error_model": "numpy"}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # numba found no folder for its cache
        return numba.njit(**options)(function)


@numba.njit(nogil=True, inline="always")
def _mix(x):  # type: ignore[no-untyped-def]
    x = (x ^ (x >> U64(30))) * _FIRST
    x = (x ^ (x >> U64(27))) * _SECOND
    return x ^ (x >> U64(31))


@_compiled
def _add(words, first, halves):  # type: ignore[no-untyped-def]
    """Add rows of words to sums that are kept in halves of 32 bits, lowest first: 2^32 rows fit."""
    for row in range(words.shape[0]):
        a, b, c, d = U64(1), U64(2), U64(3), U64(4)
        count = words.shape[1]
        for place in range(0, count - 3, 4):
            a = (a ^ words[row, place]) * _PRIME
            b = (b ^ words[row, place + 1]) * _PRIME
            c = (c ^ words[row, place + 2]) * _PRIME
            d = (d ^ words[row, place + 3]) * _PRIME
            a ^= a >> U64(32)
            b ^= b >> U64(32)
            c ^= c >> U64(32)
            d ^= d >> U64(32)
        for place in range(count - count % 4, count):
            a = (a ^ words[row, place]) * _PRIME
            a ^= a >> U64(32)
        number = (first + U64(row)) * _GAMMA
        for lane in range(4):
            x = _mix(number + U64(lane + 1))
            x = _mix(_mix(_mix(_mix(x ^ a) ^ b) ^ c) ^ d)
            halves[2 * lane] += x & _LOW
            halves[2 * lane + 1] += x >> U64(32)
