"""The measures of a shuffle, beside a real full permutation, a sequence, and shuffles that are known to be poor."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import ArrayLike

from data_shards.order import Located, SequentialOrder, Stream
from data_shards.ordering.mixture import Mixture
from data_shards.ordering.shuffle_quality import ShuffleQuality, measure


class Arranged(Stream):
    """A stream whose every epoch is `arrangement`, a permutation of the indices."""

    def __init__(self, counts: ArrayLike, arrangement: np.ndarray) -> None:
        super().__init__(counts)
        self.arrangement = arrangement

    def locate(self, positions: ArrayLike) -> Located:
        epochs, offsets = np.divmod(np.asarray(positions, np.int64), self.samples)
        index = self.arrangement[offsets]
        return Located(epochs, *SequentialOrder(self.counts).at(index), index)


def full_shuffle(counts: list[int], seed: int) -> Arranged:
    return Arranged(counts, np.random.default_rng(seed).permutation(sum(counts)))


RAGGED = [3000, 10, 0, 500, 2500, 1, 4000]


@pytest.mark.parametrize("counts", [[1000] * 60, RAGGED, [20_000]], ids=["equal", "ragged", "one shard"])
@pytest.mark.parametrize("batch", [16, 1024])
def test_a_full_permutation_scores_one(counts: list[int], batch: int) -> None:
    scores = [measure(full_shuffle(counts, seed), batch).score for seed in range(5)]
    assert 0.97 < np.mean(scores) <= 1


@pytest.mark.parametrize("counts", [[1000] * 60, RAGGED, [20_000]], ids=["equal", "ragged", "one shard"])
@pytest.mark.parametrize("batch", [16, 1024])
def test_a_sequence_scores_nothing(counts: list[int], batch: int) -> None:
    assert measure(Stream(counts, shuffle=False), batch).score < 0.001


def test_our_order_of_a_set_below_a_block_is_a_full_shuffle() -> None:
    assert measure(Stream([600] * 100, seed=1), 512).score > 0.97


def test_what_is_poor_in_one_way_is_found() -> None:
    counts = [500] * 200
    total = sum(counts)
    one_lane = Stream(counts, seed=1, lanes=1, block=2000)
    assert measure(one_lane, 256).score < 0.1, "all of a batch from a few shards, next to each other"
    unshuffled_lanes = Arranged(counts, np.arange(total).reshape(50, -1).T.ravel())
    quality = measure(unshuffled_lanes, 1024)
    assert quality.same_shard == 0
    assert quality.distance > 0.02
    assert quality.shards < 110
    assert quality.score < 0.2
    wide = Stream(counts, seed=1, lanes=16, block=2000)
    assert measure(one_lane, 256).score < measure(wide, 256).score < 1


def test_more_lanes_are_never_worse() -> None:
    scores = [measure(Stream([1000] * 2000, seed=2, lanes=lanes, block=2000), 4096).score for lanes in (4, 16, 64, 256)]
    assert scores == sorted(scores)
    assert scores[0] < 0.05
    assert scores[-1] > 0.4


def test_what_a_full_shuffle_would_give_is_what_permutations_give_in_the_mean() -> None:
    """The closed formulas against 200 permutations: the score of their means is one."""
    counts, batch = [30, 5, 0, 65, 1], 20
    found = [measure(full_shuffle(counts, seed), batch) for seed in range(400)]
    total = sum(counts)
    same = sum(count * (count - 1) for count in counts) / (total * (total - 1))
    assert np.mean([quality.same_shard for quality in found]) == pytest.approx(same, rel=0.03)
    assert np.mean([quality.distance for quality in found]) == pytest.approx((total + 1) / 3 / total, rel=0.03)
    draws = np.random.default_rng(0)
    owner = np.repeat(np.arange(5), counts)
    drawn = [len(set(draws.permutation(owner)[:batch].tolist())) for _ in range(4000)]
    assert np.mean([quality.shards for quality in found]) == pytest.approx(np.mean(drawn), rel=0.02)


def test_the_score_counts_shards_against_draws_without_repetition() -> None:
    """50 shards of 2, of which a batch of 10 holds both samples of 5, far apart: a full shuffle has 9.55 shards."""
    shards = np.arange(50).reshape(5, 10).T
    arrangement = np.concatenate([2 * shards, 2 * shards + 1], axis=1).ravel()
    quality = measure(Arranged([2] * 50, arrangement), 10)
    assert (quality.shards, quality.same_shard) == (5, 0)
    assert quality.score == pytest.approx(5 / (50 * (1 - 90 * 89 / (100 * 99))))


def test_sets_of_a_mixture_are_each_compared_with_their_own_shuffle() -> None:
    small, large = [1000] * 40, [1000] * 300
    assert measure(Mixture([small, large], [0.9, 0.1], block=10**6), 512).score > 0.97
    poor = Mixture([small, large], [0.9, 0.1], lanes=1, block=1000)
    assert measure(poor, 512).score < 0.3


def test_a_subset_and_a_grown_set_are_compared_with_their_own_shuffle() -> None:
    subset = np.r_[np.arange(500), np.arange(50_000, 50_200), np.arange(90_000, 100_000, 7)]
    assert measure(Stream([1000] * 100, subset=subset), 128).score > 0.95
    assert measure(Stream([1000] * 100, subset=subset, shuffle=False), 128).score < 0.05
    grown = Stream([1000] * 50, seed=1, history=[(0, 3), (6000, 50)])
    assert measure(grown, 100, start=3000).shards == pytest.approx(3)
    assert measure(grown, 100, start=3000).score > 0.9
    assert measure(grown, 100, start=6000).score > 0.95


@pytest.mark.parametrize(("counts", "batch"), [([1], 1), ([1], 64), ([2], 1), ([1, 1], 5), ([0, 3], 2), ([7], 100)])
def test_the_smallest_sets_have_a_score(counts: list[int], batch: int) -> None:
    quality = measure(Stream(counts), batch)
    assert 0 <= quality.score <= 1


def test_a_bounded_number_of_positions_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    locate = Stream.locate
    monkeypatch.setattr(Stream, "locate", lambda self, at: asked.append(np.size(at)) or locate(self, at))
    for batch in (1, 256, 100_000):
        measure(Stream([10_000] * 100), batch, limit=4096)
    assert max(asked) <= 4096


def test_it_is_said_in_a_line() -> None:
    quality = ShuffleQuality(score=0.931, same_shard=0.0012, distance=0.334, shards=237.2)
    assert str(quality) == (
        "shuffle 0.93 of a full one: 237 shards in a batch, 0.12% of neighbours from one shard, 0.33 of the set apart"
    )
