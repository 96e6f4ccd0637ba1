"""Our side: packing through the public call."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data_shards import pack as packing
from data_shards.manifest import Manifest, Shard
from data_shards.packing.listing import Listing
from data_shards.packing.settings import PackSettings
from data_shards.readers.image_folder import ImageFolder
from data_shards.readers.reader import Entry, Reader
from tests.benchmarks.side import serve


def pack(source: str, out: str, probe: str, **others: Any) -> dict[str, int]:
    """Pack a folder in this process; gives the totals."""
    reader = ImageFolder.Config(path=source).build()
    return packing.pack(reader, Path(out), PackSettings(probe=probe, workers=1, **others)).totals  # type: ignore[arg-type]


class Synthetic(Reader):
    """Lists entries that no image is behind."""

    def __init__(self, count: int) -> None:
        self.config, self.count = None, count

    def entries(self) -> Iterator[Entry]:
        for number in range(self.count):
            yield Entry(f"folder{number // 1000:07d}/photograph_{number:010d}.jpg", "train", f"class{number % 1000}")

    def read(self, entry: Entry) -> bytes:
        raise NotImplementedError

    @property
    def title(self) -> str:
        return "synthetic"

    def describe(self) -> dict[str, Any]:
        return {}


def list_only(count: int, out: str) -> dict[str, int]:
    """List so many entries into slices, read them back, and write and read the manifest of their shards."""
    folder = Path(out)
    folder.mkdir()
    listing = Listing.write(Synthetic(count), folder / "listing", 100_000, lambda _: None)
    assert sum(1 for piece in range(listing.slices) for _ in listing.read(piece)) == count
    shards = tuple(
        Shard(f"train-{n:06d}.tar", "train", 10_000, 1 << 30, "0" * 64, 10_000 * n) for n in range(count // 10_000)
    )
    Manifest(shards=shards, classes=listing.classes, totals={"listed": count}, source={}, settings={}).save(folder)
    return {"samples": Manifest.load(folder).samples("train")}


if __name__ == "__main__":
    serve(pack=pack, list_only=list_only)
