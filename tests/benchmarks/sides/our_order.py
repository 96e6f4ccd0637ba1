"""Our side of the order of samples: opening a stream, seeking in it, ordering many positions."""

from __future__ import annotations

import numpy as np

from data_shards.order import Stream
from tests.benchmarks.side import serve

_OPEN: list[Stream] = []


def nothing() -> None:
    """What a process costs that has only imported."""


def seek(samples: int, shards: int, position: int, batch: int, world: int) -> int:
    """Open a set and find what rank 0 takes of the global batch at a position; gives how many samples."""
    stream = Stream(np.full(shards, samples // shards), seed=1)
    _OPEN[:] = [stream]
    return len(stream.locate(stream.share(position, position + batch, 0, world)).index)


def order(position: int, count: int, at_once: int) -> int:
    """Find that many samples of the set opened last, some at once."""
    for start in range(position, position + count, at_once):
        _OPEN[0].locate(np.arange(start, start + at_once))
    return count


if __name__ == "__main__":
    serve(nothing=nothing, seek=seek, order=order)
