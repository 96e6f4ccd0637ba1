"""Orders written out.

A run is resumed by one number, with later versions of this package, of numpy and on other processors. If any of these
gave another order, samples of the epoch under way would be repeated and lost, and nobody would notice. So the order of
a (counts, seed, epoch, lanes, block) may never change, whatever is made faster. Each case is there for one step of it.
"""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from data_shards.order import Order, Stream
from data_shards.ordering.mixture import Mixture

# fmt: off
SMALL = [(0, 1), (1, 0), (1, 1), (2, 2), (2, 1), (0, 0), (2, 3), (2, 0), (0, 2)]
RAGGED = [
    (0, 1), (2, 1), (2, 5), (1, 1), (0, 2), (2, 0), (2, 3), (1, 0), (0, 0), (0, 4), (2, 4), (2, 6), (3, 0), (0,
    3), (2, 2), (1, 2),
]
BLOCKS = [
    (0, 0), (2, 3), (0, 2), (2, 6), (0, 3), (2, 4), (0, 1), (2, 5), (2, 1), (2, 8), (2, 0), (2, 7), (2, 2), (2,
    9), (0, 4), (2, 10), (0, 5),
]
EPOCHS = [1, 2, 6, 4, 0, 5, 3, 2, 1, 3, 6, 0, 4, 5]
MIXED = [3, 8, 2, 1, 6, 0, 4, 7, 3, 2, 5, 0, 1, 5, 4, 0, 6, 4]
# fmt: on


def pairs(order: Order) -> list[tuple[int, int]]:
    """Shard and sample of every position."""
    shard, sample = order.at(np.arange(order.total))
    return list(zip(shard.tolist(), sample.tolist(), strict=True))


def test_the_permutation_of_shards_and_of_a_whole_small_set() -> None:
    """One lane, one block: what sets below `block` samples have."""
    assert pairs(Order([3, 2, 4], seed=0, epoch=0)) == SMALL


def test_lanes_of_two_lengths_and_ragged_shards() -> None:
    """16 samples in 4 lanes, blocks of 3."""
    assert pairs(Order([5, 3, 7, 1], seed=11, epoch=2, lanes=4, block=3)) == RAGGED


def test_blocks_of_two_lengths_and_an_empty_shard() -> None:
    """17 samples in 2 lanes of 9 and 8, cut into blocks of 4 and 5."""
    assert pairs(Order([6, 0, 11], seed=5, epoch=1, lanes=2, block=4)) == BLOCKS


def test_two_epochs_of_a_stream() -> None:
    assert Stream([3, 4], seed=2**40 + 1).locate(np.arange(14)).index.tolist() == EPOCHS


def test_a_mixture() -> None:
    """Weights 2 and 1: the second set has every third position, and a seed of its own."""
    assert Mixture([[3, 2], [4]], [2, 1], seed=6).locate(np.arange(18)).index.tolist() == MIXED


@pytest.mark.parametrize(
    ("counts", "lanes", "digest"),
    [
        (np.full(100_000, 10_000), 128, "c2462022ba33e5b54a74c5e837c73bece5cb2fdeb0fb5198d09ede21e81be331"),
        (np.arange(1, 5001) * 401 % 9973, 128, "1c26adf6ff6f2d50b00f8fa022f7e94f96c91f52c58f3a3350cbc80429c0b49d"),
        (np.full(1282, 1000), 100, "73afa21b02a6aa96edebc69756d002210b4f2d828edaeaab94813d714a108920"),
    ],
    ids=["a billion", "ragged", "lanes that are no power of two"],
)
def test_large_orders_by_their_hash(counts: np.ndarray, lanes: int, digest: str) -> None:
    """4,096 positions of each, spread over the epoch: sha256 of shard and sample as little-endian int64."""
    order = Order(counts, seed=20, epoch=3, lanes=lanes)
    positions = np.linspace(0, order.total - 1, 4096).astype(np.int64)
    data = b"".join(part.astype("<i8").tobytes() for part in order.at(positions))
    assert hashlib.sha256(data).hexdigest() == digest
