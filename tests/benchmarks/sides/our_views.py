"""Our crops: from memory into a batch, and from tars to batches in the process that trains."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from data_shards.batch import Draw
from data_shards.loader import Loader
from data_shards.stream import ShardSet
from pipeline.views import Crops, MultiCrop
from pipeline.views.render import Photometric
from tests.benchmarks.side import serve
from tests.benchmarks.sides.recipe import BATCH, CROPS, load, loaded

_EPOCHS: dict[Any, int] = {}


def config(recipe: str, photometric: Photometric = "cpu") -> MultiCrop.Config:
    """The recipe in our words; everything but the crops is our default."""
    kinds = tuple(Crops(size=size, count=count, scale=scale) for size, count, scale in CROPS[recipe])
    return MultiCrop.Config(crops=kinds, photometric=photometric)


def views(source: str, recipe: str, photometric: Photometric = "cpu") -> int:
    """The crops of each image, written over and over into a batch, other ones every time; gives how many images."""
    transform = config(recipe, photometric).build()
    epoch = _EPOCHS[source] = _EPOCHS.get(source, 0) + 1
    arrays = transform.allocate(BATCH)
    for index, image in enumerate(loaded(source)):
        transform.write(image, Draw(0, epoch, index), arrays, index % BATCH)
    return len(loaded(source))


def batches(shards: str, recipe: str, threads: int, images: int) -> int:
    """Shuffled batches out of shards, as training takes them; gives how many images."""
    done = 0
    with Loader(
        ShardSet(Path(shards)), config(recipe).build(), batch=BATCH, threads=threads, batches=images // BATCH
    ) as loader:
        for batch in loader:
            done += len(batch.indices)
    return done


def tar_reads(shards: str, epochs: int) -> int:
    """The bytes of every image, one by one, some times over; gives how many images."""
    shard_set, done = ShardSet(Path(shards)), 0
    for _ in range(epochs):
        for shard, count in enumerate(shard_set.counts.tolist()):
            for sample in range(count):
                shard_set.read(shard, sample)
            done += count
    shard_set.close()
    return done


if __name__ == "__main__":
    serve(load=load, views=views, batches=batches, tar_reads=tar_reads)
