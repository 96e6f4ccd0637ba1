"""mosaic streaming's own planning of an epoch resumed in its middle, without its shared memory and files.

It is what `StreamingDataset` does in one process of every node, once an epoch and at a resume.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
from streaming.base.batching.random import generate_work_random_batching
from streaming.base.dataset import StreamingDataset
from streaming.base.world import World

from tests.benchmarks.side import serve

WORKERS = 2


def nothing() -> None:
    """What a process costs that has only imported."""


def seek(samples: int, shards: int, position: int, batch: int, world: int) -> int:
    """Plan an epoch from a position on, with the settings that it has by itself; gives the samples that are left."""
    dataset = SimpleNamespace(
        shuffle_seed=1,
        sampling_method="balanced",
        sampling_granularity=1,
        epoch_seed_change=True,
        num_streams=1,
        streams=[SimpleNamespace(choose=samples)],
        shard_offset_per_stream=np.zeros(1, np.int64),
        shards_per_stream=np.array([shards]),
        samples_per_shard=np.full(shards, samples // shards),
        sample_offset_per_shard=np.arange(shards) * (samples // shards),
        num_canonical_nodes=1,
        batch_size=batch // world,
        partition_algo="relaxed",
        epoch_size=samples,
        initial_physical_nodes=1,
        shuffle=True,
        shuffle_algo="py1e",
        shuffle_block_size=4_000_000,
    )
    dataset.resample_streams = lambda epoch: StreamingDataset.resample_streams(dataset, epoch)
    work = generate_work_random_batching(dataset, World(1, world, WORKERS, 0), 0, position)
    return int((work >= 0).sum())


if __name__ == "__main__":
    serve(nothing=nothing, seek=seek)
