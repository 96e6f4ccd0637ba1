"""litdata's chunks and streaming loader, with our transform."""

from __future__ import annotations

import os
from functools import lru_cache
from typing import Any

from litdata import StreamingDataLoader, StreamingDataset, optimize

from tests.benchmarks.side import serve
from tests.benchmarks.sides.our_transform import OurTransform
from tests.benchmarks.sides.recipe import BATCH, files


def read(path: str) -> bytes:
    """One sample as litdata keeps it."""
    with open(path, "rb") as file:
        return file.read()


def prepare(source: str, out: str) -> int:
    """Write the files of a folder as litdata's chunks."""
    paths = [str(path) for path in files(source)]
    optimize(read, paths, output_dir=out, chunk_bytes="64MB", num_workers=1)
    return len(paths)


class Crops(StreamingDataset):  # type: ignore[misc]
    """Samples through our transform."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.ours = OurTransform()

    def __getitem__(self, index: Any) -> Any:
        return self.ours(super().__getitem__(index))


@lru_cache
def loader_of(source: str) -> StreamingDataLoader:
    """One worker, which stays from round to round."""
    dataset = Crops(source, shuffle=True, drop_last=False)
    return StreamingDataLoader(dataset, batch_size=BATCH, num_workers=1, persistent_workers=True)


def batches(source: str) -> int:
    """Shuffled batches in this process, made by the worker; gives how many images."""
    return sum(len(batch[0]) for batch in loader_of(source))


if __name__ == "__main__":
    # optimize() empties the folders it caches in
    assert {"DATA_OPTIMIZER_CACHE_FOLDER", "DATA_OPTIMIZER_DATA_CACHE_FOLDER"} <= set(os.environ)
    serve(prepare=prepare, batches=batches)
