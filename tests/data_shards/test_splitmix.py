"""The hash behind every draw: known values, agreement of its two forms, and statistics."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from data_shards.splitmix import below, key_of, mix, uniform

WORDS = st.integers(0, 2**64 - 1)


def test_a_key_of_zero_gives_the_published_sequence() -> None:
    # splitmix64 from state 0 (Vigna's reference code): its outputs are mix(0, key) for key 0, 1, 2.
    assert [hex(int(mix(0, key))) for key in range(3)] == [
        "0xe220a8397b1dcdaf",
        "0x6e789e6aa1b965f4",
        "0x6c45d188009454f",
    ]


@given(st.lists(WORDS, min_size=1, max_size=4))
def test_integers_and_arrays_give_the_same_key(parts: list[int]) -> None:
    key = 0
    for part in parts:
        key = int(mix(part, key))
    assert key_of(*parts) == key


def test_the_order_of_parts_counts() -> None:
    assert len({key_of(1, 2), key_of(2, 1), key_of(1, 2, 0), key_of(12)}) == 4


def test_uniform_numbers_are_uniform() -> None:
    draws = uniform(100_000, 7)
    assert draws.min() >= 0
    assert draws.max() < 1
    assert abs(draws.mean() - 0.5) < 0.004
    assert np.histogram(draws, 10, (0, 1))[0].std() < 300


@given(st.integers(1, 10**12), WORDS)
def test_below_stays_below(limit: int, key: int) -> None:
    assert 0 <= below(limit, key) < limit
