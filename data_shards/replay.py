"""Which samples any batch of a run holds: one line of JSON for each, from nothing but the shard set."""

from __future__ import annotations

import json
from collections.abc import Iterator

from data_shards.errors import ShardError, UserError
from data_shards.order import Stream, rank_positions
from data_shards.stream import ShardSet


def replay(
    shard_set: ShardSet,
    *,
    step: int,
    batch: int,
    epoch: int | None = None,
    seed: int = 0,
    world: int = 1,
    lanes: int = 128,
) -> Iterator[str]:
    """Lines of JSON (rank, index, key, shard) of one global batch, by rank and row.

    `step` counts batches from 0 since the start of the run or, with `epoch`, those that begin in that epoch.
    """
    if batch < 1 or batch % world:
        raise UserError("batch", f"{batch} samples cannot be shared equally by {world} processes", f"{world} can")
    stream = Stream(shard_set.counts, seed=seed, lanes=lanes)
    number = step if epoch is None else -(-epoch * stream.samples // batch) + step
    for rank in range(world):
        located = stream.locate(rank_positions(number * batch, batch, rank, world))
        for shard, sample, index in zip(
            located.shard.tolist(), located.sample.tolist(), located.index.tolist(), strict=True
        ):
            try:
                key = shard_set.key(shard, sample)
            except ShardError:  # the shard is not at hand; its name and the index say enough
                key = None
            name = shard_set.shards[shard].name
            yield json.dumps({"rank": rank, "index": index, "key": key, "shard": name})
