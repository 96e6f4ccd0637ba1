"""The tars of a shard set, wherever they lie: what opens them, and says where their samples are.

    PackedTars   those of a manifest, in a directory or at a URL
    PlainTars    anyone's WebDataset tars (plain_tars.py): indexed on first use, their manifest is made up

Tars at a URL are read through the cache, one tar at a time, whatever the protocol. Ranges of a web server would do for
single samples as well, but each would be a request, and none could be checked by a hash.
"""

from __future__ import annotations

import abc
import os
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from data_shards import remote
from data_shards.errors import ShardError, UserError
from data_shards.index import Index, index_of, parse_index, read_index, samples_in
from data_shards.manifest import FILE, Manifest, Shard
from data_shards.reading.cache import CacheSettings, ShardCache
from data_shards.reading.cache_folder import CachedFile
from data_shards.reading.fetch import Wanted, cannot
from data_shards.reading.store import OpenFile
from data_shards.tar import BLOCK, name_in, size_in


class Tars(abc.ABC):
    """The tars of a manifest. All its functions raise `UserError`s."""

    manifest: Manifest

    @abc.abstractmethod
    def place(self, shard: Shard) -> str:
        """The path or URL of a tar."""

    @abc.abstractmethod
    def wanted(self, shard: Shard) -> Wanted:
        """A tar at a URL, to be had through the cache."""

    @abc.abstractmethod
    def index(self, shard: Shard, file: OpenFile) -> Index:
        """Where the samples of a tar lie; `file` is the tar, open."""

    @abc.abstractmethod
    def number(self, shard: Shard, label: bytes) -> int:
        """The class that a label means, -1 for none."""

    def name(self, shard: Shard, file: OpenFile, offset: int) -> str:
        """The name of the member whose bytes begin at `offset`."""
        return name_in(os.pread(file.descriptor, BLOCK, offset - BLOCK))

    @abc.abstractmethod
    def check(self, shards: Sequence[Shard]) -> None:
        """Report what is missing before a run, where that is cheap."""

    def open(self, shard: Shard, cache: ShardCache) -> OpenFile:
        """The tar, open; fetched where it lies at a URL."""
        place = self.place(shard)
        if remote.is_url(place):
            return cache.open(self.wanted(shard))
        try:
            return OpenFile(place)
        except FileNotFoundError:
            raise ShardError.missing(Path(place)) from None
        except OSError as error:
            raise ShardError(place, f"cannot be read ({error.strerror})", "check its disk") from None

    def checked(self, shard: Shard, file: OpenFile, index: Index) -> Index:
        """The index, if it can be that of this tar."""
        end = int((index.offset + index.size).max(initial=0))
        if len(index) == shard.samples and end <= shard.bytes and all(_fits(file, index, at) for at in (0, -1)):
            return index
        raise ShardError(
            str(Path(self.place(shard)).with_suffix(".idx")),
            f"describes {len(index)} samples up to byte {end}, and not those in the tar",
            f"the manifest says {shard.samples} samples in {shard.bytes} bytes; delete the .idx, it is only a copy",
        )


class PackedTars(Tars):
    """The tars of a manifest that lies beside them, or says where they lie."""

    def __init__(self, manifest: Manifest, base: str) -> None:
        self.manifest, self.base = manifest, base

    @classmethod
    def at(cls, where: str, settings: CacheSettings) -> PackedTars:
        """Those of a directory or URL that has a manifest."""
        manifest = _fetched(where) if remote.is_url(where) else Manifest.load(Path(where))
        base = manifest.at or where
        if remote.is_url(base):
            check_bound(manifest.shards, base, settings)
        return cls(manifest, base.rstrip("/"))

    def place(self, shard: Shard) -> str:
        return f"{self.base}/{shard.name}"

    def wanted(self, shard: Shard) -> Wanted:
        return Wanted(name=shard.hash[:40], url=self.place(shard), size=shard.bytes, hash=shard.hash)

    def index(self, shard: Shard, file: OpenFile) -> Index:
        if isinstance(file, CachedFile):
            return self.checked(shard, file, index_in_cache(file))
        path = Path(self.place(shard))
        found = os.fstat(file.descriptor).st_size
        if found != shard.bytes:
            raise ShardError(
                str(path),
                f"has {found} bytes",
                f"the manifest says {shard.bytes}; copy it again, or pack the shards again",
                f"python -m data_shards verify {self.base}",
            )
        return self.checked(shard, file, read_index(path))

    def number(self, shard: Shard, label: bytes) -> int:
        try:
            return int(label)
        except ValueError:
            raise ShardError(self.place(shard), f"holds the label {label[:20]!r}", "a label is a number") from None

    def check(self, shards: Sequence[Shard]) -> None:
        if remote.is_url(self.base):  # told by the fetching, which is ahead of the reading
            return
        names = {entry.name for entry in os.scandir(self.base)}
        missing = [shard.name for shard in shards if shard.name not in names]
        if missing:
            raise ShardError.missing(Path(self.base, missing[0]), len(missing) - 1)


def index_in_cache(file: CachedFile, labels: Sequence[str] = ("cls",)) -> Index:
    """The index of a shard in the cache."""
    try:
        return parse_index(file.index.read_bytes(), labels)
    except (OSError, ValueError):  # somebody has removed or damaged it
        return index_of(samples_in(file.path))


def check_bound(shards: Sequence[Shard], where: str, settings: CacheSettings) -> None:
    """Raise `UserError` where the cache cannot hold even one of these shards."""
    largest = max(shards, key=lambda shard: shard.bytes, default=None)
    if largest is not None and largest.bytes > settings.bytes:
        right = f"give it {largest.bytes} at the very least; what all processes of a machine read at once is better"
        raise UserError(where, f"{largest.name} has {largest.bytes} bytes, the cache only {settings.bytes}", right)


def _fits(file: OpenFile, index: Index, at: int) -> bool:
    """Whether the header of a sample's image lies where the index says."""
    if len(index) == 0:
        return True
    offset, size = int(index.offset[at]), int(index.size[at])
    try:
        return offset >= BLOCK and size_in(os.pread(file.descriptor, BLOCK, offset - BLOCK)) == size
    except (ValueError, OSError):
        return False


def _fetched(where: str) -> Manifest:
    """The manifest at a URL. A server that is silent when a run begins is reported soon: the URL may be wrong."""
    url = f"{where.rstrip('/')}/{FILE}"
    with tempfile.TemporaryDirectory() as folder:
        try:
            remote.download(url, Path(folder, FILE))
            return replace(Manifest.load(Path(folder)), at=None)  # where it was found, there they are
        except ShardError as error:
            raise ShardError(url, error.given, error.right) from None
        except OSError as error:
            raise cannot(url, error) from None
