"""What thousands of ranks read in one epoch: shards that each touches, and what the caches of their nodes fetch.

All batches of the epoch are dealt to every rank of some nodes, every position is located, and the accesses of a node,
in the order in which it makes them, go to a cache that forgets the shard used longest ago. Nothing is estimated but the
other nodes, which are taken to be like those looked at.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_shards.order import Stream
from data_shards.ordering.shuffle_quality import measure

Int64 = NDArray[np.int64]
Share = Callable[[int, int, int, int], Int64]
"""Positions of [start, stop) that rank of world takes."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A line of the table; shards of a rank and of a node are in the mean."""

    share: str
    ranks: int
    lanes: int
    batch: int
    rank_shards: float
    node_shards: float
    fetched: dict[int, float]
    """What all nodes fetch in an epoch, in multiples of the set, by the shards that the cache of each holds."""
    score: float


def every_world_th(start: int, stop: int, rank: int, world: int) -> Int64:
    """What samplers do."""
    return np.arange(start + rank, stop, world)


def in_slices(start: int, stop: int, rank: int, world: int) -> Int64:
    """What loaders of contiguous parts do."""
    size = stop - start
    return np.arange(start + size * rank // world, start + size * (rank + 1) // world)


def read_epoch(
    stream: Stream, batch: int, world: int, per_node: int, nodes: Iterable[int], caches: Iterable[int], share: Share
) -> tuple[float, float, dict[int, float]]:
    """Shards of a rank, of a node, and what all nodes fetch in multiples of the set, by the size of their caches."""
    rank_shards, node_shards = [], []
    misses: dict[int, list[int]] = {size: [] for size in caches}
    for node in nodes:
        taken = [
            positions_of(stream, batch, rank, world, share) for rank in range(node * per_node, (node + 1) * per_node)
        ]
        located = [stream.locate(positions).shard for positions in taken]
        rank_shards += [len(np.unique(shards)) for shards in located]
        when = np.concatenate(taken) // batch  # a node reads a batch after the other
        accesses = np.concatenate(located)[np.argsort(when, kind="stable")]
        node_shards.append(len(np.unique(accesses)))
        for size, found in misses.items():
            found.append(fetches(accesses, size))
    scale = world / per_node / int(np.count_nonzero(stream.counts))
    means = {size: float(np.mean(found)) * scale for size, found in misses.items()}
    return float(np.mean(rank_shards)), float(np.mean(node_shards)), means


def positions_of(stream: Stream, batch: int, rank: int, world: int, share: Share) -> Int64:
    """All that a rank takes of the whole batches of the first epoch.

    The lanes come round: batches a whole number of rounds apart are dealt alike, so one period of them is computed.
    """
    lanes, whole = int(stream.lane_count), stream.samples // batch
    period = min(whole, int(np.lcm(batch, lanes)) // batch)
    taken = np.concatenate([share(k * batch, (k + 1) * batch, rank, world) for k in range(period)])
    later = np.arange(0, whole * batch, period * batch)
    return (later[:, None] + taken).ravel()[: whole * batch // world]


def fetches(accesses: Int64, size: int) -> int:
    """How often a cache of `size` shards, which forgets the one used longest ago, has to fetch."""
    changes = accesses[np.flatnonzero(np.diff(accesses, prepend=-1))]
    cache: OrderedDict[int, None] = OrderedDict()
    fetched = 0
    for shard in changes.tolist():
        if shard in cache:
            cache.move_to_end(shard)
            continue
        fetched += 1
        cache[shard] = None
        if len(cache) > size:
            cache.popitem(last=False)
    return fetched


def table(readings: Iterable[Reading], caches: Iterable[int]) -> str:
    """The readings as a Markdown table."""
    sizes = list(caches)
    head = ["share", "ranks", "lanes", "batch", "shards a rank", "shards a node"]
    head += [f"fetched with {size} cached" for size in sizes] + ["shuffle"]
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    for one in readings:
        cells = [one.share, f"{one.ranks:,}", f"{one.lanes:,}", f"{one.batch:,}"]
        cells += [f"{one.rank_shards:,.0f}", f"{one.node_shards:,.0f}"]
        cells += [f"{one.fetched[size]:.1f}×" for size in sizes] + [f"{one.score:.2f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def reading(
    name: str, counts: Int64, ranks: int, lanes: int, batch: int, *, per_node: int, nodes: int, caches: Iterable[int]
) -> Reading:
    """One line: of a run with these settings, looked at in some nodes spread over it."""
    stream = Stream(counts, seed=1, lanes=lanes)
    shares: dict[str, Share] = {"by lane": stream.share, "every world-th": every_world_th, "in slices": in_slices}
    chosen = np.linspace(0, ranks // per_node - 1, nodes).astype(int).tolist()
    rank, node, fetched = read_epoch(stream, batch, ranks, per_node, chosen, caches, shares[name])
    return Reading(
        share=name,
        ranks=ranks,
        lanes=lanes,
        batch=batch,
        rank_shards=rank,
        node_shards=node,
        fetched=fetched,
        score=measure(stream, batch).score,
    )
