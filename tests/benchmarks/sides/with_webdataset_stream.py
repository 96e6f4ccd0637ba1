"""webdataset reading the same tars: as they are, and with our transform in its worker, batched there."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
import webdataset

from tests.benchmarks.side import serve
from tests.benchmarks.sides.our_transform import OurTransform
from tests.benchmarks.sides.recipe import BATCH


def _tars(shards: str) -> list[str]:
    return sorted(str(path) for path in Path(shards).glob("*.tar"))


@lru_cache
def loader_of(shards: str) -> Any:
    """One worker, which stays from round to round."""
    ours = OurTransform()

    def crops(sample: dict[str, Any]) -> Any:
        return ours(sample["jpg"])

    dataset = webdataset.WebDataset(_tars(shards), shardshuffle=100, empty_check=False).shuffle(100)
    dataset = dataset.map(crops).batched(BATCH, partial=False)
    return webdataset.WebLoader(dataset, batch_size=None, num_workers=1, persistent_workers=True)


def batches(shards: str) -> int:
    """Shuffled batches in this process, made by the worker; gives how many images."""
    return sum(len(batch[0]) for batch in loader_of(shards))


def tar_reads(shards: str, epochs: int) -> int:
    """The bytes of every image in turn, some times over; gives how many images."""
    done = 0
    for _ in range(epochs):
        for sample in webdataset.WebDataset(_tars(shards), shardshuffle=False, empty_check=False):
            done += bool(sample["jpg"])
    return done


if __name__ == "__main__":
    torch.set_num_threads(1)
    serve(batches=batches, tar_reads=tar_reads)
