"""The sum over rows is what its docstring says, in plain integers, and is blind to how rows were cut into pieces."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.checkpoints.content import MODULUS
from pipeline.checkpoints.rows import sum_of_rows

MASK = (1 << 64) - 1


def splitmix(x: int) -> int:
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB & MASK
    return x ^ (x >> 31)


def plain_sum(rows: list[bytes], first: int) -> int:
    """The same in plain integers."""
    total = 0
    for number, row in enumerate(rows, first):
        row += bytes(-len(row) % 8)
        words = [int.from_bytes(row[n : n + 8], "little") for n in range(0, len(row), 8)]
        lanes = [1, 2, 3, 4]
        for place, word in enumerate(words):
            lane = place % 4 if place < len(words) // 4 * 4 else 0
            lanes[lane] = (lanes[lane] ^ word) * 0x9FB21C651E98DF25 & MASK
            lanes[lane] ^= lanes[lane] >> 32
        for out in range(4):
            x = splitmix((number * 0x9E3779B97F4A7C15 + out + 1) & MASK)
            for lane in lanes:
                x = splitmix(x ^ lane)
            total += x << (64 * out)
    return total % MODULUS


def drawn(rows: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (rows, width), dtype=np.uint8)


@given(st.integers(1, 9), st.integers(1, 90), st.integers(0, 1 << 40), st.integers(0, 7))
def test_it_is_the_sum_in_plain_integers(rows: int, width: int, first: int, offset: int) -> None:
    table = drawn(rows, width)
    content = np.concatenate([np.zeros(offset, np.uint8), table.reshape(-1)])[offset:]  # at any address
    assert sum_of_rows(content, rows, first) == plain_sum([row.tobytes() for row in table], first)


@given(st.lists(st.integers(0, 20), max_size=4), st.sampled_from([1, 4, 8, 36, 64]))
def test_any_cut_into_ranges_of_rows_adds_up_to_the_same(cuts: list[int], width: int) -> None:
    table = drawn(20, width)
    borders = sorted({0, 20, *cuts})
    parts = [
        sum_of_rows(table[start:end].reshape(-1), end - start, start) for start, end in itertools.pairwise(borders)
    ]
    assert sum(parts) % MODULUS == sum_of_rows(table.reshape(-1), 20)


@pytest.mark.parametrize("width", [4, 8, 40, 72])
def test_every_flipped_bit_and_every_swap_of_rows_changes_it(width: int) -> None:
    table = drawn(6, width)
    sums = {sum_of_rows(table.reshape(-1), 6)}
    for bit in range(table.size * 8):
        other = table.reshape(-1).copy()
        other[bit // 8] ^= 1 << (bit % 8)
        sums.add(sum_of_rows(other, 6))
    for a in range(6):
        for b in range(a):
            other = table.copy()
            other[[a, b]] = other[[b, a]]
            sums.add(sum_of_rows(other.reshape(-1), 6))
    assert len(sums) == 1 + table.size * 8 + 15


def test_negated_scaled_and_moved_numbers_change_it() -> None:
    values = np.linspace(-1, 1, 4096, dtype=np.float32).reshape(64, 64)
    others = [values, -values, values * 2, values[::-1], values[:, ::-1], np.roll(values, 1), np.roll(values, 8, 1)]
    sums = {sum_of_rows(np.ascontiguousarray(other).view(np.uint8).reshape(-1), 64) for other in others}
    assert len(sums) == len(others)


def test_nothing_and_a_number_of_its_own() -> None:
    assert sum_of_rows(np.zeros(0, np.uint8), 0) == 0
    assert sum_of_rows(np.zeros(4, np.uint8), 1) == plain_sum([bytes(4)], 0) != 0
