"""MosaicML's streaming: MDS shards and torch's DataLoader, with our transform."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from streaming import MDSWriter, StreamingDataset
from streaming.base.util import clean_stale_shared_memory
from torch.utils.data import DataLoader

from tests.benchmarks.side import serve
from tests.benchmarks.sides.our_transform import OurTransform
from tests.benchmarks.sides.recipe import BATCH, files


def prepare(source: str, out: str) -> int:
    """Write the files of a folder as MDS shards."""
    paths = files(source)
    with MDSWriter(out=out, columns={"image": "bytes"}) as writer:
        for path in paths:
            writer.write({"image": path.read_bytes()})
    return len(paths)


class Crops(StreamingDataset):  # type: ignore[misc]
    """Samples through our transform."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.ours = OurTransform()

    def __getitem__(self, index: Any) -> Any:
        return self.ours(super().__getitem__(index)["image"])


@lru_cache
def loader_of(source: str) -> DataLoader[Any]:
    """One worker, which stays from round to round."""
    dataset = Crops(local=source, shuffle=True, batch_size=BATCH)
    return DataLoader(dataset, BATCH, num_workers=1, persistent_workers=True)


def batches(source: str) -> int:
    """Shuffled batches in this process, made by the worker; gives how many images."""
    return sum(len(batch[0]) for batch in loader_of(source))


if __name__ == "__main__":
    clean_stale_shared_memory()
    serve(prepare=prepare, batches=batches)
