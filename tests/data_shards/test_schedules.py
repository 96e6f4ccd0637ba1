"""Runs that are killed and resumed with other processes and batches: no sample of an epoch is lost or repeated.

A schedule is a list of legs. A leg runs some batches on some ranks, each with workers that take its batches in turn and
prefetch beyond what is consumed; then it is killed, and what was prefetched is lost. Nothing but the number of samples
consumed goes on to the next leg.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from data_shards.order import Stream
from data_shards.ordering.growth import grown
from data_shards.ordering.mixture import Mixture


class Leg(NamedTuple):
    """Part of a run: `per_rank` samples of every batch on each of `world` ranks."""

    world: int
    per_rank: int
    workers: int
    prefetch: int
    batches: int

    @property
    def batch(self) -> int:
        return self.world * self.per_rank


LEGS = st.builds(
    Leg,
    world=st.integers(1, 7),
    per_rank=st.integers(1, 8),
    workers=st.integers(1, 3),
    prefetch=st.integers(0, 3),
    batches=st.integers(0, 9),
)
# Ragged shards, empty ones, fewer than ranks, one, and one sample are all among these.
COUNTS = st.lists(st.one_of(st.integers(0, 3), st.integers(0, 60)), min_size=1, max_size=12).filter(any)


def run(leg: Leg, stream: Stream | Mixture, consumed: int) -> list[list[tuple[int, int]]]:
    """The (epoch, index) of every global batch of a leg, put together from what its ranks' workers located."""
    batches: list[list[tuple[int, int]]] = [[] for _ in range(leg.batches)]
    for rank in range(leg.world):
        for worker in range(leg.workers):
            numbers = range(worker, leg.batches + leg.prefetch, leg.workers)
            starts = [consumed + number * leg.batch for number in numbers]
            shares = [stream.share(start, start + leg.batch, rank, leg.world) for start in starts]
            assert {len(share) for share in shares} <= {leg.per_rank}, "every rank has as many samples in every batch"
            located = stream.locate(np.array(shares, np.int64))
            for number, epochs, indices in zip(numbers, located.epoch.tolist(), located.index.tolist(), strict=True):
                if number < leg.batches:
                    batches[number] += zip(epochs, indices, strict=True)
    return batches


@settings(max_examples=500, deadline=None)
@given(COUNTS, st.lists(LEGS, min_size=1, max_size=4), st.integers(0, 2**40), st.integers(1, 9), st.integers(1, 30))
def test_whole_epochs_are_consumed_once_by_any_schedule(
    counts: list[int], legs: list[Leg], seed: int, lanes: int, block: int
) -> None:
    total, consumed = sum(counts), 0
    seen: Counter[tuple[int, int]] = Counter()
    for leg in legs:
        stream = Stream(counts, seed=seed, lanes=lanes, block=block)  # a resumed process begins anew
        for batch in run(leg, stream, consumed):
            seen.update(batch)
            consumed += leg.batch
    whole, rest = divmod(consumed, total)
    for epoch in range(whole):
        assert {index: count for (e, index), count in seen.items() if e == epoch} == dict.fromkeys(range(total), 1)
    assert max(seen.values(), default=1) == 1
    assert sum(epoch == whole for epoch, _ in seen) == rest


@settings(max_examples=300, deadline=None)
@given(
    COUNTS,
    st.sampled_from([12, 24]),
    st.lists(st.tuples(st.sampled_from([1, 2, 3, 4, 6, 12]), st.integers(1, 2), st.integers(0, 6)), max_size=4),
    st.integers(0, 2**40),
)
def test_global_batches_are_those_of_a_run_that_was_never_killed(
    counts: list[int], batch: int, legs: list[tuple[int, int, int]], seed: int
) -> None:
    stream = Stream(counts, seed=seed, lanes=4, block=7)
    number = 0
    for world, workers, batches in legs:
        leg = Leg(world, batch // world, workers, 1, batches)
        for found in run(leg, Stream(counts, seed=seed, lanes=4, block=7), number * batch):
            located = stream.locate(np.arange(number * batch, (number + 1) * batch))
            assert Counter(found) == Counter(zip(located.epoch.tolist(), located.index.tolist(), strict=True))
            number += 1


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(COUNTS, st.integers(1, 9)), min_size=2, max_size=4),
    st.lists(LEGS, min_size=1, max_size=4),
    st.integers(0, 2**40),
)
def test_each_set_of_a_mixture_is_consumed_as_it_would_be_alone(
    sets: list[tuple[list[int], int]], legs: list[Leg], seed: int
) -> None:
    counts, weights = [counts for counts, _ in sets], [weight for _, weight in sets]
    first = np.cumsum([0, *map(sum, counts)])
    consumed, seen = 0, []
    for leg in legs:
        mixture = Mixture(counts, weights, seed=seed, lanes=3, block=9)
        for batch in run(leg, mixture, consumed):
            seen += batch
            consumed += leg.batch
    given_out = mixture.dealing.before(consumed)
    assert sum(given_out) == consumed
    for number, stream in enumerate(mixture.streams):
        alone = stream.locate(np.arange(given_out[number]))
        mine = [(e, i - first[number]) for e, i in seen if first[number] <= i < first[number + 1]]
        assert Counter(mine) == Counter(zip(alone.epoch.tolist(), alone.index.tolist(), strict=True))


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.integers(0, 20), min_size=1, max_size=12).filter(lambda counts: counts[0] > 0),
    st.lists(st.tuples(LEGS, st.integers(0, 3)), min_size=1, max_size=4),
    st.integers(0, 2**40),
)
def test_a_set_that_grows_is_consumed_whole_in_every_epoch(
    counts: list[int], legs: list[tuple[Leg, int]], seed: int
) -> None:
    """Before each leg some shards are added. An epoch holds the shards that were there when it began."""
    shards, consumed = 1, 0
    history = ((0, 1),)
    sizes: dict[int, int] = {}
    seen: Counter[tuple[int, int]] = Counter()
    for leg, added in legs:
        shards = min(shards + added, len(counts))
        history = grown(history, counts[:shards], consumed)
        stream = Stream(counts[:shards], seed=seed, lanes=3, block=9, history=history)
        for batch in run(leg, stream, consumed):
            seen.update(batch)
            for epoch in sorted({epoch for epoch, _ in batch} - sizes.keys()):
                sizes[epoch] = sum(counts[:shards])
            consumed += leg.batch
    last = max((epoch for epoch, _ in seen), default=0)
    for epoch in range(last):
        held = {index: count for (e, index), count in seen.items() if e == epoch}
        assert held == dict.fromkeys(range(sizes[epoch]), 1)
    assert max(seen.values(), default=1) == 1
