"""The order of samples as a pure function of (shards, seed, epoch): nothing is stored, any position is found at once.

One epoch of shuffled samples:

1. The shards are permuted and their samples laid end to end on a line.
2. The line is cut into `lanes` equal ranges. At any moment each lane is somewhere inside one or a few shards.
3. A lane is cut into equal blocks of at least `block` samples, and the samples of each are permuted (a keyed
   permutation, evaluated at one point in O(1)).
4. The lanes are dealt round-robin: position p is the (p div lanes)-th sample of lane p mod lanes.

A set too small for lanes of a whole block gets fewer of them, halved until it fits: below `block` samples there is one
lane and the shuffle is full. Time and memory to start, or to seek, grow with shards, never with samples.

The stream of a training run is epoch after epoch. Global batch b is a range of it, so it holds the same samples for
every world size; ranks take every world-th position. With the lanes a multiple of the world, or the other way round, a
rank therefore stays in its own lanes and reads only their shards.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from data_shards.splitmix import U64, below, key_of, mix

Int64 = NDArray[np.int64]

NEAR = 16  # substitutes drawn from the shard of a bad sample before any shard will do


class Located(NamedTuple):
    """Where the samples of some positions are: arrays of one length.

    `sample` counts within its shard, `index` within the split.
    """

    epoch: Int64
    shard: Int64
    sample: Int64
    index: Int64  # type: ignore[assignment]  # hides tuple.index, which nobody calls


def permute(values: ArrayLike, sizes: ArrayLike, keys: ArrayLike) -> Int64:
    """A keyed permutation of range(sizes[k]), evaluated at values[k] (arrays or scalars, broadcast).

    Four Feistel rounds on the next even number of bits; results outside the range walk on along their cycle until they
    are inside (Black and Rogaway, 2002).
    """
    value, size, key = np.broadcast_arrays(np.asarray(values, U64), np.asarray(sizes, U64), np.asarray(keys, U64))
    bits = np.ceil(np.log2(np.maximum(size.astype(np.float64), 2.0))).astype(U64)
    half = (bits + U64(1)) // U64(2)
    mask = (U64(1) << half) - U64(1)
    out = value.copy()
    outside = np.ones(out.shape, bool)
    while outside.any():
        x, h, m, k = out[outside], half[outside], mask[outside], key[outside]
        left, right = x >> h, x & m
        for number in range(4):
            left, right = right, left ^ (mix(right + (U64(number) << U64(32)), k) & m)
        out[outside] = left << h | right
        outside[outside] = out[outside] >= size[outside]
    return out.astype(np.int64)


class Order:
    """One shuffled epoch. `counts` holds the samples of each shard; `total` is their sum."""

    def __init__(self, counts: ArrayLike, seed: int, epoch: int, lanes: int = 128, block: int = 65536) -> None:
        counts = np.asarray(counts, np.int64)
        self.total = int(counts.sum())
        assert self.total > 0, "an order needs samples"
        assert lanes > 0, lanes
        assert block > 0, block
        self.key = key_of(seed, epoch)
        self.shards = np.argsort(mix(np.arange(len(counts)), key_of(self.key, 1)), kind="stable")
        self.ends = np.cumsum(counts[self.shards])
        while lanes > 1 and self.total // lanes < block:
            lanes = (lanes + 1) // 2
        self.lanes, self.block = lanes, block
        self.short, self.longer = divmod(self.total, lanes)  # the first `longer` lanes hold one sample more

    def at(self, positions: ArrayLike) -> tuple[Int64, Int64]:
        """Shard, and sample within it, of each position of the epoch (0 <= position < total)."""
        row, lane = np.divmod(np.asarray(positions, np.int64), self.lanes)
        length = self.short + (lane < self.longer)
        blocks = np.maximum(length // self.block, 1)
        block = ((row + 1) * blocks - 1) // length  # the inverse of block * length // blocks, where each begins
        begin, end = block * length // blocks, (block + 1) * length // blocks
        keys = mix((lane << 40) + block, self.key)
        place = lane * self.short + np.minimum(lane, self.longer) + begin + permute(row - begin, end - begin, keys)
        rank = np.searchsorted(self.ends, place, side="right")
        start = np.where(rank > 0, self.ends[rank - 1], 0)
        return self.shards[rank], place - start


class SequentialOrder:
    """The samples as they lie in the shards, once: for evaluation."""

    def __init__(self, counts: ArrayLike) -> None:
        self.ends = np.cumsum(np.asarray(counts, np.int64))
        self.total = int(self.ends[-1]) if len(self.ends) else 0

    def at(self, positions: ArrayLike) -> tuple[Int64, Int64]:
        """Shard, and sample within it, of each position (0 <= position < total)."""
        place = np.asarray(positions, np.int64)
        shard = np.searchsorted(self.ends, place, side="right")
        return shard, place - np.where(shard > 0, self.ends[shard - 1], 0)


class Stream:
    """The endless stream of a training run, or one pass in sequence.

    `subset`, an array of indices within the split, restricts the stream to these samples: they are ordered as a set of
    their own size would be.
    """

    def __init__(
        self,
        counts: ArrayLike,
        *,
        seed: int = 0,
        lanes: int = 128,
        block: int = 65536,
        shuffle: bool = True,
        subset: ArrayLike | None = None,
    ) -> None:
        self.counts = np.asarray(counts, np.int64)
        self._places = SequentialOrder(self.counts)
        self._first = np.concatenate([[0], self._places.ends])
        self.seed, self.lanes, self.block, self.shuffle = seed, lanes, block, shuffle
        self.subset = None if subset is None else np.asarray(subset, np.int64)
        self.samples = self._places.total if self.subset is None else len(self.subset)
        self._ordered = self.counts if self.subset is None else np.asarray([self.samples])
        self._epochs: dict[int, Order | SequentialOrder] = {}

    def locate(self, positions: ArrayLike) -> Located:
        """Where the samples of these positions of the stream are; position p belongs to epoch p div samples."""
        epochs, offsets = np.divmod(np.asarray(positions, np.int64), self.samples)
        shard, sample = np.empty_like(offsets), np.empty_like(offsets)
        for epoch in np.unique(epochs):
            chosen = epochs == epoch
            shard[chosen], sample[chosen] = self._order(int(epoch)).at(offsets[chosen])
        if self.subset is None:
            return Located(epochs, shard, sample, self._first[shard] + sample)
        index = self.subset[sample]
        return Located(epochs, *self._places.at(index), index)

    def substitute(self, epoch: int, shard: int, index: int, attempt: int) -> tuple[int, int, int]:
        """Shard, sample and index that stand in for a bad sample.

        They are drawn from its shard, after `NEAR` attempts from the whole split, for a shard may hold nothing else.
        With a subset they are drawn from that.
        """
        key = key_of(self.seed, epoch, index, attempt)
        if self.subset is not None:
            other = int(self.subset[below(self.samples, key)])
        elif attempt < NEAR:
            other = int(self._first[shard]) + below(int(self.counts[shard]), key)
        else:
            other = below(self.samples, key)
        place, sample = self._places.at(other)
        return int(place), int(sample), other

    def _order(self, epoch: int) -> Order | SequentialOrder:
        if epoch not in self._epochs:
            for old in sorted(self._epochs)[:-1]:  # a batch spans few epochs; the one before may still be asked for
                del self._epochs[old]
            if self.shuffle:
                self._epochs[epoch] = Order(self._ordered, self.seed, epoch, self.lanes, self.block)
            else:
                self._epochs[epoch] = SequentialOrder(self._ordered)
        return self._epochs[epoch]


def rank_positions(start: int, batch: int, rank: int, world: int) -> Int64:
    """Positions that `rank` takes of the global batch [start, start + batch): every world-th.

    `world` must divide `batch`.
    """
    assert batch % world == 0, (batch, world)
    return np.arange(start + rank, start + batch, world, dtype=np.int64)


def rank_slice(start: int, stop: int, rank: int, world: int) -> Int64:
    """Positions that `rank` takes of [start, stop) in sequence: a contiguous share, equal to within one."""
    size = stop - start
    return np.arange(start + size * rank // world, start + size * (rank + 1) // world, dtype=np.int64)
