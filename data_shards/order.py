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
every world size, and every rank has as many batches as any other. A rank takes a part of every batch, as large as the
others' and the same lanes each time, so it reads the shards of few lanes:

- Where the world divides the lanes, or the lanes the world, a rank takes whole lanes, or shares one: those equal to it
  modulo both. That holds for any batch, whether or not the lanes divide it.
- Otherwise the batch is sorted by lane and cut into equal parts. A rank has lanes / world of them and the two that it
  shares; some more where the lanes do not divide the batch, because its last incomplete round moves.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from data_shards.errors import UserError
from data_shards.ordering.permute import permute
from data_shards.splitmix import below, key_of, mix

Int64 = NDArray[np.int64]

_CHUNK = 16384  # positions at a time, so that what is computed on the way stays in the cache of a core
NEAR = 16  # substitutes drawn from the shard of a bad sample before any shard will do


class Located(NamedTuple):
    """Where the samples of some positions are: arrays of one length.

    `sample` counts within its shard, `index` within the split.
    """

    epoch: Int64
    shard: Int64
    sample: Int64
    index: Int64  # type: ignore[assignment]  # hides tuple.index, which nobody calls


def lanes_for(total: int, lanes: int, block: int) -> int:
    """How many of `lanes` a set of `total` samples has: they are halved until each holds `block` samples."""
    while lanes > 1 and total // lanes < block:
        lanes = (lanes + 1) // 2
    return lanes


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
        self.lanes, self.block = lanes_for(self.total, lanes, block), block
        self.short, self.longer = divmod(self.total, self.lanes)  # the first `longer` lanes hold one sample more

    def at(self, positions: ArrayLike) -> tuple[Int64, Int64]:
        """Shard, and sample within it, of each position of the epoch (0 <= position < total)."""
        positions = np.asarray(positions, np.int64)
        flat = positions.ravel()
        shard, sample = np.empty_like(flat), np.empty_like(flat)
        for first in range(0, len(flat), _CHUNK):
            chunk = slice(first, first + _CHUNK)
            place = self._place(flat[chunk])
            rank = np.searchsorted(self.ends, place, side="right")
            shard[chunk] = self.shards[rank]
            sample[chunk] = place - self.ends[rank - 1] * (rank > 0)
        return shard.reshape(positions.shape), sample.reshape(positions.shape)

    def _place(self, positions: Int64) -> Int64:
        """Where on the line of permuted shards the sample of each position lies."""
        row = positions // self.lanes
        lane = positions - row * self.lanes
        block, begin, end = self._block_of(row, self.short)
        if self.longer:
            longer = lane < self.longer
            block, begin, end = (
                np.where(longer, *pair)
                for pair in zip(self._block_of(row, self.short + 1), (block, begin, end), strict=True)
            )
        keys = mix((lane << 40) + block, self.key)
        start = lane * self.short + np.minimum(lane, self.longer) + begin
        return np.asarray(start + permute(row - begin, end - begin, keys), np.int64)

    def _block_of(self, row: Int64, length: int) -> tuple[Int64, Int64, Int64]:
        """Number, begin and end of the block that holds each row of a lane of `length` samples."""
        blocks = max(length // self.block, 1)
        block = ((row + 1) * blocks - 1) // length  # the inverse of block * length // blocks, where each begins
        return block, block * length // blocks, (block + 1) * length // blocks


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
    their own size would be. `history`, pairs of position and number of shards, says that the set has grown: from each
    position on, epochs are made of so many shards (`growth.py`). Without it, all are there from the start.
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
        history: Sequence[tuple[int, int]] | None = None,
    ) -> None:
        self.counts = np.asarray(counts, np.int64)
        self._places = SequentialOrder(self.counts)
        self._first = np.concatenate([[0], self._places.ends])
        self.seed, self.lanes, self.block, self.shuffle = seed, lanes, block, shuffle
        self.subset = None if subset is None else np.asarray(subset, np.int64)
        assert history is None or subset is None, "a subset does not grow"
        self.history = tuple(history or [(0, len(self.counts))])
        self._begins = np.array([begin for begin, _ in self.history], np.int64)
        if self.subset is None:
            self._totals = self._first[[shards for _, shards in self.history]]
        else:
            self._totals = np.array([len(self.subset)], np.int64)
        assert self._begins[0] == 0, self.history
        assert self._totals.all(), "a stream needs samples"
        spans, left = np.divmod(np.diff(self._begins), self._totals[:-1])
        assert not left.any(), f"a set grows between two epochs, not within one: {self.history}"
        self._epochs = np.concatenate([[0], np.cumsum(spans)])  # number of the first epoch of each size
        self._lanes = np.array([lanes_for(int(n), lanes, block) if shuffle else 1 for n in self._totals], np.int64)
        self._orders: dict[int, Order | SequentialOrder] = {}

    @property
    def samples(self) -> int:
        """Samples of one epoch, the set being as large as it is now."""
        return int(self._totals[-1])

    @property
    def lane_count(self) -> int:
        """The lanes of an epoch, the set being as large as it is now."""
        return int(self._lanes[-1])

    def locate(self, positions: ArrayLike) -> Located:
        """Where the samples of these positions of the stream are."""
        epochs, offsets, _ = self._split(positions)
        if epochs.size and epochs.min() == epochs.max():
            shard, sample = self._order(int(epochs.flat[0])).at(offsets)
        else:
            shard, sample = np.empty_like(offsets), np.empty_like(offsets)
            for epoch in np.unique(epochs):
                chosen = epochs == epoch
                shard[chosen], sample[chosen] = self._order(int(epoch)).at(offsets[chosen])
        if self.subset is None:
            return Located(epochs, shard, sample, self._first[shard] + sample)
        index = self.subset[sample]
        return Located(epochs, *self._places.at(index), index)

    def lane_places(self, positions: ArrayLike, world: int) -> NDArray[np.uint16]:
        """Where on the circle of lanes each position is, in 65536ths: what `share` sorts by.

        Lanes that are equal modulo the greatest common divisor of lanes and world lie side by side: any range of the
        stream that `world` divides holds as many samples of each such class, and a number of ranks that is whole.
        """
        _, offsets, size = self._split(positions)
        lanes = self._lanes[size]
        lane = offsets % lanes
        classes = np.gcd(lanes, world)
        return ((lane % classes * (lanes // classes) + lane // classes) * 65536 // lanes).astype(np.uint16)

    def share(self, start: int, stop: int, rank: int, world: int) -> Int64:
        """The positions of the global batch [start, stop) that `rank` takes, ascending."""
        positions = np.arange(start, stop, dtype=np.int64)
        return positions if world == 1 else positions[share_of(self.lane_places(positions, world), rank, world)]

    def begin_of(self, epoch: int) -> int:
        """The position at which an epoch begins."""
        size = self._size_in(epoch)
        return int(self._begins[size] + (epoch - self._epochs[size]) * self._totals[size])

    def epoch_of(self, position: int) -> int:
        """The epoch that a position belongs to."""
        return int(self._split(position)[0])

    def counts_in(self, epoch: int) -> Int64:
        """The samples of each shard that an epoch is made of; a subset counts as one shard."""
        return self.counts[: self.history[self._size_in(epoch)][1]] if self.subset is None else self._totals

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
            other = below(int(self._totals[self._size_in(epoch)]), key)
        place, sample = self._places.at(other)
        return int(place), int(sample), other

    def _split(self, positions: ArrayLike) -> tuple[Int64, Int64, Int64]:
        """Epoch, offset within it, and which of the sizes the set then had, of each position."""
        positions = np.asarray(positions, np.int64)
        if len(self.history) == 1:  # the usual case, without a search
            epochs = positions // self.samples
            return epochs, positions - epochs * self.samples, np.zeros((), np.int64)
        size = np.searchsorted(self._begins, positions, side="right") - 1
        totals = self._totals[size]
        epochs, offsets = np.divmod(positions - self._begins[size], totals)
        return epochs + self._epochs[size], offsets, size

    def _size_in(self, epoch: int) -> int:
        return int(np.searchsorted(self._epochs, epoch, side="right")) - 1

    def _order(self, epoch: int) -> Order | SequentialOrder:
        if epoch not in self._orders:
            for old in sorted(self._orders)[:-1]:  # a batch spans few epochs; the one before may still be asked for
                del self._orders[old]
            counts = self.counts_in(epoch)
            if self.shuffle:
                self._orders[epoch] = Order(counts, self.seed, epoch, self.lanes, self.block)
            else:
                self._orders[epoch] = SequentialOrder(counts)
        return self._orders[epoch]


def check_batch(batch: int, world: int) -> None:
    """Raise `UserError` for a global batch that cannot be shared equally by `world` processes."""
    if batch < 1 or batch % world:
        near = sorted({max(batch // world, 1) * world, (batch // world + 1) * world})
        right = f"{' or '.join(map(str, near))} can"
        raise UserError("batch", f"{batch} samples cannot be shared equally by {world} processes", right)


def share_of(places: NDArray[np.uint16], rank: int, world: int) -> Int64:
    """Which samples of a batch, each at a place on the circle of lanes, `rank` takes: numbers within it, ascending.

    The batch is sorted by place and cut into `world` parts, equal to within one: the rank-th is taken.
    """
    size = len(places)
    ordered = np.argsort(places, kind="stable")  # 16 bits are sorted by radix, faster than they are compared
    return np.sort(ordered[size * rank // world : size * (rank + 1) // world])
