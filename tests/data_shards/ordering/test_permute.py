"""The keyed permutation: a permutation for every size and key, and the one that it always was."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_shards.ordering.permute import permute
from data_shards.splitmix import key_of

KEYS = st.integers(0, 2**64 - 1)


def plainly(value: int, size: int, key: int) -> int:
    """The same permutation on Python's integers, as Black and Rogaway describe it: an oracle without arrays."""
    half = 1
    while 4**half < size:
        half += 1
    mask = (1 << half) - 1
    while True:
        left, right = value >> half, value & mask
        for number in range(4):
            # `key_of` continues its first part with the second as `mix` does a key with a value
            left, right = right, left ^ (mixed(right + (number << 32), key) & mask)
        value = left << half | right
        if value < size:
            return value


def mixed(value: int, key: int) -> int:
    """splitmix64's finaliser (Vigna's reference code)."""
    word = (1 << 64) - 1
    x = (value + key * 0x9E3779B97F4A7C15 + 0x9E3779B97F4A7C15) & word
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & word
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB & word
    return x ^ (x >> 31)


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 5000), KEYS)
def test_permute_is_a_permutation(size: int, key: int) -> None:
    assert np.array_equal(np.sort(permute(np.arange(size), size, key)), np.arange(size))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 2**40), st.floats(0, 0.999), KEYS), min_size=1, max_size=20))
def test_arrays_of_any_sizes_agree_with_plain_integers(points: list[tuple[int, float, int]]) -> None:
    values = [int(size * part) for size, part, _ in points]
    sizes, keys = [size for size, _, _ in points], [key for _, _, key in points]
    expected = [plainly(*point) for point in zip(values, sizes, keys, strict=True)]
    assert permute(values, sizes, np.array(keys, np.uint64)).tolist() == expected


@pytest.mark.parametrize("size", [1, 2, 4, 5, 16, 17, 64, 65])
def test_sizes_around_a_power_of_four_agree_with_plain_integers(size: int) -> None:
    expected = [plainly(value, size, 9) for value in range(size)]
    assert permute(np.arange(size), size, 9).tolist() == expected


def test_shapes_are_broadcast() -> None:
    table = permute(np.arange(6)[:, None], 6, np.arange(3))
    assert table.shape == (6, 3)
    assert np.array_equal(np.sort(table, 0), np.tile(np.arange(6)[:, None], 3))
    assert permute(np.arange(0), 5, 1).shape == (0,)
    assert permute(3, 5, 1).shape == ()


@pytest.mark.parametrize("size", [64, 300])
def test_every_element_is_as_likely_at_every_place(size: int) -> None:
    """Chi-square over the keys of consecutive epochs; size² - 1 degrees of freedom at most, six deviations allowed."""
    keys = np.array([[key_of(1, epoch)] for epoch in range(20_000)], np.uint64)
    drawn = permute(np.arange(size), size, keys)
    counts = np.array([np.bincount(column, minlength=size) for column in drawn.T])
    statistic = ((counts - len(keys) / size) ** 2 / (len(keys) / size)).sum()
    assert statistic < size**2 + 6 * math.sqrt(2 * size**2)
