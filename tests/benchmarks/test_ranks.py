"""The simulation of many ranks, against doing it plainly."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_shards.order import Stream
from tests.benchmarks.ranks import (
    Reading,
    every_world_th,
    fetches,
    in_slices,
    positions_of,
    read_epoch,
    reading,
    table,
)

COUNTS = [70, 10, 0, 45, 90, 25] * 4


@pytest.mark.parametrize(("world", "batch"), [(6, 12), (4, 20), (5, 35), (1, 7)])
@pytest.mark.parametrize("name", ["lane", "strided", "slices"])
def test_the_periods_of_a_rank_are_what_it_takes_batch_for_batch(world: int, batch: int, name: str) -> None:
    stream = Stream(COUNTS, seed=1, lanes=8, block=20)
    share = {"lane": stream.share, "strided": every_world_th, "slices": in_slices}[name]
    whole = stream.samples // batch
    taken = []
    for rank in range(world):
        plainly = np.concatenate([share(k * batch, (k + 1) * batch, rank, world) for k in range(whole)])
        assert positions_of(stream, batch, rank, world, share).tolist() == plainly.tolist()
        taken += plainly.tolist()
    assert sorted(taken) == list(range(whole * batch)), "nothing twice, nothing left out"


@given(st.lists(st.integers(0, 9), max_size=60), st.integers(1, 9))
def test_a_cache_fetches_as_one_that_is_written_plainly(accesses: list[int], size: int) -> None:
    held: list[int] = []
    expected = 0
    for shard in accesses:
        expected += shard not in held
        held = [shard, *[other for other in held if other != shard]][:size]
    assert fetches(np.array(accesses, np.int64), size) == expected


def test_all_nodes_fetch_the_set_once_where_a_lane_is_a_node_and_the_cache_holds_it() -> None:
    stream = Stream([50] * 64, seed=2, lanes=4, block=100)
    rank, node, fetched = read_epoch(stream, 16, 8, 2, range(4), (1, 100), stream.share)
    assert node == pytest.approx(16, abs=1), "a quarter of 64, and the shards at the ends of the lane"
    assert rank <= node
    assert fetched[100] == pytest.approx(1, abs=0.1)
    assert fetched[1] > 3


def test_a_reading_is_a_line() -> None:
    counts = np.full(64, 5000)
    found = reading("by lane", counts, 8, 4, 64, per_node=4, nodes=2, caches=(8,))
    assert isinstance(found, Reading)
    assert table([found], (8,)).splitlines()[-1].startswith("| by lane | 8 | 4 | 64 | ")
