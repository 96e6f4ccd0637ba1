"""One split of a shard set as something to read: samples by shard and number, labels, keys.

Nothing is opened before it is needed, and what was opened is bounded: the indices of the last shards read, and some
open files. So a set of 100,000 shards costs its manifest.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_shards import remote
from data_shards.errors import ShardError
from data_shards.index import Index, key_of
from data_shards.manifest import FILE, Shard
from data_shards.reading.cache import CacheSettings, ShardCache, Statistics
from data_shards.reading.fetch import cannot
from data_shards.reading.labels import read_labels
from data_shards.reading.plain_tars import PlainTars, places_of
from data_shards.reading.store import OpenFile, ShardStore
from data_shards.reading.tars import PackedTars, Tars

_INDICES = 512  # kept in memory: 32 bytes a sample, of 128 lanes with up to four shards each
_READERS = 8  # threads that read all labels: for the time that storage takes to answer
_FEW = 4  # shards that are worth fetching for a look
_UNFINISHED = ".packing"


class ShardSet:
    """The shards of one split. `shard` and `sample` count from 0: the place of a shard, and of a sample within it.

    `where` is a directory or a URL with a manifest, or WebDataset tars without one: a folder or a URL that holds them,
    or a pattern (train-{000000..000012}.tar, *.tar, several joined by ::). What lies at a URL is read through the
    `cache`. Safe for many threads, and after a fork.

    Raises `ShardError` where a shard is missing, damaged or not the one the manifest means.
    """

    def __init__(self, where: Path | str, split: str = "train", *, cache: CacheSettings | None = None) -> None:
        self.where = str(where)
        self.directory = Path(where)
        self.split = split
        self._store = ShardStore(self._open, self.place)
        self._cache = ShardCache(cache or CacheSettings(), self._store.release)
        self._tars = _tars_at(self.where, self._cache)
        self.manifest = self._tars.manifest
        self.shards: tuple[Shard, ...] = self.manifest.of(split)
        if not self.shards:
            raise ShardError(
                self.where,
                f"has no split {split!r}",
                f"it has {', '.join(self.manifest.splits) or 'no samples'}",
            )
        self.counts: NDArray[np.int64] = np.array([shard.samples for shard in self.shards], np.int64)
        self.samples = int(self.counts.sum())
        self._ends = np.cumsum(self.counts)
        self._indices: OrderedDict[int, Index] = OrderedDict()
        self._lock = threading.Lock()
        self._tars.check(self.shards)
        self._classes = self.manifest.classes
        _sets.add(self)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes; of tars without a manifest, numbers as far as their labels go, which are read."""
        if not self._classes and isinstance(self._tars, PlainTars):
            self._classes = tuple(map(str, range(int(self.labels().max()) + 1)))
        return self._classes

    def read(self, shard: int, sample: int) -> bytes:
        """The encoded image."""
        index = self._index(shard)
        return self._store.read(shard, int(index.offset[sample]), int(index.size[sample]))

    def image(self, index: int) -> bytes:
        """The encoded image of a global index within the split."""
        shard = int(np.searchsorted(self._ends, index, side="right"))
        return self.read(shard, index - int(self._ends[shard] - self.counts[shard]))

    def spread(self, count: int) -> NDArray[np.int64]:
        """At most `count` indices, evenly spaced over the split: of every class where shards lie in order of class.

        Where shards must be fetched, they are of the first few only: to look at some samples must not fetch them all.
        """
        samples = int(self._ends[min(_FEW, len(self.shards)) - 1]) if self.is_fetched else self.samples
        return np.unique(np.linspace(0, samples - 1, min(count, samples)).round().astype(np.int64))

    @property
    def is_fetched(self) -> bool:
        """Whether its shards lie at a URL, so that they are read through the cache."""
        return remote.is_url(self.place(0))

    def label(self, shard: int, sample: int) -> int:
        """The class of a sample, -1 where it has none."""
        index = self._index(shard)
        offset = int(index.label_offset[sample])
        if offset < 0:
            return -1
        return self._tars.number(self.shards[shard], self._store.read(shard, offset, int(index.label_size[sample])))

    def labels(self) -> NDArray[np.int64]:
        """The class of every sample of the split (samples), -1 where it has none. Reads the label of each."""
        with ThreadPoolExecutor(min(_READERS, len(self.shards)), thread_name_prefix="labels") as pool:
            return np.concatenate(list(pool.map(self._labels, range(len(self.shards)))))

    def offset(self, shard: int, sample: int) -> int:
        """Where the image begins in its tar, in bytes."""
        return int(self._index(shard).offset[sample])

    def key(self, shard: int, sample: int) -> str:
        """The key of a sample: its name in the tar up to the first dot."""
        name = self._tars.name(self.shards[shard], self._store.file(shard), self.offset(shard, sample))
        return key_of(name)

    def keys(self) -> list[str]:
        """The key of every sample of the split, in order. Reads a header of each."""
        with ThreadPoolExecutor(min(_READERS, len(self.shards)), thread_name_prefix="keys") as pool:
            return [key for keys in pool.map(self._keys, range(len(self.shards))) for key in keys]

    def keys_at(self, indices: NDArray[np.int64]) -> list[str]:
        """The keys of samples by their global index within the split."""
        shards = np.searchsorted(self._ends, indices, side="right")
        within = indices - self._ends[shards] + self.counts[shards]
        return [self.key(int(shard), int(sample)) for shard, sample in zip(shards, within, strict=True)]

    def place(self, shard: int) -> str:
        """The path or URL of a shard, for people."""
        return self._tars.place(self.shards[shard])

    def expect(self, shards: Sequence[int]) -> None:
        """Fetch these shards ahead of their use, the first one first; who was expected before is so no more.

        It returns at once, and may be called as often as one likes. Shards in a directory need no fetching.
        """
        chosen = [self.shards[shard] for shard in shards]
        wanted = [self._tars.wanted(shard) for shard in chosen if remote.is_url(self._tars.place(shard))]
        if wanted:
            self._cache.expect(wanted)

    def statistics(self) -> Statistics:
        """What the cache gave and cost so far."""
        return self._cache.statistics()

    def close(self) -> None:
        """Close the open shards. Reading again would open them again."""
        self._cache.close()
        self._store.close()

    def __reduce__(self) -> tuple[Callable[[], ShardSet], tuple[()]]:
        return partial(ShardSet, self.where, self.split, cache=self._cache.settings), ()

    def _open(self, shard: int) -> OpenFile:
        return self._tars.open(self.shards[shard], self._cache)

    def _labels(self, shard: int) -> NDArray[np.int64]:
        return read_labels(
            self._index(shard), partial(self._store.read, shard), partial(self._tars.number, self.shards[shard])
        )

    def _keys(self, shard: int) -> list[str]:
        return [self.key(shard, sample) for sample in range(int(self.counts[shard]))]

    def _index(self, shard: int) -> Index:
        with self._lock:
            index = self._indices.get(shard)
            if index is not None:
                self._indices.move_to_end(shard)
                return index
        # outside the lock: at worst two threads read the same one
        index = self._tars.index(self.shards[shard], self._store.file(shard))
        with self._lock:
            self._indices[shard] = index
            while len(self._indices) > _INDICES:
                self._indices.popitem(last=False)
        return index

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._store.forget()
        self._cache.forget()


def _tars_at(where: str, cache: ShardCache) -> Tars:
    """What lies there: a shard set, or someone's tars."""
    if _has_manifest(where):
        return PackedTars.at(where, cache.settings)
    places = places_of(where)
    if places:
        return PlainTars(where, places, cache.settings, cache)
    if remote.is_url(where):
        raise ShardError(where, f"holds no {FILE} and no tar", "give the URL that `shard` wrote to")
    return PackedTars.at(where, cache.settings)  # which says what is wrong


def _has_manifest(where: str) -> bool:
    if not remote.is_url(where):  # a directory that is being packed is one that will have a manifest
        return os.path.exists(os.path.join(where, FILE)) or os.path.isdir(os.path.join(where, _UNFINISHED))
    if where.endswith(".tar") or set(where) & set("{*") or "::" in where:
        return False
    try:
        return remote.exists(f"{where.rstrip('/')}/{FILE}")
    except OSError as error:
        raise cannot(where, error) from None


_sets: weakref.WeakSet[ShardSet] = weakref.WeakSet()


def _after_fork() -> None:
    for shard_set in list(_sets):
        shard_set._forget()


os.register_at_fork(after_in_child=_after_fork)
