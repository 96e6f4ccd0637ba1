"""How good the shuffle of a run is, measured in its own stream and compared with a full random permutation.

Three things are looked at in some whole batches, spread evenly over an epoch:

same_shard   share of neighbours that come from one shard
distance     between neighbours in the listing, as a share of the set: 1/3 if it is random, next to 0 in sequence
shards       how many different shards a batch comes from

What a full shuffle would give is known exactly: neighbours are two samples drawn at random, a batch is a draw without
repetition. `score` is the smallest of the three ratios to that: 1 is as good as a full permutation in each, 0 is a
sequence. It is uncertain by about 1 / √positions. Of several sets, each is compared with a full shuffle of that set,
dealt alike.

The cost is that of ordering `limit` positions, some tens of milliseconds. To be called once an epoch:

    quality = measure(loader.stream, loader.batch, start=loader.consumed)
    log({f"data/shuffle_{name}": value for name, value in asdict(quality).items()})
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from data_shards.order import Int64, Located, Stream
from data_shards.ordering.mixture import Mixture


@dataclass(frozen=True, kw_only=True, slots=True)
class ShuffleQuality:
    """Means over the batches that were looked at."""

    score: float
    same_shard: float
    distance: float
    shards: float

    def __str__(self) -> str:
        return (
            f"shuffle {self.score:.2f} of a full one: {self.shards:.0f} shards in a batch, {self.same_shard:.2%} of "
            f"neighbours from one shard, {self.distance:.2f} of the set apart"
        )


def measure(stream: Stream | Mixture, batch: int, start: int = 0, limit: int = 65536) -> ShuffleQuality:
    """The shuffle of the epoch of `stream` that begins at position `start`, for global batches of `batch` samples.

    At most `limit` positions are looked at, and of a batch that is larger only its first `limit`.
    """
    own = [start] if isinstance(stream, Stream) else stream.dealing.before(start)
    streams = [stream] if isinstance(stream, Stream) else stream.streams
    sets = [_shuffled(one, begin) for one, begin in zip(streams, own, strict=True)]
    samples = sum(one.samples for one in sets)
    size = max(2, min(batch, samples, limit))
    count = max(1, min(limit // size, samples // size))
    starts = start + np.linspace(0, max(0, samples - size), count).astype(np.int64) // batch * batch
    positions = starts[:, None] + np.arange(size)
    dealt = np.zeros_like(positions) if isinstance(stream, Stream) else stream.dealing.deal(positions)[0]
    found, full = _observed(stream.locate(positions)), _expected(sets, dealt)
    ratios = [
        (1 - found.same_shard) / (1 - full.same_shard) if full.same_shard < 1 else 1.0,
        found.distance / full.distance if full.distance else 1.0,
        found.shards / full.shards,
    ]
    return ShuffleQuality(
        score=float(min(1.0, *ratios)),
        same_shard=found.same_shard,
        distance=found.distance / samples,
        shards=found.shards,
    )


class _Measures(NamedTuple):
    """Share of neighbours from one shard; their distance in samples; shards in a batch."""

    same_shard: float
    distance: float
    shards: float


class _Shuffled(NamedTuple):
    """What a full shuffle of one set of `samples` would give. `middle` is the mean of its indices within that set."""

    samples: int
    length: int  # of its listing, which a subset or an epoch before a growth does not fill
    counts: Int64
    distance: float
    middle: float


def _observed(located: Located) -> _Measures:
    shard = np.sort(located.shard, axis=1)
    return _Measures(
        float((located.shard[:, 1:] == located.shard[:, :-1]).mean()),
        float(np.abs(np.diff(located.index, axis=1)).mean()),
        float(1 + (np.diff(shard, axis=1) > 0).sum(1).mean()),
    )


def _shuffled(stream: Stream, position: int) -> _Shuffled:
    length = int(stream.counts.sum())
    if stream.subset is None:
        counts = stream.counts_in(stream.epoch_of(position))
        samples = int(counts.sum())
        return _Shuffled(samples, length, counts, (samples + 1) / 3, (samples - 1) / 2)
    ordered = np.sort(stream.subset)
    samples = len(ordered)
    counts = np.bincount(np.searchsorted(np.cumsum(stream.counts), ordered, side="right"))
    # Each gap between neighbours in the listing lies between so many of all pairs.
    gaps = np.diff(ordered) * np.arange(1, samples) * np.arange(samples - 1, 0, -1)
    return _Shuffled(samples, length, counts, 2 * float(gaps.sum()) / max(1, samples * (samples - 1)), ordered.mean())


def _expected(sets: list[_Shuffled], dealt: Int64) -> _Measures:
    """The measures of full shuffles of the sets, of which `dealt` (batches, positions) says where each comes from."""
    first = np.cumsum([0, *(one.length for one in sets)])
    pairs = np.zeros((len(sets), len(sets)))
    np.add.at(pairs, (dealt[:, :-1].ravel(), dealt[:, 1:].ravel()), 1 / max(1, dealt[:, 1:].size))
    same = distance = shards = 0.0
    for a, one in enumerate(sets):
        counts = one.counts.astype(float)
        same += pairs[a, a] * float((counts * (counts - 1)).sum()) / max(1, one.samples * (one.samples - 1))
        for b, other in enumerate(sets):
            apart = abs(first[a] + one.middle - first[b] - other.middle)
            distance += pairs[a, b] * (one.distance if a == b else apart)
        drawn, times = np.unique((dealt == a).sum(1), return_counts=True)
        for draws, number in zip(drawn.tolist(), times.tolist(), strict=True):
            shards += _shards_in(one, draws) * number / len(dealt)
    return _Measures(same, distance, shards)


def _shards_in(one: _Shuffled, draws: int) -> float:
    """How many shards a draw of some samples without repetition comes from, in the mean."""
    sizes, number = np.unique(one.counts, return_counts=True)
    draws = min(draws, one.samples)
    log_all = _log_choose(one.samples, draws)
    missed = [math.exp(_log_choose(one.samples - size, draws) - log_all) for size in sizes.tolist()]
    return float(number @ (1 - np.array(missed)))


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) if k <= n else -math.inf
