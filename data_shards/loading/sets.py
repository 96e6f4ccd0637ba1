"""Shard sets as one: their shards are numbered on, the second set's after the first's, as `Mixture` numbers them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_shards.errors import UserError
from data_shards.order import Stream
from data_shards.ordering.growth import History, history_from, state_of
from data_shards.ordering.mixture import Mixture
from data_shards.reading.cache import Statistics
from data_shards.stream import ShardSet


class ShardSets:
    """Several shard sets with the weight of each, or one."""

    def __init__(self, sets: Sequence[ShardSet], weights: Sequence[float] | None = None) -> None:
        self.sets = tuple(sets)
        self.weights = tuple(weights if weights is not None else [1.0] * len(self.sets))
        self._first = [0, *accumulate(len(shard_set.shards) for shard_set in self.sets)]
        if len(self.weights) != len(self.sets):
            raise UserError("weights", f"{len(self.weights)} for {len(self.sets)} shard sets", "give one for each set")

    @property
    def where(self) -> str:
        """The directories or URLs, for people."""
        return " and ".join(shard_set.where for shard_set in self.sets)

    @property
    def are_fetched(self) -> bool:
        """Whether any of them lies at a URL, so that its shards are fetched."""
        return any(shard_set.is_fetched for shard_set in self.sets)

    @property
    def samples(self) -> int:
        """Samples of all sets together."""
        return sum(shard_set.samples for shard_set in self.sets)

    def of(self, shard: int) -> tuple[ShardSet, int]:
        """The set of a shard, and its number there."""
        number = bisect_right(self._first, shard) - 1
        return self.sets[number], shard - self._first[number]

    def read(self, shard: int, sample: int) -> bytes:
        """The encoded image."""
        shard_set, own = self.of(shard)
        return shard_set.read(own, sample)

    def label(self, shard: int, sample: int) -> int:
        """The class of a sample within its set, -1 where it has none."""
        shard_set, own = self.of(shard)
        return shard_set.label(own, sample)

    def key(self, shard: int, sample: int) -> str:
        """The key of a sample."""
        shard_set, own = self.of(shard)
        return shard_set.key(own, sample)

    def place(self, shard: int) -> str:
        """The path or URL of a shard, for people."""
        shard_set, own = self.of(shard)
        return shard_set.place(own)

    def expect(self, shards: Sequence[int]) -> None:
        """Tell each set which of its shards are needed next, the first one first."""
        expected: dict[ShardSet, list[int]] = {shard_set: [] for shard_set in self.sets}
        for shard_set, own in map(self.of, shards):
            expected[shard_set].append(own)
        for shard_set, own_shards in expected.items():
            shard_set.expect(own_shards)

    def statistics(self) -> Statistics:
        """What the caches gave and cost so far, added up."""
        each = [asdict(shard_set.statistics()) for shard_set in self.sets]
        return Statistics(**{name: sum(one[name] for one in each) for name in each[0]})

    def close(self) -> None:
        """Close the open shards."""
        for shard_set in self.sets:
            shard_set.close()

    def stream(
        self,
        *,
        seed: int,
        lanes: int,
        shuffle: bool = True,
        subset: NDArray[np.int64] | None = None,
        histories: Sequence[History] | None = None,
    ) -> Stream | Mixture:
        """The order of the samples: of one set its own, of several mixed by their weights."""
        if len(self.sets) == 1:
            history = histories[0] if histories is not None and subset is None else None
            return Stream(self.sets[0].counts, seed=seed, lanes=lanes, shuffle=shuffle, subset=subset, history=history)
        if not shuffle or subset is not None:
            raise UserError(self.where, "several sets in sequence, or a subset of them", "give one shard set for that")
        counts = [shard_set.counts for shard_set in self.sets]
        return Mixture(counts, self.weights, seed=seed, lanes=lanes, histories=histories)

    def state(self, stream: Stream | Mixture) -> list[dict[str, Any]]:
        """What a checkpoint keeps of each set."""
        streams = stream.streams if isinstance(stream, Mixture) else (stream,)
        return [
            state_of(shard_set.manifest, shard_set.split, own.history)
            for shard_set, own in zip(self.sets, streams, strict=True)
        ]

    def histories(
        self, states: Sequence[Mapping[str, Any]], stream: Stream | Mixture, consumed: int
    ) -> tuple[History, ...]:
        """The histories with which a run goes on after `consumed` samples.

        Raises `ShardError` where shards that it had have changed.
        """
        each = stream.dealing.before(consumed) if isinstance(stream, Mixture) else [consumed]
        return tuple(
            history_from(state, shard_set.manifest, shard_set.split, own, shard_set.where)
            for state, shard_set, own in zip(states, self.sets, each, strict=True)
        )
