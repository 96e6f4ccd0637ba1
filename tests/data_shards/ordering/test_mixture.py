"""Several sets in one stream: evenly dealt by weight, each in the order it has alone."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_shards.errors import UserError
from data_shards.order import Stream
from data_shards.ordering.mixture import FINEST, Dealing, Mixture, parts_of, seed_of
from data_shards.splitmix import key_of

COUNTS = st.lists(st.integers(0, 40), min_size=1, max_size=8).filter(any)
WEIGHTS = st.lists(st.integers(1, 30), min_size=1, max_size=6)


def test_weights_become_the_smallest_whole_numbers() -> None:
    assert parts_of([0.7, 0.3]) == (7, 3)
    assert parts_of(["0.1", "0.2", "0.7"]) == (1, 2, 7)
    assert parts_of([2, 2, 4]) == (1, 1, 2)
    assert parts_of([5]) == (1,)
    assert parts_of(["1/3", "2/3"]) == (1, 2)


@given(st.lists(st.integers(1, 10**12), min_size=1, max_size=40))
def test_weights_are_kept_to_the_finest_part(weights: list[int]) -> None:
    parts = parts_of(weights)
    assert sum(parts) <= FINEST + len(weights)
    for part, weight in zip(parts, weights, strict=True):
        assert part >= 1
        error = Fraction(part, sum(parts)) - Fraction(weight, sum(weights))
        assert abs(error) <= Fraction(len(weights) + 1, FINEST)


@settings(max_examples=200, deadline=None)
@given(WEIGHTS, st.integers(0, 200))
def test_every_position_is_dealt_once_and_evenly(weights: list[int], turns: int) -> None:
    dealing = Dealing(weights)
    begin, size = turns * dealing.turn, 2 * dealing.turn
    dealt, own = dealing.deal(np.arange(begin, begin + size))
    share = np.array(weights) / sum(weights)
    counts = np.array(dealing.before(begin))
    for position in range(size):
        assert counts.tolist() == dealing.before(begin + position)
        assert (np.abs(counts - share * (begin + position)) <= (1 + len(weights) * share) / 2 + 1e-6).all()
        assert own[position] == counts[dealt[position]]
        counts[dealt[position]] += 1


def test_the_dealing_does_not_change_between_versions() -> None:
    """Golden, worked out by hand: of weights 3 and 2 the turns fall due at 1/6, 3/6, 5/6 and at 1/4, 3/4."""
    dealt, own = Dealing([3, 2]).deal(np.arange(10))
    assert dealt.tolist() == [0, 1, 0, 1, 0, 0, 1, 0, 1, 0]
    assert own.tolist() == [0, 0, 1, 1, 2, 3, 2, 4, 3, 5]


def test_positions_beyond_four_billion_are_dealt() -> None:
    dealing = Dealing([0.7, 0.2, 0.1])
    begin = 10**15
    dealt, own = dealing.deal(np.arange(begin, begin + 1000))
    assert np.bincount(dealt).tolist() == [700, 200, 100]
    assert [int(own[dealt == k][0]) for k in range(3)] == dealing.before(begin)


@settings(max_examples=100, deadline=None)
@given(COUNTS, st.integers(0, 2**40), st.integers(0, 200), st.integers(1, 60), st.sampled_from([1, 2, 3]))
def test_a_set_alone_has_the_order_it_always_had(
    counts: list[int], seed: int, start: int, size: int, world: int
) -> None:
    mixture, stream = (
        Mixture([counts], [0.5], seed=seed, lanes=4, block=5),
        Stream(counts, seed=seed, lanes=4, block=5),
    )
    for rank in range(world):
        positions = mixture.share(start, start + size, rank, world)
        assert np.array_equal(positions, stream.share(start, start + size, rank, world))
        for mine, alone in zip(mixture.locate(positions), stream.locate(positions), strict=True):
            assert np.array_equal(mine, alone)
    assert mixture.samples == stream.samples


def test_each_set_is_in_the_order_that_it_has_alone() -> None:
    counts = [[5, 3, 7], [4], [6, 6]]
    mixture = Mixture(counts, ["0.5", "0.3", "0.2"], seed=3, lanes=4, block=3)
    dealt, _ = mixture.dealing.deal(np.arange(200))
    located = mixture.locate(np.arange(200))
    for number, own in enumerate(counts):
        alone = Stream(own, seed=3 if number == 0 else key_of(3, number), lanes=4, block=3)
        expected = alone.locate(np.arange((dealt == number).sum()))
        shards, samples = [0, 3, 4][number], [0, 15, 19][number]
        assert located.shard[dealt == number].tolist() == (expected.shard + shards).tolist()
        assert located.index[dealt == number].tolist() == (expected.index + samples).tolist()
        assert located.epoch[dealt == number].tolist() == expected.epoch.tolist()
        assert {mixture.set_of(shard) for shard in located.shard[dealt == number].tolist()} == {
            (number, shard) for shard in expected.shard.tolist()
        }


def test_sets_of_one_shape_are_not_ordered_alike() -> None:
    mixture = Mixture([[50], [50]], [1, 1])
    located = mixture.locate(np.arange(100))
    first, second = located.sample[located.shard == 0], located.sample[located.shard == 1]
    assert (first != second).sum() > 40
    assert seed_of(7, 0) == 7


def test_a_rank_has_every_set_in_its_share_and_few_lanes_of_each() -> None:
    mixture = Mixture([[10_000] * 900, [10_000] * 400], [3, 1], seed=1, lanes=128)
    assert [int(stream._lanes[0]) for stream in mixture.streams] == [128, 32]
    world, batch = 16, 4096
    for rank in (0, 5, 15):
        lanes: list[set[int]] = [set(), set()]
        for start in range(0, 20 * batch, batch):
            dealt, own = mixture.dealing.deal(mixture.share(start, start + batch, rank, world))
            first = int((dealt == 0).sum())
            assert abs(first - 192) <= 8, "three quarters of 256"
            lanes[0] |= set((own[dealt == 0] % 128).tolist())
            lanes[1] |= set((own[dealt == 1] % 32).tolist())
        assert len(lanes[0]) <= 10, "8 of 128, and those at its borders"
        assert len(lanes[1]) <= 4, "2 of 32, and those at its borders"


def test_substitutes_come_from_the_same_shard_of_the_same_set() -> None:
    mixture = Mixture([[3, 4], [5, 6]], [1, 1], seed=2)
    drawn = [mixture.substitute(0, 3, 13, attempt) for attempt in range(60)]
    assert {shard for shard, _, _ in drawn[:16]} == {3}
    assert {index for _, _, index in drawn[:16]} <= set(range(12, 18))
    assert {shard for shard, _, _ in drawn[16:]} == {2, 3}, "then from any shard of that set"
    first = np.array([0, 3, 7, 12])
    assert all(first[shard] + sample == index for shard, sample, index in drawn)


def test_one_set_may_grow_and_the_others_go_on() -> None:
    before = Mixture([[4, 3], [5]], [2, 1], seed=4)
    grown = Mixture([[4, 3, 6], [5]], [2, 1], seed=4, histories=[((0, 2), (14, 3)), None])
    located, after = before.locate(np.arange(60)), grown.locate(np.arange(60))
    other = located.shard == 2
    assert (after.shard[other] == 3).all()
    assert after.sample[other].tolist() == located.sample[other].tolist()
    mine = np.flatnonzero(~other)
    assert after.shard[mine[:14]].tolist() == located.shard[mine[:14]].tolist()
    third = Counter(zip(after.shard[mine[14:27]].tolist(), after.sample[mine[14:27]].tolist(), strict=True))
    assert third == Counter((k, i) for k, count in enumerate([4, 3, 6]) for i in range(count))


@pytest.mark.parametrize(
    ("counts", "weights", "sentence"),
    [
        ([[1]], [1, 2], "weights: 2 for 1 shard sets; give one for each set."),
        ([[1], [2]], [1, 0], "weights: 1,0 are not all above 0; leave out the set that is not wanted."),
        ([[1], [2]], ["1", "much"], "weights: 1,much are not all numbers; give one for each set, such as 0.7,0.3."),
        ([[1]], ["nan"], "weights: nan are not all numbers; give one for each set, such as 0.7,0.3."),
    ],
)
def test_weights_that_make_no_sense_are_one_sentence(
    counts: list[list[int]], weights: list[float | str], sentence: str
) -> None:
    with pytest.raises(UserError) as error:
        Mixture(counts, weights)
    assert str(error.value) == sentence
