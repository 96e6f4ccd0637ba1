"""One split of a shard set as something to read: samples by shard and number, labels, keys.

Nothing is opened before it is needed, and what was opened is bounded: the indices of the last shards read, and some
open files. So a set of 100,000 shards costs its manifest.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_shards.cache import CacheSettings, Statistics
from data_shards.errors import ShardError
from data_shards.index import Index, read_index
from data_shards.manifest import Manifest, Shard
from data_shards.store import ShardStore
from data_shards.tar import BLOCK, name_in

_INDICES = 512  # kept in memory: 32 bytes a sample, of 128 lanes with up to four shards each


class ShardSet:
    """The shards of one split. `shard` and `sample` count from 0: the place of a shard, and of a sample within it.

    `where` is a directory, or a URL whose shards are read through the `cache`. Safe for many threads. Raises
    `ShardError` where a shard is missing, damaged or not the one the manifest means.
    """

    def __init__(self, where: Path | str, split: str = "train", *, cache: CacheSettings | None = None) -> None:
        self.where = str(where)
        self.directory = Path(where)
        self.split = split
        self.manifest = Manifest.load(self.directory)
        self.shards: tuple[Shard, ...] = self.manifest.of(split)
        if not self.shards:
            raise ShardError(
                str(self.directory),
                f"has no split {split!r}",
                f"it has {', '.join(self.manifest.splits) or 'no samples'}",
            )
        self.counts: NDArray[np.int64] = np.array([shard.samples for shard in self.shards], np.int64)
        self.samples = int(self.counts.sum())
        self._ends = np.cumsum(self.counts)
        self.classes = self.manifest.classes
        self._store = ShardStore(self.directory)
        self._indices: OrderedDict[int, Index] = OrderedDict()
        self._lock = threading.Lock()
        self._check_names()

    def read(self, shard: int, sample: int) -> bytes:
        """The encoded image."""
        index = self._index(shard)
        return self._store.read(self.shards[shard].name, int(index.offset[sample]), int(index.size[sample]))

    def image(self, index: int) -> bytes:
        """The encoded image of a global index within the split."""
        shard = int(np.searchsorted(self._ends, index, side="right"))
        return self.read(shard, index - int(self._ends[shard] - self.counts[shard]))

    def spread(self, count: int) -> NDArray[np.int64]:
        """At most `count` indices, evenly spaced over the split: of every class where shards lie in order of class."""
        return np.unique(np.linspace(0, self.samples - 1, min(count, self.samples)).round().astype(np.int64))

    def label(self, shard: int, sample: int) -> int:
        """The class of a sample, -1 where it has none."""
        index = self._index(shard)
        offset = int(index.label_offset[sample])
        if offset < 0:
            return -1
        text = self._store.read(self.shards[shard].name, offset, int(index.label_size[sample]))
        try:
            return int(text)
        except ValueError:
            raise ShardError(
                str(self.directory / self.shards[shard].name), f"holds the label {text[:20]!r}", "a label is a number"
            ) from None

    def labels(self) -> NDArray[np.int64]:
        """The class of every sample of the split (samples), -1 where it has none. Reads the label of each."""
        labels = np.full(self.samples, -1, np.int64)
        at = 0
        for shard, count in enumerate(self.counts.tolist()):
            for sample in range(count):
                labels[at + sample] = self.label(shard, sample)
            at += count
        return labels

    def offset(self, shard: int, sample: int) -> int:
        """Where the image begins in its tar, in bytes."""
        return int(self._index(shard).offset[sample])

    def key(self, shard: int, sample: int) -> str:
        """The key of a sample: its name in the tar up to the first dot."""
        # The header of a member lies right before its bytes.
        block = self._store.read(self.shards[shard].name, self.offset(shard, sample) - BLOCK, BLOCK)
        directory, slash, base = name_in(block).rpartition("/")
        return directory + slash + base.partition(".")[0]

    def place(self, shard: int) -> str:
        """The path or URL of a shard, for people."""
        return f"{self.where}/{self.shards[shard].name}"

    def expect(self, shards: Sequence[int]) -> None:
        """Fetch these shards ahead of their use, the first one first; who was expected before is so no more.

        It returns at once. Shards in a directory need no fetching.
        """

    def statistics(self) -> Statistics:
        """What the cache gave and cost so far."""
        return Statistics()

    def close(self) -> None:
        """Close the open shards."""
        self._store.close()

    def _index(self, shard: int) -> Index:
        with self._lock:
            index = self._indices.get(shard)
            if index is not None:
                self._indices.move_to_end(shard)
                return index
        index = self._read_index(self.shards[shard])  # outside the lock: at worst two threads read the same one
        with self._lock:
            self._indices[shard] = index
            while len(self._indices) > _INDICES:
                self._indices.popitem(last=False)
        return index

    def _read_index(self, shard: Shard) -> Index:
        path = self.directory / shard.name
        found = self._size(path)
        if found != shard.bytes:
            raise ShardError(
                str(path),
                f"has {found} bytes",
                f"the manifest says {shard.bytes}; copy it again, or pack the shards again",
                f"python -m data_shards verify {self.directory}",
            )
        index = read_index(path)
        end = int((index.offset + index.size).max(initial=0))
        if len(index) != shard.samples or end > shard.bytes:
            raise ShardError(
                str(path.with_suffix(".idx")),
                f"describes {len(index)} samples up to byte {end}",
                f"the manifest says {shard.samples} samples in {shard.bytes} bytes; delete the .idx, it is only a copy",
            )
        return index

    def _check_names(self) -> None:
        """Missing shards are reported before the run, by one listing of the directory."""
        names = {entry.name for entry in os.scandir(self.directory)}
        missing = [shard.name for shard in self.shards if shard.name not in names]
        if missing:
            raise ShardError.missing(self.directory / missing[0], len(missing) - 1)

    def _size(self, path: Path) -> int:
        try:
            return path.stat().st_size
        except FileNotFoundError:
            raise ShardError.missing(path) from None
