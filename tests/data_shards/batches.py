"""Batches as things to compare."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

from data_shards.batch import Batch
from data_shards.loader import Loader
from data_shards.stream import ShardSet
from tests.data_shards.pictures import Thumbnail


def load(directory: Path, count: int, start: int = 0, **options: Any) -> list[Batch]:
    """Some batches, with arrays that are copies."""
    with Loader(ShardSet(directory), Thumbnail(), **options) as loader:
        loader.load_state_dict({"consumed": start})
        return [copied(batch) for batch in itertools.islice(loader, count)]


def copied(batch: Batch) -> Batch:
    return Batch(
        tuple(array.copy() for array in batch.arrays),
        batch.indices,
        batch.labels,
        batch.number,
        batch.consumed,
        batch.wait,
    )


def rows(batches: list[Batch]) -> list[tuple[int, int, bytes]]:
    """Index, label and pixels of every row, sorted."""
    found = []
    for batch in batches:
        for row in range(len(batch.indices)):
            pixels = b"".join(array[:, row].tobytes() for array in batch.arrays)
            found.append((int(batch.indices[row]), int(batch.labels[row]), pixels))
    return sorted(found)
