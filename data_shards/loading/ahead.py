"""Which shards the next batches need, so that a cache can fetch them before they are read."""

from __future__ import annotations

from data_shards.order import Stream
from data_shards.ordering.mixture import Mixture

EVERY = 8  # batches between two looks
_AHEAD = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
# A block of a lane uses all its shards at once, so a batch of it shows nearly all of them; looking at every batch would
# cost more and show no more.


def shards_ahead(stream: Stream | Mixture, start: int, batch: int, rank: int, world: int) -> list[int]:
    """Shards that a rank needs for the batch at position `start` and some up to 512 batches on, in that order."""
    found: dict[int, None] = {}
    for ahead in _AHEAD:
        first = start + ahead * batch
        shards = stream.locate(stream.share(first, first + batch, rank, world)).shard
        found.update(dict.fromkeys(shards.tolist()))
    return list(found)
