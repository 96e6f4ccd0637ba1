"""The order of samples: every epoch is a permutation, the same for every world size, found at once at any place."""

from __future__ import annotations

import itertools
import math
import tracemalloc
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_shards.order import Order, SequentialOrder, Stream

COUNTS = st.lists(st.integers(0, 40), min_size=1, max_size=12).filter(any)


@settings(max_examples=500, deadline=None)
@given(COUNTS, st.integers(0, 2**40), st.integers(0, 100), st.integers(1, 20), st.integers(1, 50))
def test_an_epoch_holds_every_sample_once(counts: list[int], seed: int, epoch: int, lanes: int, block: int) -> None:
    order = Order(counts, seed, epoch, lanes, block)
    shard, sample = order.at(np.arange(order.total))
    expected = {(k, i) for k, count in enumerate(counts) for i in range(count)}
    assert Counter(zip(shard.tolist(), sample.tolist(), strict=True)) == Counter(expected)


def test_epochs_and_seeds_give_other_orders() -> None:
    orders = [Order([50], seed, epoch).at(np.arange(50))[1].tolist() for seed in (0, 1) for epoch in (0, 1)]
    assert len({tuple(order) for order in orders}) == 4


def test_a_small_set_is_shuffled_fully() -> None:
    """Over many seeds every sample is as likely as any other at the first position, and pairs are not kept together."""
    first = Counter(int(Order([20], seed, 0).at([0])[1][0]) for seed in range(4000))
    assert len(first) == 20
    assert max(first.values()) < 280
    together = sum(abs(int(a) - int(b)) == 1 for seed in range(2000) for a, b in [Order([20], seed, 0).at([0, 1])[1]])
    assert abs(together / 2000 - 0.1) < 0.03


def test_a_large_set_has_all_its_lanes_and_a_small_one_fewer() -> None:
    assert Order([10_000] * 1000, 0, 0).lanes == 128
    assert Order([10_000] * 30, 0, 0).lanes == 4
    assert Order([10], 0, 0).lanes == 1


@settings(max_examples=300, deadline=None)
@given(COUNTS, st.integers(0, 1000), st.integers(0, 200), st.sampled_from([1, 2, 3, 4, 6, 12]), st.integers(1, 4))
def test_a_global_batch_is_the_same_for_every_world_size(
    counts: list[int], seed: int, start: int, world: int, batches: int
) -> None:
    batch = 12
    stream = Stream(counts, seed=seed, lanes=4, block=5)
    for number in range(batches):
        begin = start + number * batch
        whole = stream.locate(np.arange(begin, begin + batch))
        parts = [stream.locate(stream.share(begin, begin + batch, rank, world)) for rank in range(world)]
        for field in range(4):
            joined = np.concatenate([part[field] for part in parts])
            assert sorted(joined.tolist()) == sorted(whole[field].tolist())
        assert {len(part.index) for part in parts} == {batch // world}


@settings(max_examples=60, deadline=None)
@given(COUNTS, st.integers(0, 1000), st.integers(5, 60))
def test_a_stream_is_epoch_after_epoch(counts: list[int], seed: int, batch: int) -> None:
    stream = Stream(counts, seed=seed, lanes=3, block=4)
    total = sum(counts)
    located = [stream.locate(np.arange(at, at + batch)) for at in range(0, 3 * total, batch)]
    epochs, indices = (np.concatenate([part[field] for part in located])[: 3 * total] for field in (0, 3))
    for epoch in range(3):
        assert sorted(indices[epochs == epoch].tolist()) == list(range(total))


@settings(max_examples=100, deadline=None)
@given(COUNTS, st.data(), st.booleans())
def test_a_subset_is_streamed_alone_and_whole(counts: list[int], data: st.DataObject, shuffle: bool) -> None:
    total = sum(counts)
    subset = data.draw(st.lists(st.integers(0, total - 1), min_size=1, unique=True))
    located = Stream(counts, seed=3, shuffle=shuffle, subset=subset).locate(np.arange(len(subset)))
    assert sorted(located.index.tolist()) == sorted(subset)
    first = np.concatenate([[0], np.cumsum(counts)])
    assert np.array_equal(first[located.shard] + located.sample, located.index)
    if not shuffle:
        assert located.index.tolist() == subset


@given(COUNTS)
def test_a_sequential_order_is_that_of_the_shards(counts: list[int]) -> None:
    shard, sample = SequentialOrder(counts).at(np.arange(sum(counts)))
    assert list(zip(shard.tolist(), sample.tolist(), strict=True)) == [
        (k, i) for k, count in enumerate(counts) for i in range(count)
    ]


def lanes_touched(lanes: int, world: int, batch: int) -> int:
    """The most lanes that any of some ranks has touched after 40 batches of an epoch."""
    stream = Stream([1_000_000] * 100, seed=5, lanes=lanes)
    ranks = {0, 1, world // 3, world // 2, world - 1}
    shares = {rank: [stream.share(at, at + batch, rank, world) for at in range(0, 40 * batch, batch)] for rank in ranks}
    return max(len(set((np.concatenate(parts) % lanes).tolist())) for parts in shares.values())


@pytest.mark.parametrize("world", [2, 4, 16, 32, 64, 128, 256, 1024])
@pytest.mark.parametrize("per_rank", [1, 3, 16])
def test_ranks_stay_in_whole_lanes_where_one_number_divides_the_other(world: int, per_rank: int) -> None:
    """Also for batches that the lanes do not divide, such as 2 × 3 of 128."""
    assert lanes_touched(128, world, world * per_rank) == min(max(1, 128 // world), 40 * per_rank)


@pytest.mark.parametrize(
    ("lanes", "world", "strided", "touched"),
    # Every world-th position, as other loaders deal them, would touch lanes / gcd(lanes, world).
    [(128, 3, 128, 47), (128, 12, 32, 13), (128, 48, 8, 4), (128, 100, 32, 3), (128, 127, 128, 2), (100, 96, 25, 2)],
)
def test_ranks_touch_few_lanes_where_none_divides_the_other(lanes: int, world: int, strided: int, touched: int) -> None:
    assert strided == lanes // math.gcd(lanes, world)
    assert lanes_touched(lanes, world, world * 128 // math.gcd(128, world)) <= touched < strided


@settings(max_examples=300, deadline=None)
@given(
    COUNTS,
    st.integers(1, 9),
    st.integers(1, 40),
    st.integers(0, 300),
    st.integers(1, 60),
    st.sampled_from([1, 2, 3, 5, 7]),
)
def test_shares_are_equal_and_make_up_the_batch(
    counts: list[int], lanes: int, block: int, start: int, size: int, world: int
) -> None:
    stream = Stream(counts, lanes=lanes, block=block)
    shares = [stream.share(start, start + size, rank, world).tolist() for rank in range(world)]
    assert sorted(itertools.chain(*shares)) == list(range(start, start + size))
    assert all(share == sorted(share) for share in shares)
    assert max(map(len, shares)) - min(map(len, shares)) <= (size % world > 0)


def test_a_sequence_is_shared_in_slices() -> None:
    stream = Stream([4, 7], shuffle=False)
    assert [stream.share(2, 11, rank, 4).tolist() for rank in range(4)] == [[2, 3], [4, 5], [6, 7], [8, 9, 10]]


def memory_to_seek(counts: np.ndarray, position: int, count: int) -> int:
    """The most bytes that are held while a stream is opened and some positions are found."""
    tracemalloc.start()
    try:
        stream = Stream(counts, seed=1)
        located = stream.locate(stream.share(position, position + count, 1, 2))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(set(zip(located.shard.tolist(), located.sample.tolist(), strict=True))) == count // 2
    return peak


def test_the_middle_of_a_billion_samples_is_found_in_memory_that_grows_with_shards_only() -> None:
    shards = 100_000
    billion = memory_to_seek(np.full(shards, 10_000), 777_777_777, 8192)
    assert billion < 20e6
    assert memory_to_seek(np.full(shards, 10_000_000), 777_777_777_777, 8192) < 1.1 * billion
    assert memory_to_seek(np.full(shards // 10, 100_000), 777_777_777, 8192) < 0.3 * billion


def test_many_positions_are_found_without_much_more_than_they_take() -> None:
    stream, positions = Stream(np.full(1000, 100_000), seed=1), np.arange(1 << 19)
    stream.locate(positions[:1])
    tracemalloc.start()
    stream.locate(positions)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * positions.nbytes, "epoch, offset, shard, sample, index, and two on the way"


@pytest.mark.parametrize("subset", [None, [1, 4]])
def test_substitutes_come_from_the_same_shard_or_subset(subset: list[int] | None) -> None:
    stream = Stream([3, 4, 5], seed=9, subset=subset)
    drawn = [stream.substitute(0, 1, 4, attempt) for attempt in range(16)]
    assert drawn == [stream.substitute(0, 1, 4, attempt) for attempt in range(16)]
    if subset is None:
        assert {shard for shard, _, _ in drawn} == {1}
        assert {index for _, _, index in drawn} == {3, 4, 5, 6}
        assert {stream.substitute(0, 1, 4, attempt)[0] for attempt in range(16, 60)} == {0, 1, 2}
    else:
        assert {index for _, _, index in drawn} == {1, 4}
