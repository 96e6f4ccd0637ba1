"""litdata's own planning of an epoch that is resumed on another number of processes, without its cache and files.

It is what `StreamingDataset._setup_elastic_resume` does in every worker. Resumed on the same processes litdata plans by
chunks, which is cheap; that cannot change the number of processes.
"""

from __future__ import annotations

from types import SimpleNamespace

from litdata.streaming.dataset import StreamingDataset
from litdata.streaming.elastic import worker_plan_to_chunks
from litdata.streaming.item_loader import Interval
from litdata.streaming.shuffle import FullShuffle
from litdata.utilities.env import _DistributedEnv

from tests.benchmarks.side import serve

WORKERS = 2


def nothing() -> None:
    """What a process costs that has only imported."""


def seek(samples: int, shards: int, position: int, batch: int, world: int) -> int:
    """Plan the rest of an epoch from a position on, begun by twice as many ranks; gives the chunks of worker 0."""
    each = samples // shards
    intervals = [Interval(k * each, k * each, (k + 1) * each, (k + 1) * each) for k in range(shards)]
    cache = SimpleNamespace(get_chunk_intervals=lambda: intervals, _reader=None)
    begun = {"initial_world_size": 2 * world, "initial_num_workers": WORKERS, "initial_batch_size": batch // world // 2}
    dataset = SimpleNamespace(
        cache=cache,
        shuffler=FullShuffle(cache, seed=1, drop_last=False),
        _state_dict=begun,
        _shuffle_num_chunks=None,
        distributed_env=_DistributedEnv(world, 0, 1),
        num_canonical_nodes=None,
        seed=1,
        shuffle=True,
        drop_last=False,
        current_epoch=1,
    )
    plans = StreamingDataset._canonical_plans(
        dataset, drop_first=position, num_workers=WORKERS, batch_size=batch // world
    )
    return len(worker_plan_to_chunks(plans[0])[0])


if __name__ == "__main__":
    serve(nothing=nothing, seek=seek)
